//! The issuer's metadata (OpenID Connect Discovery 1.0, section 3; RFC 8414, section 2).
//!
//! PURE: no I/O, no clock, no randomness.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::platform::outbound_url;

/// The endpoints that are kept, by the names that the metadata gives them.
pub const ENDPOINTS: [&str; 8] = [
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
    "end_session_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "pushed_authorization_request_endpoint",
];

/// What is known of an issuer.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Metadata {
    /// Endpoint name → URL.
    pub endpoints: BTreeMap<String, String>,
    /// `scopes_supported`.
    pub scopes_supported: Vec<String>,
    /// RFC 9207, section 3: whether every authorization response names its issuer.
    pub sends_iss: bool,
}

/// Where an issuer's metadata is.
#[must_use]
pub fn discovery_url(base_url: &str) -> String {
    format!("{}/.well-known/openid-configuration", base_url.trim_end_matches('/'))
}

/// Reads a discovery document. `issuer` is whom it must be of: the base URL, or a service's template of it.
///
/// # Errors
/// What is wrong with it.
pub fn read_metadata(document: &[u8], issuer: &str, development: bool) -> Result<Metadata, String> {
    let document: Map<String, Value> =
        serde_json::from_slice(document).map_err(|error| format!("discovery document is no JSON object: {error}"))?;
    let said = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
    // Section 4.3: exactly the issuer asked, or a document of one issuer speaks for another.
    if said != issuer {
        return Err(format!("discovery document is of issuer {said:?}"));
    }
    let mut endpoints = BTreeMap::new();
    for name in ENDPOINTS {
        if let Some(text) = document.get(name).and_then(Value::as_str) {
            outbound_url::check_url(text, development).map_err(|problem| format!("{name}: {problem}"))?;
            endpoints.insert(name.to_owned(), text.to_owned());
        }
    }
    for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
        if !endpoints.contains_key(name) {
            return Err(format!("discovery document without {name}"));
        }
    }
    let scopes = document.get("scopes_supported").and_then(Value::as_array);
    let sends_iss = document.get("authorization_response_iss_parameter_supported");
    Ok(Metadata {
        endpoints,
        scopes_supported: scopes
            .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default(),
        sends_iss: sends_iss.and_then(Value::as_bool).unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    fn document(change: impl Fn(&mut Map<String, Value>)) -> Vec<u8> {
        let mut map = Map::new();
        for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
            map.insert(name.to_owned(), Value::String(format!("https://idp.example/{name}")));
        }
        map.insert("issuer".to_owned(), Value::String("https://idp.example".to_owned()));
        change(&mut map);
        serde_json::to_vec(&map).expect("JSON")
    }

    fn read_as(bytes: &[u8]) -> Result<Metadata, String> {
        read_metadata(bytes, "https://idp.example", false)
    }

    #[test]
    fn a_document_of_the_issuer_is_read() {
        let bytes = document(|map| {
            map.insert("scopes_supported".to_owned(), serde_json::json!(["openid", "email"]));
            map.insert("authorization_response_iss_parameter_supported".to_owned(), Value::Bool(true));
            map.insert("registration_endpoint".to_owned(), Value::String("http://10.0.0.1".to_owned()));
        });
        let metadata = read_as(&bytes).expect("valid");
        assert!(metadata.sends_iss);
        assert_eq!(metadata.scopes_supported, ["openid", "email"]);
        assert_eq!(metadata.endpoints.len(), 3);
    }

    #[test]
    fn other_documents_are_refused() {
        for (bytes, problem) in [
            (
                document(|map| {
                    map.insert("issuer".to_owned(), "https://idp.example/".into());
                }),
                "of issuer",
            ),
            (
                document(|map| {
                    map.remove("issuer");
                }),
                "of issuer",
            ),
            (
                document(|map| {
                    map.remove("jwks_uri");
                }),
                "without jwks_uri",
            ),
            (
                document(|map| {
                    map.insert("token_endpoint".to_owned(), "http://idp.example".into());
                }),
                "not https",
            ),
            (
                document(|map| {
                    map.insert("jwks_uri".to_owned(), "https://127.0.0.1".into());
                }),
                "private",
            ),
            (b"[]".to_vec(), "no JSON object"),
            (b"<html>".to_vec(), "no JSON object"),
        ] {
            let error = read_as(&bytes).expect_err(problem);
            assert!(error.contains(problem), "{error}");
        }
    }
}
