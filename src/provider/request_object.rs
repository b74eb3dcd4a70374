//! Authorization requests that are signed: JWT-Secured Authorization Request (RFC 9101).
//!
//! PURE: no I/O, no clock, no randomness.

use serde_json::{Map, Value};

use crate::jose::jws::{UnverifiedJws, audiences};
use crate::platform::id::Millis;
use crate::platform::problem::{Code, Problem};
use crate::provider::client::Client;
use crate::provider::client_authentication::CREDENTIALS;
use crate::provider::parameters::Parameters;

/// How far a client's clock may be from ours, in seconds.
const LEEWAY: i64 = 30;

/// Claims of every JWT, which are no parameters (RFC 7519, section 4.1).
const JWT: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

fn bad(reason: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequestObject, "the request object is not good").because(reason)
}

/// Whether a JWT may be a request object of the client's, before its signature is looked at.
///
/// # Errors
/// `invalid_request_object`.
pub fn judge_header(jws: UnverifiedJws<'_>, client: &Client) -> Result<(), Problem> {
    // Another JWT of the client's must not pass for a request (section 10.8).
    if !matches!(jws.kind().as_deref(), None | Some("jwt" | "oauth-authz-req+jwt")) {
        return Err(bad("typ is another"));
    }
    let header = jws.header();
    let algorithm = header.get("alg").and_then(Value::as_str);
    match &client.details.request_object_signing_alg {
        Some(wanted) if algorithm != Some(wanted) => Err(bad("alg is not the registered one")),
        _ => Ok(()),
    }
}

/// The parameters that a verified request object carries. Nothing beside it counts (section 6.3).
///
/// # Errors
/// `invalid_request_object`.
pub fn parameters(
    claims: &Map<String, Value>,
    client: &Client,
    issuer: &str,
    now: Millis,
) -> Result<Parameters, Problem> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    if text("client_id") != Some(&client.client_id) {
        return Err(bad("client_id is missing, or another"));
    }
    if claims.contains_key("iss") && text("iss") != Some(&client.client_id) {
        return Err(bad("iss is another"));
    }
    // An assertion by which the client authenticates has the same signature (section 10.8.1).
    if text("sub") == Some(&client.client_id) {
        return Err(bad("sub is the client: an assertion"));
    }
    if claims.contains_key("aud") && !audiences(claims).contains(&issuer) {
        return Err(bad("aud is another"));
    }
    let now = now / 1000;
    if time("exp").is_some_and(|at| at + LEEWAY <= now) {
        return Err(bad("expired"));
    }
    if ["nbf", "iat"].iter().any(|name| time(name).is_some_and(|at| at - LEEWAY > now)) {
        return Err(bad("of the future"));
    }
    if claims.contains_key("request") || claims.contains_key("request_uri") {
        return Err(bad("a request in a request"));
    }
    let mut parameters = Parameters::default();
    // What proves who a client is is no part of what it asks for, and is not kept with it.
    let is_parameter = |name: &str| !JWT.contains(&name) && !CREDENTIALS.contains(&name);
    for (name, value) in claims.iter().filter(|(name, _)| is_parameter(name)) {
        match value {
            Value::Null => (),
            Value::Array(many) if name == "resource" => {
                let many: Option<Vec<&str>> = many.iter().map(Value::as_str).collect();
                many.ok_or_else(|| bad("resource"))?.into_iter().for_each(|one| parameters.add_resource(one));
            }
            Value::String(text) if text.is_empty() => (),
            Value::String(one) if name == "resource" => parameters.add_resource(one),
            Value::String(text) => parameters.set(name, text),
            other => parameters.set(name, other.to_string()),
        }
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {

    use serde_json::json;

    use super::*;
    use crate::provider::authorization::tests::client;

    const NOW: i64 = 1_000_000;

    fn read(claims: &Value) -> Result<Parameters, Code> {
        let claims = claims.as_object().expect("object");
        parameters(claims, &client(), "https://us", NOW * 1000).map_err(|problem| problem.code)
    }

    #[test]
    fn claims_become_parameters() {
        let read = read(&json!({
            "client_id": "app", "iss": "app", "aud": ["https://us", "https://them"], "exp": NOW + 60, "jti": "j", "max_age": 60,
            "claims": { "id_token": { "email": null } }, "resource": ["https://a", "https://b"], "scope": "openid", "state": "",
            "client_secret": "by mistake",
        }))
        .expect("reads");
        assert_eq!((read.get("max_age"), read.get("scope"), read.get("state")), (Some("60"), Some("openid"), None));
        assert_eq!(read.get("claims"), Some(r#"{"id_token":{"email":null}}"#));
        assert_eq!((read.get("jti"), read.get("client_secret")), (None, None));
        assert_eq!(read.resources(), ["https://a", "https://b"]);
    }

    #[test]
    fn the_table_of_request_objects() {
        for (name, value) in [
            ("client_id", json!("other")),
            ("client_id", Value::Null),
            ("iss", json!("other")),
            ("iss", json!(7)),
            ("sub", json!("app")),
            ("aud", json!("https://them")),
            ("aud", json!([])),
            ("exp", json!(NOW - 31)),
            ("nbf", json!(NOW + 31)),
            ("iat", json!(NOW + 31)),
            ("request", json!("e30")),
            ("request_uri", json!("urn:x")),
            ("resource", json!([7])),
        ] {
            let mut claims = json!({ "client_id": "app", "scope": "openid" });
            claims[name] = value.clone();
            assert_eq!(read(&claims), Err(Code::InvalidRequestObject), "{name} {value}");
        }
        for (typ, good) in [("JWT", true), ("oauth-authz-req+jwt", true), ("dpop+jwt", false), ("at+jwt", false)] {
            use base64ct::{Base64UrlUnpadded, Encoding};
            let header = json!({ "alg": "ES256", "typ": typ }).to_string();
            let text = format!("{}.e30.", Base64UrlUnpadded::encode_string(header.as_bytes()));
            assert_eq!(judge_header(UnverifiedJws(&text), &client()).is_ok(), good, "{typ}");
            let mut strict = client();
            strict.details.request_object_signing_alg = Some("EdDSA".to_owned());
            assert!(judge_header(UnverifiedJws(&text), &strict).is_err());
        }
    }
}
