//! The confirmation of an account that an upstream sign-in would be linked to.

use serde::{Deserialize, Serialize};

use crate::federation::profile::Profile;
use crate::federation::store::issuer::Upstream;
use crate::http::redirect::Target;
use crate::platform::d1::Statement;
use crate::platform::error::{Error, Result};
use crate::platform::id::{Account, Id, User};
use crate::platform::secret::{AccountConfirmation, Token};
use crate::records::mail;
use crate::request::context::Context;
use crate::{records, request};

/// The page that the mailed link leads to. It asks once more: mail scanners follow links, and must confirm nothing.
const PAGE: &str = "/confirm-account";

/// The link that waits.
#[derive(Serialize, Deserialize)]
pub struct WaitingAccount {
    pub(crate) user: Id<User>,
    /// The address that the mail goes to: it is good for as long as it is theirs.
    pub(crate) email: String,
    pub(crate) account: Id<Account>,
    pub(crate) issuer: String,
    pub(crate) identity: String,
}

/// The statements that ask: a mail to the user's own address, at most one in a window.
///
/// # Errors
/// If the platform has no randomness.
pub fn mail_confirmation(
    context: &Context,
    upstream: &Upstream,
    profile: &Profile,
    (user, email): (&Id<User>, &str),
    account: &Id<Account>,
) -> Result<Vec<Statement>> {
    let identity = profile.email.clone().or_else(|| profile.name.clone()).unwrap_or_else(|| profile.subject.clone());
    let waiting = WaitingAccount {
        user: user.clone(),
        email: email.to_owned(),
        account: account.clone(),
        issuer: upstream.label.clone(),
        identity,
    };
    let token: Token<AccountConfirmation> = Token::new(context.random()?);
    let payload = serde_json::to_vec(&waiting).map_err(|error| Error::Internal(error.to_string()))?;
    let until = context.now + context.config.verification_seconds * 1000;
    let url = Target::own(format!("{}{PAGE}", context.auth_origin())).with_query("token", token.expose());
    let letter = mail::account_confirmation(&context.tenant().name, &waiting.issuer, &waiting.identity, url.as_str());
    let limit = context.config.limit_mail;
    let key = request::store::rate_limit::key(
        &context.config,
        "confirm-account",
        context.tenant().id.as_str(),
        account.as_str(),
    );
    Ok(vec![
        request::store::rate_limit::count(&key, limit, context.now),
        request::store::verification::keep_within(context, &token, user.as_str(), &payload, until, (&key, limit))?,
        records::store::outbox::queue_within(context, (user, email), &letter, (&key, limit))?,
    ])
}
