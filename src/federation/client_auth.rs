//! How we authenticate to a token endpoint (RFC 6749, section 2.3; RFC 7523, section 2.2).
//!
//! PURE: no I/O, no clock, no randomness.

use base64ct::{Base64, Encoding};
use serde_json::{Map, Value, json};

/// How long a client assertion is good, in seconds: one request.
pub const ASSERTION_SECONDS: i64 = 60;

/// `client_assertion_type` (RFC 7523, section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What proves who we are.
pub enum ClientAuthentication<'a> {
    /// `none`: PKCE alone.
    Public,
    /// `client_secret_basic`.
    Basic(&'a str),
    /// `client_secret_post`.
    Post(&'a str),
    /// `private_key_jwt`: the signed assertion.
    PrivateKeyJwt(&'a str),
}

impl ClientAuthentication<'_> {
    /// Adds it to a request: parameters of its form, and the `Authorization` header if there is one.
    #[must_use]
    pub fn apply(&self, client_id: &str, form: &mut Vec<(&'static str, String)>) -> Option<String> {
        let mut push = |name, value: &str| form.push((name, value.to_owned()));
        match self {
            Self::Basic(secret) => {
                // Section 2.3.1: both parts are form-encoded before they are joined.
                let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", encode(client_id), encode(secret));
                return Some(format!("Basic {}", Base64::encode_string(pair.as_bytes())));
            }
            Self::Post(secret) => {
                push("client_id", client_id);
                push("client_secret", secret);
            }
            Self::PrivateKeyJwt(assertion) => {
                push("client_id", client_id);
                push("client_assertion_type", ASSERTION_TYPE);
                push("client_assertion", assertion);
            }
            Self::Public => push("client_id", client_id),
        }
        None
    }
}

/// The claims of a client assertion (RFC 7523, section 3). The audience is the issuer identifier, and no endpoint: an
/// assertion for one server must be worth nothing at another (draft-ietf-oauth-rfc7523bis).
#[must_use]
pub fn assertion(client_id: &str, audience: &str, jti: &str) -> Map<String, Value> {
    let claims = json!({ "iss": client_id, "sub": client_id, "aud": audience, "jti": jti });
    claims.as_object().cloned().unwrap_or_default()
}

/// The claims of Apple's client secret, which is a JWT of the team's.
#[must_use]
pub fn apple_secret(client_id: &str, team_id: &str, audience: &str) -> Map<String, Value> {
    let claims = json!({ "iss": team_id, "sub": client_id, "aud": audience });
    claims.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(authentication: &ClientAuthentication<'_>) -> (String, Option<String>) {
        let mut form = Vec::new();
        let header = authentication.apply("an id", &mut form);
        let names: Vec<String> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (names.join("&"), header)
    }

    #[test]
    fn each_way_says_who_we_are_once() {
        assert_eq!(apply(&ClientAuthentication::Public), ("client_id=an id".to_owned(), None));
        let (form, header) = apply(&ClientAuthentication::Basic("a:b&c"));
        assert_eq!((form.as_str(), header.as_deref()), ("", Some("Basic YW4raWQ6YSUzQWIlMjZj")));
        let (form, header) = apply(&ClientAuthentication::Post("s"));
        assert_eq!((form.as_str(), header), ("client_id=an id&client_secret=s", None));
        let (form, _) = apply(&ClientAuthentication::PrivateKeyJwt("a.b.c"));
        assert!(form.contains("client_assertion_type=urn:ietf") && form.ends_with("client_assertion=a.b.c"));
    }
}
