//! A JWT for a session, and the keys that verify it.

use serde_json::{Value, json};

use crate::context::Context;
use crate::error::Result;
use crate::handlers::Call;
use crate::http::reply::Reply;
use crate::session::LiveSession;
use crate::store::signing_key;

/// The type of that JWT: no token that a client is given has it, nor is given for what it is for (RFC 8725, section 3.11).
pub const TYPE: &str = "doorward-session+jwt";

/// `GET /token`: a JWT (RFC 7519) that says who is signed in, for the front-end's own services.
///
/// # Errors
/// 401, 503.
pub async fn token(call: &mut Call) -> Result<Reply> {
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let token = mint(&call.context, &authenticated.session).await?;
    Ok(Reply::json(200, &json!({ "token": token }))?.with_cookies(authenticated.cookies))
}

/// The JWT of a session that D1 just confirmed.
///
/// # Errors
/// 503.
pub async fn mint(context: &Context, session: &LiveSession) -> Result<String> {
    let origin = context.auth_origin();
    let mut claims = json!(session.user_json());
    if let Value::Object(claims) = &mut claims {
        claims.insert("sub".to_owned(), json!(session.user.id));
        claims.insert("iss".to_owned(), json!(origin.as_str()));
        claims.insert("aud".to_owned(), json!(origin.as_str()));
        claims.insert("tenant".to_owned(), json!(session.tenant_slug));
        claims.insert("roles".to_owned(), json!(session.roles));
        claims.insert("auth_time".to_owned(), json!(session.authenticated_at / 1000));
        claims.insert("amr".to_owned(), json!(session.amr));
        if let Some(administrator) = &session.impersonated_by {
            // Who acts in the user's name (RFC 8693, section 4.1).
            claims.insert("act".to_owned(), json!({ "sub": administrator }));
        }
    }
    let signer = signing_key::signer(context).await?;
    signer.sign_as(TYPE, claims, context.now, context.config.token_seconds).await
}

/// `GET /jwks`: the JWK set (RFC 7517, section 5) that verifies our JWTs.
///
/// # Errors
/// 503.
pub async fn jwks(call: &mut Call) -> Result<Reply> {
    let keys = signing_key::published(&call.context).await?;
    // Verifiers of other origins may read it, and keep it a while.
    Ok(Reply::json(200, &json!({ "keys": keys }))?.with("cache-control", "public, max-age=300"))
}
