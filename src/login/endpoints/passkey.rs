//! Signing in with a passkey (`WebAuthn` Level 3, section 7.2).

use serde_json::json;

use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::login::passkey;
use crate::login::passkey::AuthenticationOptions;
use crate::platform::error::Result;
use crate::request::origins;
use crate::session::call::Call;
use crate::users::passkey_ceremony;
use crate::users::passkey_ceremony::{RelyingParty, TIMEOUT};

/// `GET /passkey/generate-authenticate-options`: of the passkeys of the user who is signed in; else of any that the
/// browser finds (discoverable credentials, conditional UI).
///
/// # Errors
/// 404 where passkeys are not a way in; 429; 503.
pub async fn options(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.passkey)?;
    let context = &call.context;
    let AuthenticationOptions { challenge, passkeys, cookie } = passkey::begin_authentication(context).await?;
    let mut body = json!({
        "rpId": RelyingParty::of(context).id,
        "challenge": challenge.expose(),
        "timeout": TIMEOUT,
        "userVerification": "preferred",
    });
    if !passkeys.is_empty() {
        body["allowCredentials"] = json!(passkey_ceremony::descriptors(&passkeys));
    }
    Ok(Reply::json(200, &body)?.with_cookie(cookie))
}

/// `POST /passkey/verify-authentication`.
///
/// # Errors
/// 400 for a bad challenge or response, 401 for an unknown credential, 403 for a banned user, 404, 429.
pub async fn verify(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.passkey)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let response = fields.object("response");
    fields.finish()?;
    let outcome = passkey::sign_in_with_passkey(&call.context, response).await?;
    outcome.json(|session| json!({ "session": session.session_json(), "user": session.user_json() }))
}
