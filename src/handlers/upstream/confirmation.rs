//! A link that works only once its owner has confirmed it by mail: `issuer.require_confirmation`.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::federation::profile::Profile;
use crate::handlers::Call;
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::id::{Account, Id, User};
use crate::pages::{self, mail};
use crate::secret::{AccountConfirmation, Token};
use crate::store;
use crate::store::database::{Statement, StoreError, must_change};
use crate::store::issuer::Upstream;
use crate::store::record::Severity;
use crate::store::verification::Used;

/// The page that the mailed link leads to. It asks once more: mail scanners follow links, and must confirm nothing.
const PAGE: &str = "/confirm-account";

/// The link that waits.
#[derive(Serialize, Deserialize)]
struct Waiting {
    user: Id<User>,
    /// The address that the mail goes to: it is good for as long as it is theirs.
    email: String,
    account: Id<Account>,
    issuer: String,
    identity: String,
}

/// The statements that ask: a mail to the user's own address, at most one in a window.
///
/// # Errors
/// If the platform has no randomness.
pub fn ask(
    context: &Context,
    upstream: &Upstream,
    profile: &Profile,
    (user, email): (&Id<User>, &str),
    account: &Id<Account>,
) -> Result<Vec<Statement>> {
    let identity = profile.email.clone().or_else(|| profile.name.clone()).unwrap_or_else(|| profile.subject.clone());
    let waiting = Waiting {
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
    let key =
        store::rate_limit::key(&context.config, "confirm-account", context.tenant().id.as_str(), account.as_str());
    Ok(vec![
        store::rate_limit::count(&key, limit, context.now),
        store::verification::keep_within(context, &token, user.as_str(), &payload, until, (&key, limit))?,
        store::outbox::queue_within(context, (user, email), &letter, (&key, limit))?,
    ])
}

fn read(context: &Context, used: &Used) -> Result<Waiting> {
    serde_json::from_slice(used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no link: {error}")))
}

fn spent(call: &Call) -> Reply {
    Reply::page(400, pages::confirmation::spent(&call.context.frame("This link is spent")))
}

/// `GET /confirm-account?token=…`: asks whether to confirm.
///
/// # Errors
/// 503.
pub async fn page(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let text = call.request.param("token").unwrap_or_default();
    let Some(token) = Token::<AccountConfirmation>::parse(&text) else {
        return Ok(spent(call));
    };
    let used: Option<Used> = context.db()?.first(store::verification::peek(context, &token.hash(), None)).await?;
    let Some(used) = used else {
        return Ok(spent(call));
    };
    let waiting = read(context, &used)?;
    let frame = context.frame("Is this account yours?");
    Ok(Reply::page(200, pages::confirmation::page(&frame, &text, &waiting.issuer, &waiting.identity)))
}

/// `POST /confirm-account`: confirms. Whoever reads the user's mail owns the address, so it is proven as well.
///
/// # Errors
/// 503.
pub async fn confirm(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let text = fields.required("token", 200);
    fields.finish()?;
    let context = &call.context;
    let Some(token) = Token::<AccountConfirmation>::parse(&text) else {
        return Ok(spent(call));
    };
    let used: Option<Used> = context.db()?.first(store::verification::peek(context, &token.hash(), None)).await?;
    let Some(used) = used else {
        return Ok(spent(call));
    };
    let waiting = read(context, &used)?;
    let details = json!({ "account": waiting.account, "issuer": waiting.issuer });
    let id = context.row_id()?;
    let statements = [
        store::verification::take(context, &token.hash(), None),
        must_change(),
        store::upstream::confirm(context, &waiting.user, &waiting.account),
        must_change(),
        store::user::prove_email(context, &waiting.user, &waiting.email),
        must_change(),
        store::record::audit(context, &id, Some(&waiting.user), "account.confirmed", Severity::Medium, &details),
    ];
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Ok(spent(call)),
        other => other?,
    };
    let frame = context.frame("Confirmed");
    Ok(Reply::page(200, pages::confirmation::done(&frame, &waiting.issuer)))
}
