//! Changing a password.

use serde_json::json;

use crate::context::nfkc;
use crate::credentials::password::{self, Password};
use crate::error::{Error, Result, Wire};
use crate::handlers::Call;
use crate::handlers::authenticate::forget;
use crate::handlers::opening::{self, Opening};
use crate::handlers::sign_up::check_new_password;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::secret::Secret;
use crate::store;
use crate::store::rate_limit;
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
    let stored: Option<Secret<String>> = answers.row()?.map(Secret::new);
    let stored = stored.ok_or_else(|| Error::refused(Wire::CREDENTIAL_ACCOUNT_NOT_FOUND, "user without a password"))?;
    if !password::verify(&current, Some(&stored))? {
        return Err(Error::refused(Wire::INVALID_PASSWORD, "wrong current password"));
    }
    let hash = password::hash(&new, context.random()?)?;
    let session = &authenticated.session;
    let user = &session.user.id;
    let statements = vec![
        store::password::replace(context, user, stored.expose(), hash.expose()),
        store::password::record_change(context, &context.row_id()?, user, hash.expose()),
        store::session::revoke(context, user, Which::All, "password_changed", Some(hash.expose())),
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
    let opened = opening::open(context, &opening, statements).await?;
    forget(context, vec![ticket.hash]);
    let body = json!({ "token": opened.session.id, "user": opened.session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
}
