//! The JWT of a session, for the services of a front-end.

use serde_json::{Value, json};

use crate::jose;
use crate::platform::error::Result;
use crate::request::context::Context;
use crate::session::live_session::LiveSession;

/// The type of that JWT: no token that a client is given has it, nor is given for what it is for (RFC 8725, section 3.11).
pub const TYPE: &str = "doorward-session+jwt";

/// The JWT of a session that D1 just confirmed.
///
/// # Errors
/// 503.
pub async fn sign_session_jwt(context: &Context, session: &LiveSession) -> Result<String> {
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
    let signer = jose::store::signer(context).await?;
    signer.sign_as(TYPE, claims, context.now, context.config.token_seconds).await
}

/// The public keys that verify our JWTs (RFC 7517).
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn load_published_keys(context: &Context) -> Result<Vec<Value>> {
    jose::store::published(context).await
}
