//! Addresses of our own: what others give us as theirs must not be one of them. On Cloudflare a request of a Worker to its own
//! zone goes past the Worker to the origin, and so past the gate; elsewhere it would have us ask ourselves.

use serde::Deserialize;
use url::Url;

use crate::platform::origin::Origin;

/// What the directory says of a host.
#[derive(Debug, Default, Deserialize)]
pub struct KnownHost {
    /// Whether a tenant or a website answers on it.
    pub is_host: bool,
    /// The origins that may be on it, as they were written.
    pub origins: Vec<String>,
}

/// What is asked of the directory about a URL: its host, and what the URLs of origins on it begin with.
#[must_use]
pub fn host_question(url: &Url) -> Option<(String, [String; 2])> {
    let host = url.host_str()?.trim_end_matches('.').to_ascii_lowercase();
    let beginnings = [format!("https://{host}"), format!("http://{host}")];
    Some((host, beginnings))
}

/// Whether a URL is one of ours. In development everything is on one machine, and a port is all that tells one from another.
#[must_use]
pub fn is_own(url: &Url, known: &KnownHost, auth_origin: &Origin, development: bool) -> bool {
    let Some((host, _)) = host_question(url) else {
        return false;
    };
    let port = |url: &Url| url.port_or_known_default();
    let here = Url::parse(auth_origin.as_str()).ok();
    let same_port = |other: Option<u16>| !development || other == port(url);
    if (known.is_host || host == auth_origin.host()) && same_port(here.as_ref().and_then(port)) {
        return true;
    }
    let origins = known.origins.iter().filter_map(|origin| Url::parse(origin).ok());
    origins
        .filter(|origin| host_question(origin).is_some_and(|(other, _)| other == host))
        .any(|origin| same_port(port(&origin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_told_from_what_is_not() {
        let auth = Origin::parse("https://auth.example").expect("origin");
        let origins = vec!["https://origin.example:8443/base".to_owned(), "https://origin.example.evil".to_owned()];
        let known = |is_host| KnownHost { is_host, origins: origins.clone() };
        for (text, is_host, own) in [
            ("https://auth.example/jwks", false, true),
            ("https://AUTH.example.:8443/jwks", false, true),
            ("https://app.example/", true, true),
            ("https://app.example/", false, false),
            ("https://origin.example/", false, true),
            ("https://origin.example.evil/", false, true),
            ("https://else.example/", false, false),
        ] {
            let url = Url::parse(text).expect("URL");
            assert_eq!(is_own(&url, &known(is_host), &auth, false), own, "{text}");
        }
        let auth = Origin::parse("http://localhost:8787").expect("origin");
        for (text, is_host, own) in [
            ("http://localhost:8787/jwks", false, true),
            ("http://localhost:9000/jwks", true, false),
            ("http://app.localhost:8787/", true, true),
        ] {
            let url = Url::parse(text).expect("URL");
            assert_eq!(is_own(&url, &KnownHost { is_host, origins: Vec::new() }, &auth, true), own, "{text}");
        }
    }
}
