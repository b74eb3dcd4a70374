//! Redirect URIs: which may be registered, and which are those (RFC 9700, section 4.1.3; RFC 8252, section 7).

use std::net::IpAddr;

use url::{Host, Url};

/// The longest, in bytes.
const LONGEST: usize = 2000;

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Schemes that run what they name, or show it as a page: an answer sent there is a script of the attacker's choice.
const DANGEROUS: [&str; 6] = ["javascript", "data", "file", "vbscript", "blob", "about"];

/// Whether a URI has a scheme that no client may ever be sent to.
#[must_use]
pub fn is_dangerous(text: &str) -> bool {
    // As a browser reads it: without spaces and control characters in front, and in either case.
    let read = text.trim_start_matches(|c: char| c.is_control() || c.is_whitespace());
    let scheme: String = read.chars().take_while(|c| *c != ':').filter(|c| !c.is_control()).collect();
    DANGEROUS.iter().any(|known| scheme.eq_ignore_ascii_case(known))
}

/// Whether an operator may allow a URI by name: any scheme but those that are judged by rule, or dangerous.
#[must_use]
pub fn may_be_allowed(text: &str) -> bool {
    !is_dangerous(text) && is_private_use(text) && judge_text(text).is_ok()
}

/// Whether a URI names the user's own machine alone.
#[must_use]
pub fn is_own_machine(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.scheme() == "http" && is_loopback(&url))
}

/// Whether a URI has a scheme that an application on the user's device has taken for itself (RFC 8252, section 7.1).
#[must_use]
pub fn is_private_use(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| !matches!(url.scheme(), "https" | "http"))
}

/// Whether a URI may be registered for a client.
///
/// # Errors
/// Why not.
pub fn judge(text: &str, is_native: bool) -> Result<(), &'static str> {
    let url = judge_text(text)?;
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(&url) => Ok(()),
        "http" => Err("http is for loopback alone"),
        // RFC 8252, section 7.1: a reversed domain name. That keeps `javascript`, `data` and their like out as well.
        scheme if is_native && scheme.contains('.') => Ok(()),
        _ => Err("a private-use scheme is a native application's, and a domain name in reverse"),
    }
}

/// Whether a text is one that a redirect URI may be, whatever its scheme.
fn judge_text(text: &str) -> Result<Url, &'static str> {
    if text.len() > LONGEST || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\' || c == '*') {
        return Err("a redirect URI is too long or has characters that none has");
    }
    let url = Url::parse(text).map_err(|_| "a redirect URI is no absolute URI")?;
    if url.fragment().is_some() {
        return Err("a redirect URI has no fragment");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a redirect URI has no user information");
    }
    Ok(url)
}

/// Whether a URI is the registered one: exactly, but for the port of the user's own machine, which the system gives an
/// application each time (RFC 8252, section 7.3). `localhost` is treated as the addresses are: section 8.3 advises
/// applications against it, and many use it all the same.
#[must_use]
pub fn matches(registered: &str, given: &str, has_free_port: bool) -> bool {
    if registered == given {
        return true;
    }
    let (Ok(mut registered), Ok(mut other)) = (Url::parse(registered), Url::parse(given)) else {
        return false;
    };
    let both = |check: &dyn Fn(&Url) -> bool| check(&registered) && check(&other);
    if !has_free_port || !both(&|url| url.scheme() == "http" && is_loopback(url)) {
        return false;
    }
    // What is compared was normalised; what is sent must be what was judged.
    if other.as_str() != given {
        return false;
    }
    registered.set_port(None).is_ok() && other.set_port(None).is_ok() && registered == other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_registrations() {
        for (uri, web, native) in [
            ("https://app.example/cb", true, true),
            ("https://app.example/cb?x=1", true, true),
            ("http://localhost:3000/cb", true, true),
            ("http://127.0.0.1/cb", true, true),
            ("http://[::1]/cb", true, true),
            ("com.example.app:/cb", false, true),
            ("http://app.example/cb", false, false),
            ("http://localhost.evil.example/cb", false, false),
            ("https://app.example/cb#f", false, false),
            ("https://user@app.example/cb", false, false),
            ("https://*.example/cb", false, false),
            ("https://app.example/c b", false, false),
            ("https://app.example\\@evil.example/", false, false),
            ("javascript:alert(1)", false, false),
            ("data:text/html,x", false, false),
            ("myapp:/cb", false, false),
            ("/cb", false, false),
            ("", false, false),
        ] {
            assert_eq!(judge(uri, false).is_ok(), web, "web {uri}");
            assert_eq!(judge(uri, true).is_ok(), native, "native {uri}");
        }
    }

    #[test]
    fn what_a_browser_would_run_is_known() {
        for uri in
            ["javascript:alert(1)", "JavaScript:1", " data:,x", "java\nscript:1", "vbscript:x", "blob:x", "file:///x"]
        {
            assert!(is_dangerous(uri), "{uri}");
        }
        for uri in ["https://a.example/javascript:", "com.example.data:/cb", "cursor://x", ""] {
            assert!(!is_dangerous(uri), "{uri}");
        }
    }

    #[test]
    fn the_table_of_matches() {
        for (registered, given, exact, free) in [
            ("https://a.example/cb", "https://a.example/cb", true, true),
            ("https://a.example/cb", "https://a.example/cb/", false, false),
            ("https://a.example/cb", "https://a.example/cb?x", false, false),
            ("https://a.example/cb", "https://A.example/cb", false, false),
            ("https://a.example/cb", "https://a.example:443/cb", false, false),
            ("https://a.example/cb", "https://a.example/x/../cb", false, false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:49152/cb", false, true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:2/cb", false, true),
            ("http://[::1]/cb", "http://[::1]:8/cb", false, true),
            ("http://127.0.0.1/cb", "http://127.0.0.1:8/x/../cb", false, false),
            ("http://127.0.0.1/cb", "http://127.0.0.2:8/cb", false, false),
            ("http://localhost/cb", "http://localhost:8/cb", false, true),
            ("http://localhost:1/cb", "http://localhost/cb", false, true),
            ("http://localhost/cb", "http://127.0.0.1:8/cb", false, false),
            ("http://localhost/cb", "http://localhost:8/other", false, false),
            ("http://localhost/cb", "http://localhost.evil.example:8/cb", false, false),
            ("http://localhost/cb", "http://x@localhost:8/cb", false, false),
            ("http://127.0.0.1/cb", "https://127.0.0.1:8/cb", false, false),
        ] {
            assert_eq!(matches(registered, given, false), exact, "exact {registered} {given}");
            assert_eq!(matches(registered, given, true), free, "free {registered} {given}");
        }
    }
}
