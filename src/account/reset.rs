//! Setting a new password by a mailed link.

use serde_json::json;

use crate::credentials::password::Password;
use crate::http::redirect::Target;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::secret::{Reset, Token};
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::records::store::outbox::queue;
use crate::request::context::Context;
use crate::request::password_hash;
use crate::session::authenticate::delete_session_copies;
use crate::session::proof;
use crate::session::store::session::WhichSessions;
use crate::users::addressee;
use crate::users::store::sign_in::LookupBy;
use crate::{records, request, session, users};

/// Our own page for the new password.
pub const PAGE: &str = "/reset-password";

/// Mails a link to whoever has the address, and tells nobody whether anybody has.
///
/// # Errors
/// 429, 503.
pub async fn send_reset_link(context: &Context, email: &str, target: Option<Target>) -> Result<()> {
    let config = &context.config;
    let user = addressee::load_addressee(context, "reset", LookupBy::Email(email)).await?;
    let user_id = user.as_ref().map(|user| &user.user_id);
    let details = json!({ "known": user_id.is_some() });
    let event = records::store::audit::audit(
        context,
        &context.row_id()?,
        user_id,
        "password_reset.requested",
        Severity::Low,
        &details,
    );
    let mut statements = vec![event];
    if let Some(user_id) = user_id {
        let token = Token::new(context.random()?);
        let target = target.unwrap_or_else(|| Target::own(format!("{}{PAGE}", context.auth_origin())));
        let link = Target::own(format!("{}/api/auth/reset-password/{}", context.auth_origin(), token.expose()));
        let link = link.with_query("callbackURL", target.as_str());
        let mail = mail::reset(&context.tenant().name, link.as_str(), config.reset_seconds / 60);
        statements.extend(users::store::password_reset::request(context, user_id, email, &token)?);
        statements.push(queue(context, Some(user_id), email, &mail)?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(())
}

/// Sets a new password by a link's token: the link is used up, every session ends, the other links are revoked, and
/// the owner is told.
///
/// # Errors
/// 400 for a token that is unknown, used or expired, and for a password that is too short, too long or in a breach; 503.
pub async fn reset_password(context: &Context, token: &str, new: &Password) -> Result<()> {
    let invalid = |reason: &str| Error::refused(Wire::INVALID_TOKEN, reason);
    // Before the link is used: a password that is too short must not cost it.
    proof::check_password_length(context, new)?;
    let token: Token<Reset> = Token::parse(token).ok_or_else(|| invalid("not of our making"))?;
    let db = context.db()?;
    if context.config.breached_passwords.is_some() {
        // One more round trip where breaches are asked about: nobody without a link makes us ask.
        let user: Option<Id<User>> = db.first(users::store::password_reset::look(context, &token.hash())).await?;
        let user = user.ok_or_else(|| invalid("unknown, used, revoked or expired"))?;
        proof::check_password_breach(context, new, Some(&user)).await?;
    }
    let user: Option<Id<User>> = db.first(users::store::password_reset::take(context, &token.hash())).await?;
    let user = user.ok_or_else(|| invalid("unknown, used, revoked or expired"))?;
    replace_password(context, &user, new, "reset", true).await
}

/// Sets a new password for whoever proved to own the account's address (`proves_email`) or number: every session ends, mailed links are
/// revoked, no browser is trusted any more, a lock is lifted, and the owner is told.
///
/// # Errors
/// 503.
pub async fn replace_password(
    context: &Context,
    user: &Id<User>,
    new: &Password,
    by: &str,
    proves_email: bool,
) -> Result<()> {
    let hash = password_hash::hash_password(context, new).await?;
    let told = mail::password_changed(&context.tenant().name);
    let details = json!({ "by": by });
    let mut statements =
        vec![session::store::session::revoke(context, user, WhichSessions::All, "password_reset", None)];
    if proves_email {
        // Whoever reads the mail owns the address, and an account whose address was never proven may be another's work:
        // a passkey that they left in it would outlive the password.
        statements.extend(users::store::user::reclaim(context, user));
        statements.push(users::store::user::prove_own_email(context, user));
        statements.push(users::store::second_factor::no_mailed_codes(context, user));
    }
    statements.extend([
        users::store::password::set(context, &context.id()?, user, hash.expose()),
        users::store::password_reset::revoke(context, user, None, "password_reset"),
        records::store::audit::audit(
            context,
            &context.row_id()?,
            Some(user),
            "password.changed",
            Severity::Medium,
            &details,
        ),
        users::store::sign_in::unlock(context, user),
        request::store::verification::forget(context, user),
        users::store::second_factor::distrust(context, user, None),
        records::store::outbox::queue_to_user(context, user, &told, None)?,
    ]);
    // Whoever knew the password may have let software in that would stay.
    statements.push(session::store::api_key::disable_of(context, user, None));
    statements.extend(session::store::session::revoke_user(context, user, "password_reset", None));
    let mut answers = context.db()?.batch(statements).await?;
    delete_session_copies(context, session::store::session::revoked(&mut answers)?);
    deliver_later(context);
    Ok(())
}
