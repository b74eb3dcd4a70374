//! What the provider says of itself (`OpenID` Connect Discovery 1.0, section 3; RFC 8414): nothing that is not so.

use serde_json::{Value, json};

use crate::platform::algorithm::ALGORITHMS;
use crate::platform::config::Registration;
use crate::provider::assurance;
use crate::provider::authorization::ResponseMode;
use crate::provider::claims::names;
use crate::provider::client::{AuthMethod, GrantType};
use crate::provider::scope::SCOPES;
use crate::provider::subject::issuer;
use crate::request::context::Context;

/// The metadata document of the tenant that was asked.
#[must_use]
pub fn provider_metadata(context: &Context) -> Value {
    let issuer = issuer(context);
    let at = |path: &str| format!("{issuer}{path}");
    let methods = AuthMethod::ALL.map(AuthMethod::as_str);
    let confidential = AuthMethod::ALL.into_iter().filter(|method| *method != AuthMethod::None).map(AuthMethod::as_str);
    let confidential: Vec<&str> = confidential.collect();
    let signing = &context.config.signing_algorithms;
    let told =
        ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "c_hash", "sid"];
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
        "response_modes_supported": ResponseMode::ALL,
        "grant_types_supported": GrantType::ALL.map(GrantType::as_str),
        "subject_types_supported": ["public", "pairwise"],
        "acr_values_supported": assurance::VALUES,
        "userinfo_signing_alg_values_supported": signing,
        "authorization_signing_alg_values_supported": signing,
        "introspection_signing_alg_values_supported": signing,
        "request_object_signing_alg_values_supported": ALGORITHMS,
        "dpop_signing_alg_values_supported": ALGORITHMS,
        "tls_client_certificate_bound_access_tokens": true,
        "id_token_signing_alg_values_supported": signing,
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account", "create"],
        "claims_supported": told.into_iter().chain(names()).collect::<Vec<_>>(),
        "claims_parameter_supported": true,
        "request_parameter_supported": true,
        "request_uri_parameter_supported": false,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "frontchannel_logout_supported": true,
        "frontchannel_logout_session_supported": true,
        "client_id_metadata_document_supported": context.config.client_documents,
        "authorization_response_iss_parameter_supported": true,
    });
    if context.config.registration >= Registration::Token {
        body["registration_endpoint"] = json!(at("/oauth2/register"));
    }
    body
}
