//! The token endpoint of an issuer: codes exchanged, tokens refreshed and revoked.

use serde_json::{Map, Value};

use crate::federation::callback::AuthorizationCode;
use crate::federation::client_auth::{ASSERTION_SECONDS, ClientAuthentication, apple_secret, assertion};
use crate::federation::flow::begin::endpoint_of;
use crate::federation::request::joined;
use crate::federation::store::issuer::Upstream;
use crate::federation::store::upstream::Tokens;
use crate::jose::signature::Unsigned;
use crate::platform::algorithm::SigningAlgorithm;
use crate::platform::error::{Error, Result};
use crate::platform::secret::Secret;
use crate::platform::webcrypto;
use crate::request::context::Context;
use crate::request::fetch;
use crate::request::fetch::{Incame, Outgoing};

/// The longest life of an access token that is believed, in seconds: ten years.
const LONGEST_LIFE: i64 = 315_360_000;

/// The token endpoint's answer (RFC 6749, section 5.1). Each member is read by itself: one of a type that we do not expect
/// counts as absent, and stops nothing that does not need it.
#[derive(Clone)]
pub struct TokenResponse {
    /// `access_token`; empty where none came: with an ID token that is enough (Azure AD B2C gives no more for `openid`).
    pub access_token: String,
    /// `id_token` (OpenID Connect Core 1.0, section 3.1.3.3).
    pub id_token: Option<String>,
    /// `refresh_token`.
    pub refresh_token: Option<String>,
    token_type: Option<String>,
    scope: Option<String>,
    expires_in: Option<Value>,
    /// What `Keycloak`, `GitHub` and `LinkedIn` say of the refresh token's life, by two names.
    refresh_token_expires_in: Option<Value>,
}

impl TokenResponse {
    fn read(said: &Map<String, Value>) -> Self {
        let text =
            |name: &str| said.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        // Twitch sends a list.
        let listed = |list: &Vec<Value>| list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        let of_two = ["refresh_token_expires_in", "refresh_expires_in"];
        Self {
            access_token: text("access_token").unwrap_or_default(),
            id_token: text("id_token"),
            refresh_token: text("refresh_token"),
            token_type: text("token_type"),
            scope: text("scope").or_else(|| said.get("scope")?.as_array().map(listed)),
            expires_in: said.get("expires_in").cloned(),
            refresh_token_expires_in: of_two.iter().find_map(|name| said.get(*name)).cloned(),
        }
    }

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
    if upstream.does_pkce() {
        form.push(("code_verifier", code.flow.code_verifier.clone()));
    }
    let answer = ask(context, upstream, form).await?;
    let proves = |response: &TokenResponse| upstream.is_open_id() && response.id_token.is_some();
    Ok(answer.and_then(|response| if proves(&response) { Ok(response) } else { with_access_token(response) }))
}

fn with_access_token(response: TokenResponse) -> std::result::Result<TokenResponse, Refused> {
    if response.access_token.is_empty() {
        return Err(Refused::for_now("token response: no access_token".to_owned()));
    }
    Ok(response)
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
    Ok(ask(context, upstream, form).await?.and_then(with_access_token))
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
    let url = endpoint_of(upstream, "token_endpoint")?;
    let answer = match post(context, upstream, &url, form).await? {
        Ok(answer) => answer,
        Err(problem) => return Ok(Err(Refused::for_now(problem))),
    };
    let said = members(&answer.body);
    let error = said.as_ref().and_then(|said| said.get("error")).filter(|error| !error.is_null());
    // GitHub says what is wrong with status 200.
    if answer.status != 200 || error.is_some() {
        // The error's code and description, never the body; and of those nothing that may be a token.
        let text = |name: &str| {
            let value = said.as_ref().and_then(|said| said.get(name)?.as_str());
            without_tokens(value.unwrap_or_default())
        };
        let reason = format!("status {}: {:?} {:?}", answer.status, text("error"), text("error_description"));
        let is_final = matches!(error.and_then(Value::as_str), Some("invalid_grant" | "bad_refresh_token"));
        return Ok(Err(Refused { reason, is_final }));
    }
    let Some(said) = said else {
        return Ok(Err(Refused::for_now("token response: neither a JSON object nor a form".to_owned())));
    };
    let response = TokenResponse::read(&said);
    // Section 7.1: a token of a type that is not understood is not used.
    let is_bearer = response.token_type.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
    if !is_bearer && !response.access_token.is_empty() {
        return Ok(Err(Refused::for_now(format!("token_type {:?}", response.token_type))));
    }
    Ok(Ok(response))
}

/// The members of a token response: a JSON object, or a form as services older than the standard send it.
fn members(body: &[u8]) -> Option<Map<String, Value>> {
    if let Ok(value) = serde_json::from_slice(body) {
        return match value {
            Value::Object(members) => Some(members),
            _ => None,
        };
    }
    let pairs = form_urlencoded::parse(body.trim_ascii());
    let members: Map<String, Value> = pairs.map(|(name, value)| (name.into_owned(), value.into())).collect();
    // Any text is a form of one odd name: an error page is none of these.
    let is_known = ["access_token", "id_token", "error"].iter().any(|name| members.contains_key(*name));
    is_known.then_some(members)
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
    Ok(fetch::send_request(context, outgoing).await)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> TokenResponse {
        TokenResponse::read(&members(body.as_bytes()).expect("members"))
    }

    #[test]
    fn each_member_is_read_by_itself() {
        let odd = read(
            r#"{"access_token":"a","scope":["openid","email"],"refresh_token":7,"token_type":null,"id_token":"",
                "refresh_expires_in":0,"refresh_token_expires_in":"60","expires_in":"3600"}"#,
        );
        assert_eq!((odd.access_token.as_str(), odd.scope.as_deref()), ("a", Some("openid email")));
        assert_eq!(
            (odd.refresh_token.as_deref(), odd.token_type.as_deref(), odd.id_token.as_deref()),
            (None, None, None)
        );
        let tokens = odd.tokens("openid");
        assert_eq!((tokens.expires_in, tokens.refresh_expires_in), (Some(3600), Some(60)));
    }

    #[test]
    fn a_form_is_read_and_other_texts_are_not() {
        let form = read("access_token=a%20b&token_type=bearer&scope=read%2Cwrite&expires_in=10\n");
        assert_eq!((form.access_token.as_str(), form.tokens("").granted.as_str()), ("a b", "read write"));
        for body in ["", "<html>access_token</html>", "[]", "null", "7", "\"access_token=a\"", "error_description=x"] {
            assert!(members(body.as_bytes()).is_none(), "{body}");
        }
    }
}
