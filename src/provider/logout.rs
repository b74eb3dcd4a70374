//! What clients are told when a session ends (OpenID Connect Back-Channel Logout 1.0, Front-Channel Logout 1.0).
//!
//! PURE: no I/O, no clock, no randomness.

use serde_json::{Map, Value, json};
use url::Url;

/// `typ` of a logout token (Back-Channel Logout 1.0, section 2.4), so that it passes for no other.
pub const TYPE: &str = "logout+jwt";

/// The claims of a logout token, but for its times. It has no `nonce`, by which a client knows it from an ID token.
#[must_use]
pub fn claims(issuer: &str, client_id: &str, subject: &str, session: &str, jti: &str) -> Map<String, Value> {
    let claims = json!({
        "iss": issuer, "aud": client_id, "sub": subject, "sid": session, "jti": jti,
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    let Value::Object(claims) = claims else { return Map::new() };
    claims
}

/// The address that a page of ours frames to sign its reader out at a client, with `iss` and `sid` (Front-Channel Logout 1.0,
/// section 3), and its origin. `None` for what is no web address.
#[must_use]
pub fn front_channel(uri: &str, issuer: &str, session: &str) -> Option<(String, String)> {
    let mut url = Url::parse(uri).ok()?;
    url.query_pairs_mut().append_pair("iss", issuer).append_pair("sid", session);
    let origin = url.origin().ascii_serialization();
    // It stands in a policy, where `;` and `,` have meanings of their own, and a host may have both.
    let is_plain = origin.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:/[]".contains(&b));
    (url.origin().is_tuple() && is_plain).then(|| (url.into(), origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_channels_keep_their_own_query() {
        let (uri, origin) = front_channel("https://app.example:8443/out?a=b", "https://us", "s 1").expect("an address");
        assert_eq!(uri, "https://app.example:8443/out?a=b&iss=https%3A%2F%2Fus&sid=s+1");
        assert_eq!(origin, "https://app.example:8443");
        for bad in ["javascript:alert(1)", "https://x;sandbox;.example/out", "https://a,b.example/out"] {
            assert_eq!(front_channel(bad, "https://us", "s"), None, "{bad}");
        }
    }

    #[test]
    fn a_logout_token_has_no_nonce() {
        let claims = claims("https://us", "app", "u", "s", "j");
        assert_eq!(
            claims.keys().map(String::as_str).collect::<Vec<_>>(),
            ["aud", "events", "iss", "jti", "sid", "sub"]
        );
    }
}
