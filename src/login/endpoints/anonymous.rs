//! Guests: users without credentials, until they sign up.

use serde_json::json;

use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::login::guest;
use crate::platform::error::Result;
use crate::request::origins;
use crate::session::call::Call;
use crate::session::cookies::clear_session_cookies;

/// `POST /sign-in/anonymous`.
///
/// # Errors
/// 400 for somebody who is a guest already, 404 where guests are not welcome, 429.
pub async fn sign_in(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.anonymous)?;
    call.request.fields(Media::Json).await?.finish()?;
    let opened = guest::sign_in_as_guest(&call.context).await?;
    let body = json!({ "token": opened.session.id, "user": opened.session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
}

/// `POST /delete-anonymous-user`.
///
/// # Errors
/// 401, 403 for somebody who is no guest, 404 where guests are not welcome.
pub async fn delete(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.anonymous)?;
    call.request.fields(Media::Json).await?.finish()?;
    guest::delete_guest(&call.context).await?;
    Ok(Reply::json(200, &json!({ "success": true }))?.with_cookies(clear_session_cookies(&call.context)))
}
