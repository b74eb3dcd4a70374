//! The issuer's metadata (OpenID Connect Discovery 1.0, section 3; RFC 8414, section 2).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::{Host, Url};

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
pub fn location(base_url: &str) -> String {
    format!("{}/.well-known/openid-configuration", base_url.trim_end_matches('/'))
}

/// Reads a discovery document. `issuer` is whom it must be of: the base URL, or a service's template of it.
///
/// # Errors
/// What is wrong with it.
pub fn read(document: &[u8], issuer: &str, development: bool) -> Result<Metadata, String> {
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
            check_url(text, development).map_err(|problem| format!("{name}: {problem}"))?;
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

/// Whether we may send a request to a URL that an issuer or its administrator named.
///
/// # Errors
/// Why not. A server that fetches what it is told can be sent to its own network (SSRF): in production only https
/// to public names passes.
pub fn check_url(text: &str, development: bool) -> Result<Url, String> {
    // A parser takes white space away and goes on; what is stored would differ from what is asked.
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("{text:?} has white space"));
    }
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!("{text:?} has user information or a fragment"));
    }
    match url.scheme() {
        "https" => (),
        "http" if development => (),
        scheme => return Err(format!("{text:?} is {scheme}, not https")),
    }
    if development {
        return Ok(url);
    }
    let private = match url.host() {
        Some(Host::Domain(name)) => is_private_name(name),
        Some(Host::Ipv4(ip)) => is_private_address(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => is_private_address(IpAddr::V6(ip)),
        None => true,
    };
    if private {
        return Err(format!("{text:?} is on a private or local network"));
    }
    Ok(url)
}

fn is_private_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let suffixes = ["localhost", "local", "internal", "intranet", "lan", "home.arpa", "onion", "test", "invalid"];
    !name.contains('.')
        || suffixes
            .iter()
            .any(|suffix| name.strip_suffix(suffix).is_some_and(|head| head.is_empty() || head.ends_with('.')))
}

fn is_private_address(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_documentation()
                || ip.is_multicast()
                || a == 0
                || a >= 240
                // Carrier-grade NAT (RFC 6598), IETF protocol assignments (RFC 6890), benchmarking (RFC 2544).
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0)
                || (a == 198 && (b == 18 || b == 19))
        }
        IpAddr::V6(ip) => {
            let head = ip.segments()[0];
            // Global unicast is 2000::/3; 2002::/16 and 2001:0::/32 tunnel to IPv4 addresses that were not judged.
            head & 0xe000 != 0x2000
                || head == 0x2002
                || (head == 0x2001 && ip.segments()[1] == 0)
                || (head == 0x2001 && ip.segments()[1] == 0xdb8)
        }
    }
}

#[cfg(test)]
mod tests {
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
        read(bytes, "https://idp.example", false)
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

    #[test]
    fn private_networks_are_not_asked() {
        for good in ["https://idp.example/a", "https://8.8.8.8", "https://[2606:4700::1]/", "https://localhost.example"]
        {
            assert!(check_url(good, false).is_ok(), "{good}");
        }
        for bad in [
            "https://localhost",
            "https://LOCALHOST.",
            "https://a.localhost/",
            "https://intranet",
            "https://db.internal",
            "https://127.0.0.1",
            "https://2130706433",
            "https://0x7f.1",
            "https://0",
            "https://10.1.2.3",
            "https://172.16.0.1",
            "https://192.168.1.1",
            "https://169.254.169.254",
            "https://100.64.0.1",
            "https://[::1]",
            "https://[::ffff:10.0.0.1]",
            "https://[fe80::1]",
            "https://[fc00::1]",
            "https://[2002:a00:1::]",
            "https://[64:ff9b::a00:1]",
            "https://user@idp.example",
            "https://idp.example/#x",
            "http://idp.example",
            "file:///etc/passwd",
            "ftp://idp.example",
            "idp.example",
            "",
            "https://printer.local",
            "https://224.0.0.1",
        ] {
            assert!(check_url(bad, false).is_err(), "{bad}");
        }
        assert!(check_url("http://localhost:9000", true).is_ok());
        assert!(check_url("ftp://localhost:9000", true).is_err());
    }
}
