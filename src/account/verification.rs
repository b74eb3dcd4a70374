//! Proving an address by a mailed link.

use serde::{Deserialize, Serialize};

use crate::gate::sign_in;
use crate::http::cookie::Cookie;
use crate::http::redirect::Target;
use crate::platform::d1;
use crate::platform::d1::{Statement, StoreError};
use crate::platform::error::{Error, Result};
use crate::platform::id::{Id, Millis, User};
use crate::platform::secret::{EmailProof, Purpose, Token};
use crate::records::mail;
use crate::request::context::Context;
use crate::session::authenticate;
use crate::session::authenticate::{Authentication, Depth};
use crate::users::limits;
use crate::{records, request, users};

/// The page that the mailed link leads to. It asks once more: mail scanners follow links, and must prove nothing.
pub const PAGE: &str = "/verify-email";

/// What a link proves.
#[derive(Serialize, Deserialize)]
pub struct AddressClaim {
    pub(crate) user_id: Id<User>,
    pub(crate) email: String,
}

/// The statements that mail a link to a user: the value, and the mail that carries it, which is written only if the
/// user is there.
///
/// # Errors
/// If the platform has no randomness.
pub fn make_verification_link(
    context: &Context,
    user_id: &Id<User>,
    email: &str,
    target: Option<Target>,
) -> Result<[Statement; 2]> {
    let token: Token<EmailProof> = Token::new(context.random()?);
    let claim = AddressClaim { user_id: user_id.clone(), email: email.to_owned() };
    let payload = serde_json::to_vec(&claim).map_err(|error| Error::Internal(error.to_string()))?;
    let (config, tenant) = (&context.config, context.tenant());
    let expires_at = context.now + config.verification_seconds * 1000;
    let mut url = Target::own(format!("{}{PAGE}", context.auth_origin())).with_query("token", token.expose());
    if let Some(target) = target.map(sign_in::without_fragment) {
        url = url.with_query("callbackURL", target.as_str());
    }
    let mail = mail::verification(&tenant.name, url.as_str(), config.verification_seconds / 60);
    Ok([
        request::store::verification::keep(context, &tenant.id, &token, user_id.as_str(), &payload, expires_at)?,
        records::store::outbox::queue_to_user(context, user_id, &mail, None)?,
    ])
}

/// The same for somebody whose password is known and whose address is not proven, and who may have made up whose it is: the
/// mail is counted as any other to that address, and one too many is not sent.
///
/// # Errors
/// 503.
pub async fn send_counted_verification(
    context: &Context,
    user: &Id<User>,
    email: &str,
    target: Option<Target>,
) -> Result<()> {
    let counters = limits::mail_counters(context, "verification", email);
    let mut statements = counters.held(context.now);
    statements.extend(make_verification_link(context, user, email, target)?);
    match context.db()?.batch(statements).await {
        Err(StoreError::Broken(name)) if name == d1::OVER => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

/// How long a browser is known to be the one that an account was made in.
const MAKER_SECONDS: i64 = 7 * 86_400;

/// What the cookie of that browser says.
#[derive(Serialize, Deserialize)]
struct Maker {
    user_id: Id<User>,
    expires_at: Millis,
}

/// The cookie of a browser that an account was made in without being signed in to it.
#[must_use]
pub fn maker_cookie(context: &Context, user_id: &Id<User>) -> String {
    let maker = Maker { user_id: user_id.clone(), expires_at: context.now + MAKER_SECONDS * 1000 };
    let text = context.config.keyring.sign_text(Purpose::Maker, &serde_json::to_vec(&maker).unwrap_or_default());
    Cookie::Maker.set(context.is_secure, &text, Some(MAKER_SECONDS))
}

/// Whether this browser is the account's own: the one that it was made in, or one that is signed in to it. Who proves an
/// address anywhere else is perhaps not who made the account.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn is_browser_of(context: &Context, user: &Id<User>) -> Result<bool> {
    let said = context.cookie(Cookie::Maker).and_then(|text| context.config.keyring.read_text(Purpose::Maker, &text));
    let maker = said.and_then(|payload| serde_json::from_slice::<Maker>(&payload).ok());
    if maker.is_some_and(|maker| maker.user_id == *user && maker.expires_at > context.now) {
        return Ok(true);
    }
    if authenticate::read_session_token(context).is_none() {
        return Ok(false);
    }
    let visitor = authenticate::identify_visitor(context, Depth::Database).await?;
    Ok(matches!(visitor, Authentication::Authenticated(one)
        if one.session.user.id == *user && one.session.impersonated_by.is_none()))
}

/// Notes that an address was proven, unless it is another by now. Unless this is the account's own browser, the person who made the
/// account loses it: they may have typed somebody else's address, and waited for its owner.
///
/// # Errors
/// 503.
pub async fn prove_email(context: &Context, user: &Id<User>, email: &str) -> Result<Proven> {
    let is_own = is_browser_of(context, user).await?;
    let mut statements: Vec<Statement> = Vec::new();
    if !is_own {
        statements.extend(users::store::user::reclaim(context, user));
    }
    let before = statements.len();
    statements.push(users::store::user::prove_email(context, user, email));
    let proven: Option<Id<User>> = context.db()?.batch(statements).await?.skip(before).row()?;
    Ok(match (proven, is_own) {
        (None, _) => Proven::No,
        (Some(_), true) => Proven::InTheirBrowser,
        (Some(_), false) => Proven::Elsewhere,
    })
}

/// How the proof of an address ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proven {
    /// The address is another by now.
    No,
    /// It was the account's own browser: the account stays as it is.
    InTheirBrowser,
    /// It was another: what the account was signed in to with before has ended, if the address was not proven already.
    Elsewhere,
}
