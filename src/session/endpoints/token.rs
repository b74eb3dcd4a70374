//! A JWT for a session, and the keys that verify it.

use serde_json::json;

use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::session::call::Call;
use crate::session::token;

/// `GET /token`: a JWT (RFC 7519) that says who is signed in, for the front-end's own services.
///
/// # Errors
/// 401, 503.
pub async fn token(call: &mut Call) -> Result<Reply> {
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let token = token::sign_session_jwt(&call.context, &authenticated.session).await?;
    Ok(Reply::json(200, &json!({ "token": token }))?.with_cookies(authenticated.cookies))
}

/// `GET /jwks`: the JWK set (RFC 7517, section 5) that verifies our JWTs.
///
/// # Errors
/// 503.
pub async fn jwks(call: &mut Call) -> Result<Reply> {
    let keys = token::load_published_keys(&call.context).await?;
    // Verifiers of other origins may read it, and keep it a while.
    Ok(Reply::json(200, &json!({ "keys": keys }))?.with("cache-control", "public, max-age=300"))
}
