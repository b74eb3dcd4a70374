//! Proving an e-mail address by a mailed link.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::handlers::authenticate::{Authentication, Depth};
use crate::handlers::opening;
use crate::handlers::{Call, counting, mailing};
use crate::http::cookie::Cookie;
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::id::{Id, User};
use crate::jobs::outbox::deliver_later;
use crate::pages::mail;
use crate::secret::{EmailProof, Token};
use crate::store;
use crate::store::database::{Statement, StoreError};
use crate::store::rate_limit;
use crate::store::sign_in::By;
use crate::store::verification::Used;

/// What a link proves.
#[derive(Serialize, Deserialize)]
struct Claim {
    user_id: Id<User>,
    email: String,
}

/// `POST /send-verification-email`: known and unknown addresses are answered alike.
///
/// # Errors
/// 400 for bad fields, 403 for a bad `callbackURL`, 429.
pub async fn send(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    let given = fields.optional("callbackURL", Target::LONGEST);
    fields.finish()?;
    let context = &call.context;
    let target = opening::target(context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    // Whoever is signed in asks about themselves, and may be told.
    if context.cookie(Cookie::Session).is_some()
        && let Authentication::Authenticated(authenticated) = call.visitor(Depth::Database).await?
    {
        let user = &authenticated.session.user;
        if user.email != email {
            return Err(Error::refused(Wire::EMAIL_MISMATCH, "another address than the session's"));
        }
        if user.email_verified {
            return Err(Error::refused(Wire::EMAIL_ALREADY_VERIFIED, "proven already"));
        }
    }
    let user = mailing::addressee(context, "verification", By::Email(&email)).await?;
    // For nobody the same two statements are run, about nobody, or the time taken would tell.
    let user = user.filter(|user| !user.email_verified);
    let is_known = user.is_some();
    let user_id = match user {
        Some(user) => user.user_id,
        None => context.id()?,
    };
    context.db()?.batch(link(context, &user_id, &email, target)?).await?;
    if is_known {
        deliver_later(context);
    }
    Reply::json(200, &json!({ "status": true }))
}

/// The statements that mail a link to a user: the value, and the mail that carries it, which is written only if the
/// user is there.
///
/// # Errors
/// If the platform has no randomness.
pub fn link(context: &Context, user_id: &Id<User>, email: &str, target: Option<Target>) -> Result<[Statement; 2]> {
    let token: Token<EmailProof> = Token::new(context.random()?);
    let claim = Claim { user_id: user_id.clone(), email: email.to_owned() };
    let payload = serde_json::to_vec(&claim).map_err(|error| Error::Internal(error.to_string()))?;
    let (config, tenant) = (&context.config, context.tenant());
    let expires_at = context.now + config.verification_seconds * 1000;
    let url =
        Target::own(format!("{}/api/auth/verify-email", context.auth_origin())).with_query("token", token.expose());
    let url = url.with_query("callbackURL", target.unwrap_or_else(|| Target::own("/account")).as_str());
    let mail = mail::verification(&tenant.name, url.as_str(), config.verification_seconds / 60);
    Ok([
        store::verification::keep(context, &tenant.id, &token, user_id.as_str(), &payload, expires_at)?,
        store::outbox::queue_to_user(context, user_id, &mail, None)?,
    ])
}

/// The same for somebody whose password is known and whose address is not proven, and who may have made up whose it is: the
/// mail is counted as any other to that address, and one too many is not sent.
///
/// # Errors
/// 503.
pub async fn send_counted(context: &Context, user: &Id<User>, email: &str, target: Option<Target>) -> Result<()> {
    let counters = counting::mails(context, "verification", email);
    let mut statements = counters.held(context.now);
    statements.extend(link(context, user, email, target)?);
    match context.db()?.batch(statements).await {
        Err(StoreError::Broken(name)) if name == rate_limit::OVER => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

/// `GET /verify-email`: mail scanners follow links too, so the link does the same each time until it expires.
///
/// # Errors
/// 401 for a link that is not good and has nowhere to go; 403 for a bad `callbackURL`; 503.
pub async fn verify(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let given = call.request.param("callbackURL").filter(|given| !given.is_empty());
    let target = opening::target(context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let token: Option<Token<EmailProof>> = call.request.param("token").and_then(|token| Token::parse(&token));
    let is_proven = match token {
        Some(token) => prove(context, &token).await?,
        None => false,
    };
    match (is_proven, target) {
        (true, Some(target)) => Ok(Reply::redirect(302, &target)),
        (true, None) => Reply::json(200, &json!({ "status": true, "user": Value::Null })),
        (false, Some(target)) => Ok(Reply::redirect(302, &target.with_query("error", "INVALID_TOKEN"))),
        (false, None) => {
            Err(Error::refused(Wire::EMAIL_NOT_PROVEN, "unknown or expired, or the address is another by now"))
        }
    }
}

async fn prove(context: &Context, token: &Token<EmailProof>) -> Result<bool> {
    let db = context.db()?;
    let used: Option<Used> = db.first(store::verification::look(context, &token.hash())).await?;
    let Some(used) = used else {
        return Ok(false);
    };
    let claim: Claim = serde_json::from_slice(used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no claim: {error}")))?;
    let proven: Option<Id<User>> = db.first(store::user::prove_email(context, &claim.user_id, &claim.email)).await?;
    Ok(proven.is_some())
}
