//! A forgotten password: a link by mail, and a new password by the link.

use serde_json::json;

use crate::context::{Context, nfkc};
use crate::credentials::password::{LONGEST_READ, Password};
use crate::error::{Error, Result, Wire};
use crate::handlers::authenticate::forget;
use crate::handlers::opening;
use crate::handlers::{Call, mailing, proof};
use crate::hashing;
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::id::{Id, User};
use crate::jobs::outbox::deliver_later;
use crate::pages::mail;
use crate::secret::{Reset, Token};
use crate::store;
use crate::store::outbox::queue;
use crate::store::record::Severity;
use crate::store::session::Which;
use crate::store::sign_in::By;

/// Our own page for the new password.
pub const PAGE: &str = "/reset-password";

/// `POST /request-password-reset`: known and unknown addresses are answered alike, after the same round trips.
///
/// # Errors
/// 400 for bad fields, 403 for a bad `redirectTo`, 429.
pub async fn request(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    let given = fields.optional("redirectTo", Target::LONGEST);
    fields.finish()?;
    let target = opening::target(&call.context, given.as_deref(), Wire::INVALID_REDIRECT_URL)?;
    send_link(&call.context, &email, target).await?;
    Reply::json(
        200,
        &json!({ "status": true, "message": "If this email exists in our system, check your email for the reset link" }),
    )
}

/// Mails a link to whoever has the address, and tells nobody whether anybody has.
///
/// # Errors
/// 429, 503.
pub async fn send_link(context: &Context, email: &str, target: Option<Target>) -> Result<()> {
    let config = &context.config;
    let user = mailing::addressee(context, "reset", By::Email(email)).await?;
    let user_id = user.as_ref().map(|user| &user.user_id);
    let details = json!({ "known": user_id.is_some() });
    let event =
        store::record::audit(context, &context.row_id()?, user_id, "password_reset.requested", Severity::Low, &details);
    let mut statements = vec![event];
    if let Some(user_id) = user_id {
        let token = Token::new(context.random()?);
        let target = target.unwrap_or_else(|| Target::own(format!("{}{PAGE}", context.auth_origin())));
        let link = Target::own(format!("{}/api/auth/reset-password/{}", context.auth_origin(), token.expose()));
        let link = link.with_query("callbackURL", target.as_str());
        let mail = mail::reset(&context.tenant().name, link.as_str(), config.reset_seconds / 60);
        statements.extend(store::password_reset::request(context, user_id, email, &token)?);
        statements.push(queue(context, Some(user_id), email, &mail)?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(())
}

/// `GET /reset-password/:token`: from the mail to the page that asks for the new password. Looking uses nothing up:
/// mail scanners look as well.
///
/// # Errors
/// 403 for a bad `callbackURL`; 503.
pub async fn follow(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let given = call.request.param("callbackURL");
    let target = opening::target(context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let target = target.unwrap_or_else(|| Target::own(PAGE));
    let token: Option<Token<Reset>> = call.segment.as_deref().and_then(Token::parse);
    let user: Option<Id<User>> = match &token {
        Some(token) => context.db()?.first(store::password_reset::look(context, &token.hash())).await?,
        None => None,
    };
    let target = match (&token, user) {
        (Some(token), Some(_)) => target.with_query("token", token.expose()),
        _ => target.with_query("error", "INVALID_TOKEN"),
    };
    // The token must not go on to wherever the page's links lead.
    Ok(Reply::redirect(302, &target).with("referrer-policy", "no-referrer"))
}

/// `POST /reset-password`.
///
/// # Errors
/// 400 for bad fields, a bad password, or a link that is not good any more.
pub async fn reset(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let new = Password::new(fields.required("newPassword", LONGEST_READ), nfkc);
    let token = fields.optional("token", 200);
    fields.finish()?;
    let token = token.or_else(|| call.request.param("token")).unwrap_or_default();
    set_password(&call.context, &token, &new).await?;
    Reply::json(200, &json!({ "status": true }))
}

/// Sets a new password by a link's token: the link is used up, every session ends, the other links are revoked, and
/// the owner is told.
///
/// # Errors
/// As [`reset`].
pub async fn set_password(context: &Context, token: &str, new: &Password) -> Result<()> {
    let invalid = |reason: &str| Error::refused(Wire::INVALID_TOKEN, reason);
    // Before the link is used: a password that is too short must not cost it.
    proof::acceptable_length(context, new)?;
    let token: Token<Reset> = Token::parse(token).ok_or_else(|| invalid("not of our making"))?;
    let db = context.db()?;
    if context.config.breached_passwords.is_some() {
        // One more round trip where breaches are asked about: nobody without a link makes us ask.
        let user: Option<Id<User>> = db.first(store::password_reset::look(context, &token.hash())).await?;
        let user = user.ok_or_else(|| invalid("unknown, used, revoked or expired"))?;
        proof::not_breached(context, new, Some(&user)).await?;
    }
    let user: Option<Id<User>> = db.first(store::password_reset::take(context, &token.hash())).await?;
    let user = user.ok_or_else(|| invalid("unknown, used, revoked or expired"))?;
    replace(context, &user, new, "reset", true).await
}

/// Sets a new password for whoever proved to own the account's address (`proves_email`) or number: every session ends, mailed links are
/// revoked, no browser is trusted any more, a lock is lifted, and the owner is told.
///
/// # Errors
/// 503.
pub async fn replace(context: &Context, user: &Id<User>, new: &Password, by: &str, proves_email: bool) -> Result<()> {
    let hash = hashing::hash(context, new).await?;
    let told = mail::password_changed(&context.tenant().name);
    let details = json!({ "by": by });
    let mut statements = vec![store::session::revoke(context, user, Which::All, "password_reset", None)];
    if proves_email {
        // Whoever reads the mail owns the address, and an account whose address was never proven may be another's work:
        // a passkey that they left in it would outlive the password.
        statements.extend(store::user::reclaim(context, user));
        statements.push(store::user::prove_own_email(context, user));
        statements.push(store::second_factor::no_mailed_codes(context, user));
    }
    statements.extend([
        store::password::set(context, &context.id()?, user, hash.expose()),
        store::password_reset::revoke(context, user, None, "password_reset"),
        store::record::audit(context, &context.row_id()?, Some(user), "password.changed", Severity::Medium, &details),
        store::sign_in::unlock(context, user),
        store::verification::forget(context, user),
        store::second_factor::distrust(context, user, None),
        store::outbox::queue_to_user(context, user, &told, None)?,
    ]);
    // Whoever knew the password may have let software in that would stay.
    statements.push(store::api_key::disable_of(context, user, None));
    statements.extend(store::oauth::token::revoke_user(context, user, "password_reset", None));
    let mut answers = context.db()?.batch(statements).await?;
    forget(context, store::session::revoked(&mut answers)?);
    deliver_later(context);
    Ok(())
}
