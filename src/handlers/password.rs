//! Changing a password.

use serde_json::json;

use crate::context::{Context, nfkc};
use crate::credentials::password::{self, Password};
use crate::credentials::sign_in::Refusal;
use crate::error::{Error, Result, Wire};
use crate::handlers::Call;
use crate::handlers::authenticate::forget;
use crate::handlers::opening::{self, Opening};
use crate::handlers::sign_up::check_new_password;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::id::{Id, User};
use crate::jobs::outbox::deliver_later;
use crate::pages::mail;
use crate::secret::Secret;
use crate::store;
use crate::store::rate_limit;
use crate::store::record::Attempt;
use crate::store::session::Which;

/// `POST /change-password`: every session ends, and a new one begins for whoever asked. `revokeOtherSessions` changes
/// nothing here: whoever knew the old password may hold one of the others.
///
/// # Errors
/// 400 for bad fields, a bad new password or a wrong current one, 401, 429.
pub async fn change(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let current = Password::new(fields.required("currentPassword", password::LONGEST_READ), nfkc);
    let new = Password::new(fields.required("newPassword", password::LONGEST_READ), nfkc);
    fields.boolean("revokeOtherSessions");
    fields.finish()?;
    let context = &call.context;
    check_new_password(context, &new)?;
    let ticket = call.presented()?;
    let limit = context.config.limit_change_password;
    let more = vec![
        rate_limit::count_for_session(context, "change-password", &ticket.hash, limit),
        store::password::of_session(context, &ticket.hash),
    ];
    let (authenticated, mut answers) = call.confirmed(more).await?;
    let window: Option<rate_limit::Window> = answers.row()?;
    if let Some(retry_after) = window.and_then(|window| window.retry_after(limit, context.now)) {
        return Err(Error::TooManyRequests { retry_after, limit: "change-password by account" });
    }
    let current_one: Option<store::password::Current> = answers.row()?;
    let current_one =
        current_one.ok_or_else(|| Error::refused(Wire::CREDENTIAL_ACCOUNT_NOT_FOUND, "user without a password"))?;
    let stored = Secret::new(current_one.password_hash);
    let is_right = password::verify(&current, Some(&stored))?;
    // A stolen session must not be a quieter place to guess than the login page: a lock holds here as well, and what is
    // wrong here counts towards one. That is a third round trip, for the wrong ones alone.
    let is_locked = current_one.locked_until.is_some_and(|until| until > context.now);
    if is_locked || !is_right {
        let refusal = if is_locked { Refusal::Locked } else { Refusal::WrongPassword };
        record_refusal(context, &authenticated.session.user.id, refusal).await?;
        return Err(Error::refused(Wire::INVALID_PASSWORD, refusal.as_str()));
    }
    let hash = password::hash(&new, context.random()?)?;
    let session = &authenticated.session;
    let user = &session.user.id;
    let told = mail::password_changed(&context.tenant().name);
    let statements = vec![
        store::password::replace(context, user, stored.expose(), hash.expose()),
        store::password::record_change(context, &context.row_id()?, user, hash.expose()),
        store::session::revoke(context, user, Which::All, "password_changed", Some(hash.expose())),
        store::password_reset::revoke(context, user, None, "password_changed"),
        store::outbox::queue_to_user(context, user, &told, Some(hash.expose()))?,
    ];
    let amr: Vec<&str> = session.amr.iter().map(String::as_str).collect();
    let opening = Opening {
        user_id: user,
        method: &session.login_method,
        amr: &amr,
        is_remembered: session.is_remembered,
        // Of two changes at once one holds, and only that one's session is opened.
        while_password: Some(hash.expose()),
    };
    let opened = opening::open(context, &opening, statements).await.map_err(Error::from).map_err(|error| {
        // Whoever lost the race compared a password that is not current any more.
        let lost = error.wire() == Wire::INVALID_EMAIL_OR_PASSWORD;
        if lost { Error::refused(Wire::INVALID_PASSWORD, error.to_string()) } else { error }
    })?;
    forget(context, vec![ticket.hash]);
    deliver_later(context);
    let body = json!({ "token": opened.session.id, "user": opened.session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
}

async fn record_refusal(context: &Context, user: &Id<User>, refusal: Refusal) -> Result<()> {
    let attempt =
        Attempt { user_id: Some(user), session_id: None, failure: Some(refusal.as_str()), method: "change-password" };
    let mut statements = vec![store::record::login(context, &context.row_id()?, attempt)];
    if refusal == Refusal::WrongPassword {
        statements.push(store::sign_in::failed(context, user));
        statements.push(store::record::locked(context, &context.row_id()?, user));
    }
    Ok(store::sign_in::record(context.db()?, statements).await?)
}
