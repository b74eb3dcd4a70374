//! One-time tokens: a session carried to another page of its owner's, such as a desktop application's browser.

use serde_json::json;

use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::login::one_time_token;
use crate::platform::error::Result;
use crate::session::call::Call;
use crate::session::proof;

/// `GET /one-time-token/generate`.
///
/// # Errors
/// 401, 403 for an impersonating administrator, 503.
pub async fn generate(call: &mut Call) -> Result<Reply> {
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    proof::refuse_impersonator(&authenticated)?;
    let token = one_time_token::issue_one_time_token(&call.context, &authenticated.session).await?;
    Ok(Reply::json(200, &json!({ "token": token.expose() }))?.with_cookies(authenticated.cookies))
}

/// `POST /one-time-token/verify`: a session of this browser's own, as old as the one it was carried from and no fresher.
///
/// # Errors
/// 400 for a token that is not good, or whose session is over.
pub async fn verify(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let typed = fields.required("token", 200);
    fields.finish()?;
    let opened = one_time_token::redeem_one_time_token(&call.context, &typed).await?;
    let body = json!({ "session": opened.session.session_json(), "user": opened.session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
}
