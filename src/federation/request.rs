//! The authorization request (RFC 6749, section 4.1.1; RFC 7636; OpenID Connect Core 1.0, section 3.1.2.1).

use serde::{Deserialize, Serialize};
use url::Url;

use crate::id::{Id, Issuer, Millis};
use crate::secret::sha256_base64url;

/// What we remember of a begun sign-in, sealed, until its callback.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// The issuer that the visitor was sent to: an answer of another is a mix-up (RFC 9207).
    pub issuer_id: Id<Issuer>,
    /// Ties the ID token to this request.
    pub nonce: String,
    /// RFC 7636, section 4.1.
    pub code_verifier: String,
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
    /// `login_hint`.
    pub login_hint: Option<&'a str>,
    /// Further parameters of the issuer's settings.
    pub extra: &'a [(String, String)],
}

/// The URL to send the visitor to; `None` if the stored endpoint is no URL.
#[must_use]
pub fn authorization_url(flow: &Flow, parameters: &Parameters<'_>) -> Option<String> {
    let mut url = Url::parse(parameters.endpoint).ok()?;
    let challenge = sha256_base64url(&flow.code_verifier);
    let ours = [
        ("response_type", "code"),
        ("client_id", parameters.client_id),
        ("redirect_uri", &flow.redirect_uri),
        ("scope", parameters.scope),
        ("state", parameters.state),
        ("nonce", &flow.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let mut pairs = url.query_pairs_mut();
    pairs.extend_pairs(ours);
    if let Some(hint) = parameters.login_hint {
        pairs.append_pair("login_hint", hint);
    }
    for (name, value) in parameters.extra {
        // A setting adds parameters; it does not undo the checks that ours are for.
        if !ours.iter().any(|(taken, _)| taken == name) {
            pairs.append_pair(name, value);
        }
    }
    drop(pairs);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_pkce_state_and_nonce_whatever_the_settings_say() {
        let flow = Flow {
            issuer_id: Id::trusted("i".to_owned()),
            nonce: "n".to_owned(),
            code_verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(),
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
