//! The token endpoint of an issuer: codes exchanged, tokens refreshed and revoked.

use serde::Deserialize;
use serde_json::Value;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::federation::callback::AuthorizationCode;
use crate::federation::client_auth::{ASSERTION_SECONDS, ClientAuthentication, apple_secret, assertion};
use crate::federation::request::joined;
use crate::handlers::outgoing::{self, Incame, Outgoing};
use crate::handlers::upstream::begin::endpoint;
use crate::oauth::jose::{SigningAlgorithm, Unsigned};
use crate::secret::Secret;
use crate::store::issuer::Upstream;
use crate::store::upstream::Tokens;
use crate::webcrypto;

/// The longest life of an access token that is believed, in seconds: ten years.
const LONGEST_LIFE: i64 = 315_360_000;

/// The token endpoint's answer (RFC 6749, section 5.1).
#[derive(Clone, Deserialize)]
pub struct TokenResponse {
    /// `access_token`.
    pub access_token: String,
    /// `id_token` (OpenID Connect Core 1.0, section 3.1.3.3).
    pub id_token: Option<String>,
    /// `refresh_token`.
    pub refresh_token: Option<String>,
    token_type: Option<String>,
    scope: Option<String>,
    expires_in: Option<Value>,
    /// What `Keycloak`, `GitHub` and `LinkedIn` say of the refresh token's life.
    #[serde(alias = "refresh_expires_in")]
    refresh_token_expires_in: Option<Value>,
}

impl TokenResponse {
    /// What a native app brings instead of a token endpoint's answer.
    #[must_use]
    pub const fn of_app(access_token: String, id_token: String, refresh_token: Option<String>) -> Self {
        let id_token = Some(id_token);
        Self {
            access_token,
            id_token,
            refresh_token,
            token_type: None,
            scope: None,
            expires_in: None,
            refresh_token_expires_in: None,
        }
    }

    /// The tokens, as they are kept. `requested` are the scopes asked for: those granted, where the answer names none.
    #[must_use]
    pub fn tokens<'a>(&'a self, requested: &'a str) -> Tokens<'a> {
        let said = self.scope.as_deref().filter(|scope| !scope.trim().is_empty());
        // GitHub puts commas between them.
        let granted = said.map_or_else(|| requested.to_owned(), |said| joined(said.split(',')));
        Tokens {
            access_token: &self.access_token,
            refresh_token: self.refresh_token.as_deref().filter(|token| !token.is_empty()),
            id_token: self.id_token.as_deref(),
            granted,
            requested,
            expires_in: seconds(self.expires_in.as_ref()),
            // Keycloak says 0 where there is no end.
            refresh_expires_in: seconds(self.refresh_token_expires_in.as_ref()).filter(|seconds| *seconds > 0),
        }
    }
}

/// A life in seconds; some send it as text.
fn seconds(said: Option<&Value>) -> Option<i64> {
    let seconds = match said? {
        Value::Number(number) => number.as_i64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    (0..=LONGEST_LIFE).contains(&seconds).then_some(seconds)
}

/// What the issuer did not do. `is_final` says that asking again is of no use (section 5.2: `invalid_grant`).
#[derive(Debug)]
pub struct Refused {
    /// The exact reason, for the log.
    pub reason: String,
    /// Whether the grant is over.
    pub is_final: bool,
}

impl Refused {
    fn for_now(reason: String) -> Self {
        Self { reason, is_final: false }
    }
}

/// Exchanges a code (RFC 6749, section 4.1.3). The inner error is the issuer's.
///
/// # Errors
/// If something of ours is broken.
pub async fn exchange(
    context: &Context,
    upstream: &Upstream,
    code: &AuthorizationCode,
) -> Result<std::result::Result<TokenResponse, Refused>> {
    let mut form = vec![
        ("grant_type", "authorization_code".to_owned()),
        ("code", code.code.clone()),
        ("redirect_uri", code.flow.redirect_uri.clone()),
    ];
    if upstream.service_type.does_pkce() {
        form.push(("code_verifier", code.flow.code_verifier.clone()));
    }
    ask(context, upstream, form).await
}

/// Refreshes an access token (section 6); with `scope`, for less than was granted.
///
/// # Errors
/// As [`exchange`].
pub async fn refresh(
    context: &Context,
    upstream: &Upstream,
    refresh_token: &Secret<String>,
    scope: Option<&str>,
) -> Result<std::result::Result<TokenResponse, Refused>> {
    let mut form = vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", refresh_token.expose().clone())];
    form.extend(scope.map(|scope| ("scope", scope.to_owned())));
    ask(context, upstream, form).await
}

/// Revokes a token (RFC 7009, section 2.1), where the issuer has an endpoint for it.
///
/// # Errors
/// As [`exchange`].
pub async fn revoke(context: &Context, upstream: &Upstream, token: &Secret<String>) -> Result<()> {
    let Some(url) = upstream.endpoint("revocation_endpoint") else {
        return Ok(());
    };
    let form = vec![("token", token.expose().clone())];
    match post(context, upstream, &url, form).await? {
        Ok(answer) if answer.status == 200 => (),
        Ok(answer) => context.note(&format!("revocation at issuer {}: status {}", upstream.id, answer.status)),
        Err(problem) => context.note(&format!("revocation at issuer {}: {problem}", upstream.id)),
    }
    Ok(())
}

async fn ask(
    context: &Context,
    upstream: &Upstream,
    form: Vec<(&'static str, String)>,
) -> Result<std::result::Result<TokenResponse, Refused>> {
    let url = endpoint(upstream, "token_endpoint")?;
    let answer = match post(context, upstream, &url, form).await? {
        Ok(answer) => answer,
        Err(problem) => return Ok(Err(Refused::for_now(problem))),
    };
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    // GitHub says what is wrong with status 200.
    if answer.status != 200 || said.get("error").is_some() {
        // The error's code and description, never the body; and of those nothing that may be a token.
        let text = |name: &str| without_tokens(said[name].as_str().unwrap_or_default());
        let reason = format!("status {}: {:?} {:?}", answer.status, text("error"), text("error_description"));
        let is_final = matches!(said["error"].as_str(), Some("invalid_grant" | "bad_refresh_token"));
        return Ok(Err(Refused { reason, is_final }));
    }
    if !said.is_object() {
        return Ok(Err(Refused::for_now("token response: no JSON object".to_owned())));
    }
    let response: TokenResponse = match serde_json::from_slice(&answer.body) {
        Ok(response) => response,
        Err(error) => return Ok(Err(Refused::for_now(format!("token response: {error}")))),
    };
    // Section 7.1: a token of a type that is not understood is not used.
    if response.token_type.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Ok(Err(Refused::for_now(format!("token_type {:?}", response.token_type))));
    }
    if response.access_token.is_empty() {
        return Ok(Err(Refused::for_now("an empty access_token".to_owned())));
    }
    Ok(Ok(response))
}

/// A text of an issuer's without its long words: some repeat in their errors what was sent to them.
fn without_tokens(text: &str) -> String {
    const LONGEST_WORD: usize = 24;
    let words = text.split_whitespace().take(60);
    words.map(|word| if word.chars().count() > LONGEST_WORD { "…" } else { word }).collect::<Vec<_>>().join(" ")
}

async fn post(
    context: &Context,
    upstream: &Upstream,
    url: &str,
    mut form: Vec<(&'static str, String)>,
) -> Result<std::result::Result<Incame, String>> {
    let authorization = authenticate(context, upstream, &mut form).await?;
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    let outgoing = Outgoing { url, form: Some(body.finish()), authorization, header: None };
    Ok(outgoing::send(context, outgoing).await)
}

/// Adds what proves who we are.
async fn authenticate(
    context: &Context,
    upstream: &Upstream,
    form: &mut Vec<(&'static str, String)>,
) -> Result<Option<String>> {
    let (id, service) = (&upstream.client_id, upstream.service_type);
    if let Some(key) = upstream.client_key(context)? {
        if service.signs_client_secret() {
            let team = upstream.settings.team_id.as_deref().unwrap_or_default();
            let secret = signed(context, &key, apple_secret(id, team, &upstream.base_url)).await?;
            return Ok(ClientAuthentication::Post(&secret).apply(id, form));
        }
        let claims = assertion(id, &upstream.base_url, &context.row_id()?);
        let assertion = signed(context, &key, claims).await?;
        return Ok(ClientAuthentication::PrivateKeyJwt(&assertion).apply(id, form));
    }
    let secret = upstream.client_secret(context)?;
    let authentication = match &secret {
        Some(secret) if upstream.basic_auth => ClientAuthentication::Basic(secret.expose()),
        Some(secret) => ClientAuthentication::Post(secret.expose()),
        None => ClientAuthentication::Public,
    };
    Ok(authentication.apply(id, form))
}

async fn signed(context: &Context, key: &Secret<String>, claims: serde_json::Map<String, Value>) -> Result<String> {
    let broken = |error: serde_json::Error| Error::Internal(format!("issuer.client_key_sealed is no JWK: {error}"));
    let jwk: Value = serde_json::from_str(key.expose()).map_err(broken)?;
    let kid = jwk["kid"].as_str().unwrap_or_default().to_owned();
    let algorithm = SigningAlgorithm::Es256;
    let unsigned = Unsigned::new((&kid, algorithm), "JWT", claims, context.now, ASSERTION_SECONDS);
    let key = webcrypto::import(algorithm, &Secret::new(jwk)).await?;
    let signature = webcrypto::sign(&key, unsigned.signing_input()).await?;
    Ok(unsigned.signed(&signature))
}
