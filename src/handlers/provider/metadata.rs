//! What we say of ourselves (OpenID Connect Discovery 1.0, section 3; RFC 8414): nothing that is not so.

use serde_json::json;

use crate::error::Result;
use crate::handlers::Call;
use crate::handlers::provider::issuer;
use crate::http::reply::Reply;
use crate::oauth::claims::SCOPES;
use crate::oauth::client::{AuthMethod, GrantType};
use crate::oauth::jose::ALGORITHM;
use crate::oauth::jws::ALGORITHMS;
use crate::pages::consent::FORM_POST;

/// `GET /.well-known/openid-configuration`, and `/.well-known/oauth-authorization-server`.
///
/// # Errors
/// None that happens.
pub async fn document(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let issuer = issuer(context);
    let at = |path: &str| format!("{issuer}{path}");
    let methods = AuthMethod::ALL.map(AuthMethod::as_str);
    let confidential = [AuthMethod::ClientSecretBasic, AuthMethod::ClientSecretPost, AuthMethod::PrivateKeyJwt];
    let mut body = json!({
        "issuer": issuer,
        "authorization_endpoint": at("/oauth2/authorize"),
        "token_endpoint": at("/oauth2/token"),
        "userinfo_endpoint": at("/oauth2/userinfo"),
        "jwks_uri": at("/api/auth/jwks"),
        "pushed_authorization_request_endpoint": at("/oauth2/par"),
        "device_authorization_endpoint": at("/oauth2/device_authorization"),
        "end_session_endpoint": at("/oauth2/end_session"),
        "introspection_endpoint": at("/oauth2/introspect"),
        "revocation_endpoint": at("/oauth2/revoke"),
        "scopes_supported": SCOPES.map(|(name, _)| name),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "grant_types_supported": GrantType::ALL.map(GrantType::as_str),
        "subject_types_supported": ["public", "pairwise"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": confidential.map(AuthMethod::as_str),
        "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account", "create"],
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "amr", "azp", "at_hash", "sid", "name",
            "preferred_username", "picture", "updated_at", "email", "email_verified", "phone_number",
            "phone_number_verified", "roles", "org",
        ],
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
    });
    if context.config.registration_open {
        body["registration_endpoint"] = json!(at("/oauth2/register"));
    }
    Ok(Reply::json(200, &body)?.with("cache-control", "public, max-age=300").with("access-control-allow-origin", "*"))
}

/// `GET /form-post.js`.
///
/// # Errors
/// None.
pub async fn form_post_script(_call: &mut Call) -> Result<Reply> {
    let media = "text/javascript; charset=utf-8";
    Ok(Reply::text(200, media, FORM_POST.to_owned()).with("cache-control", "public, max-age=300"))
}
