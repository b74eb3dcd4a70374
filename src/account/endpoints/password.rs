//! Changing a password.

use serde_json::json;

use crate::account::password::change_password;
use crate::credentials::password;
use crate::credentials::password::Password;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::platform::unicode::nfkc;
use crate::session::call::Call;

/// `POST /change-password`: every session, every token of a client and every key of the user's ends, and a new session begins for the caller. `revokeOtherSessions` changes
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
    let opened = change_password(&call.context, &current, &new).await?;
    let body = json!({ "token": opened.session.id, "user": opened.session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
}
