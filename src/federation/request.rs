//! The authorization request (RFC 6749, section 4.1.1; RFC 7636; OpenID Connect Core 1.0, section 3.1.2.1).
//!
//! PURE: no I/O, no clock, no randomness.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::platform::id::{Id, Issuer, Millis, User};
use crate::platform::secret::sha256_base64url;

/// What a flow is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Signing in.
    #[default]
    SignIn,
    /// Linking the identity to this user, who must still be the one signed in when the flow ends.
    Link(Id<User>),
    /// Connecting an account of the platform's own, by this administrator.
    SystemAccount(Id<User>),
}

/// Scopes in the order and number that do not matter, made one (RFC 6749, section 3.3).
#[must_use]
pub fn scopes<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let all: BTreeSet<&str> = parts.into_iter().flat_map(str::split_whitespace).collect();
    all.into_iter().collect::<Vec<_>>().join(" ")
}

/// Scopes in the order in which they come, each once.
#[must_use]
pub fn joined<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = Vec::new();
    for scope in parts.into_iter().flat_map(str::split_whitespace) {
        if !all.contains(&scope) {
            all.push(scope);
        }
    }
    all.join(" ")
}

/// Names a set of scopes: SHA-256 of them, sorted, in base64url.
#[must_use]
pub fn scope_hash(scope: &str) -> String {
    sha256_base64url(&scopes([scope]))
}

/// Whether a text is a scope token (section 3.3).
#[must_use]
pub fn is_scope(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !text.is_empty() && text.len() <= 256 && text.bytes().all(allowed)
}

/// What we remember of a begun sign-in, sealed, until its callback.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// The issuer that the visitor was sent to: an answer of another is a mix-up (RFC 9207).
    pub issuer_id: Id<Issuer>,
    /// Ties the ID token to this request.
    pub nonce: String,
    /// RFC 7636, section 4.1.
    pub code_verifier: String,
    /// What it is for.
    #[serde(default)]
    pub purpose: Purpose,
    /// The scopes asked for, space-separated.
    #[serde(default)]
    pub scope: String,
    /// `redirect_uri`, repeated in the token request (RFC 6749, section 4.1.3).
    pub redirect_uri: String,
    /// Where to go afterwards; checked when it was given.
    pub callback_url: String,
    /// Where to go with an error.
    pub error_callback_url: Option<String>,
    /// Where to go with a user who is new.
    pub new_user_callback_url: Option<String>,
    /// When it began.
    pub started_at: Millis,
}

/// The issuer, as far as a request to it needs.
#[derive(Clone, Debug)]
pub struct Parameters<'a> {
    /// `authorization_endpoint`.
    pub endpoint: &'a str,
    /// `client_id`.
    pub client_id: &'a str,
    /// `scope`, space-separated.
    pub scope: &'a str,
    /// `state`.
    pub state: &'a str,
    /// Whether the issuer does PKCE.
    pub does_pkce: bool,
    /// `login_hint`.
    pub login_hint: Option<&'a str>,
    /// Further parameters of the issuer's settings.
    pub extra: &'a [(String, String)],
}

/// What would speak in the place of the parameters (RFC 9101), or of our redirect URI's fragment.
const NEVER: [&str; 3] = ["request", "request_uri", "client_secret"];

/// The URL to send the visitor to; `None` if the stored endpoint is no URL.
#[must_use]
pub fn authorization_url(flow: &Flow, parameters: &Parameters<'_>) -> Option<String> {
    let mut url = Url::parse(parameters.endpoint).ok()?;
    let given: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let challenge = sha256_base64url(&flow.code_verifier);
    let mut ours = vec![
        ("response_type", "code"),
        ("client_id", parameters.client_id),
        ("redirect_uri", &flow.redirect_uri),
        ("scope", parameters.scope),
        ("state", parameters.state),
        ("nonce", &flow.nonce),
    ];
    if parameters.does_pkce {
        ours.extend([("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
    }
    ours.extend(parameters.login_hint.map(|hint| ("login_hint", hint)));
    let mut taken: Vec<&str> = ours.iter().map(|(name, _)| *name).chain(NEVER).collect();
    let mut pairs = url.query_pairs_mut();
    // A parameter stands there once (RFC 6749, section 3.1), whatever the endpoint's own query says.
    pairs.clear().extend_pairs(given.iter().filter(|(name, _)| !taken.contains(&name.as_str())));
    pairs.extend_pairs(&ours);
    taken.extend(given.iter().map(|(name, _)| name.as_str()));
    for (name, value) in parameters.extra {
        // A setting adds parameters, and what a client asks for adds to the settings; neither undoes what comes before it.
        if !taken.contains(&name.as_str()) {
            pairs.append_pair(name, value);
            taken.push(name);
        }
    }
    drop(pairs);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_a_set() {
        assert_eq!(scopes(["profile openid", "email openid"]), "email openid profile");
        assert_eq!(joined(["profile openid", "email openid"]), "profile openid email");
        assert_eq!(scope_hash("a b"), scope_hash(" b  a a"));
        assert_ne!(scope_hash("a b"), scope_hash("ab"));
        for bad in ["", "a b", "a\"b", "a\\b", "ä", "a\n"] {
            assert!(!is_scope(bad), "{bad:?}");
        }
        assert!(is_scope("https://www.googleapis.com/auth/calendar.readonly"));
    }

    #[test]
    fn every_request_has_pkce_state_and_nonce_whatever_the_settings_say() {
        let flow = Flow {
            issuer_id: Id::trusted("i".to_owned()),
            nonce: "n".to_owned(),
            code_verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(),
            purpose: Purpose::SignIn,
            scope: "openid email".to_owned(),
            redirect_uri: "https://auth.example/cb".to_owned(),
            callback_url: "/".to_owned(),
            error_callback_url: None,
            new_user_callback_url: None,
            started_at: 0,
        };
        let extra = [("state", "evil"), ("prompt", "consent")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let url = authorization_url(
            &flow,
            &Parameters {
                endpoint: "https://idp.example/auth?tenant=1",
                client_id: "c",
                scope: "openid email",
                state: "s",
                does_pkce: true,
                login_hint: Some("a@x.co"),
                extra: &extra,
            },
        );
        assert_eq!(
            url.as_deref(),
            Some(
                "https://idp.example/auth?tenant=1&response_type=code&client_id=c&redirect_uri=https%3A%2F%2Fauth.example%2Fcb\
                 &scope=openid+email&state=s&nonce=n&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM\
                 &code_challenge_method=S256&login_hint=a%40x.co&prompt=consent"
            )
        );
    }
}
