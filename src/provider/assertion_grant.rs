//! Assertions of upstream issuers as grants (RFC 7523, section 2.1): an issuer that is trusted to do so names a user of its own,
//! and a client gets a token for them.
//!
//! PURE: no I/O, no clock, no randomness.

use serde_json::{Map, Value};

use crate::jose::jws::{UnverifiedJws, audiences};
use crate::platform::id::Millis;
use crate::platform::problem::{Code, Problem};

/// How far an issuer's clock may be from ours, in seconds, and the longest life of an assertion.
const LEEWAY: i64 = 30;

const LONGEST: i64 = 3600;

/// What an assertion says, that nobody has verified.
#[derive(Debug, PartialEq, Eq)]
pub struct UnverifiedAssertion {
    /// Who says that they made it.
    pub issuer: String,
    /// Whom they name.
    pub subject: String,
}

/// What a good one says.
#[derive(Debug, PartialEq, Eq)]
pub struct Assertion {
    /// What makes it one of its kind.
    pub jti: String,
    /// Its end.
    pub ends_at: Millis,
}

fn bad(reason: &str) -> Problem {
    Problem::new(Code::InvalidGrant, "the assertion is not good").because(reason)
}

/// Reads whom to ask about.
///
/// # Errors
/// `invalid_grant`.
pub fn read(jws: UnverifiedJws<'_>) -> Result<UnverifiedAssertion, Problem> {
    let said = jws.said().unwrap_or_default();
    let text = |name: &str| said.get(name).and_then(Value::as_str).filter(|text| !text.is_empty() && text.len() <= 512);
    let issuer = text("iss").ok_or_else(|| bad("no iss"))?.to_owned();
    let subject = text("sub").ok_or_else(|| bad("no sub"))?.to_owned();
    // An ID or access token of the issuer's has the same signature.
    if !matches!(jws.kind().as_deref(), None | Some("jwt" | "oauth-id-jag+jwt" | "authorization-grant+jwt")) {
        return Err(bad("typ is another"));
    }
    Ok(UnverifiedAssertion { issuer, subject })
}

/// Judges verified claims (section 3). An ID token is none: it is for a client, and an assertion is for us.
///
/// # Errors
/// `invalid_grant`.
pub fn judge(claims: &Map<String, Value>, client_id: &str, ours: &[&str], now: Millis) -> Result<Assertion, Problem> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    let said = audiences(claims);
    if said.len() != 1 || !ours.contains(&said[0]) {
        return Err(bad("aud is another"));
    }
    if claims.contains_key("client_id") && text("client_id") != Some(client_id) {
        return Err(bad("for another client"));
    }
    let now = now / 1000;
    let ends = time("exp").ok_or_else(|| bad("no exp"))?;
    if ends + LEEWAY <= now {
        return Err(bad("expired"));
    }
    if ends > now + LONGEST + LEEWAY {
        return Err(bad("good for too long"));
    }
    if ["nbf", "iat"].iter().any(|name| time(name).is_some_and(|at| at - LEEWAY > now)) {
        return Err(bad("of the future"));
    }
    let jti = text("jti").filter(|jti| !jti.is_empty() && jti.len() <= 512).ok_or_else(|| bad("no jti"))?;
    Ok(Assertion { jti: jti.to_owned(), ends_at: ends * 1000 })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_of_assertions() {
        let now = 1_000_000;
        let good = json!({ "iss": "https://i", "sub": "s", "aud": "https://us", "exp": now + 60, "jti": "j" });
        let of = |claims: &Value| judge(claims.as_object().expect("object"), "app", &["https://us"], now * 1000);
        assert_eq!(of(&good), Ok(Assertion { jti: "j".to_owned(), ends_at: (now + 60) * 1000 }));
        for (name, value) in [
            ("aud", json!("app")),
            ("aud", json!(["https://us", "app"])),
            ("aud", Value::Null),
            ("client_id", json!("other")),
            ("exp", Value::Null),
            ("exp", json!(now - 31)),
            ("exp", json!(now + 3700)),
            ("nbf", json!(now + 31)),
            ("iat", json!(now + 31)),
            ("jti", json!("")),
            ("jti", Value::Null),
        ] {
            let mut bad = good.clone();
            bad[name] = value.clone();
            assert!(of(&bad).is_err(), "{name} {value}");
        }
    }
}
