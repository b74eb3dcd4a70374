//! What goes to the origin: nothing that only we may say, and what we say.
//!
//! PURE: no I/O, no clock, no randomness.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::http::header_name;

/// Headers of one hop (RFC 9110, section 7.6.1), which a proxy consumes.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What origins believe of a proxy in front of them: about the visitor's address, about what was asked for in truth after
/// rules judged what was sent, or about who asks. We say who asks under our own names alone: under these, nobody does.
const SAID_BY_PROXIES: [&str; 18] = [
    "client-cert",
    "client-cert-chain",
    "forwarded",
    "forwarded-for",
    // CGI makes `HTTP_PROXY` of it, which HTTP clients take for a setting (CVE-2016-5385).
    "proxy",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// The same, by how the names begin: ours, and those of other products that stand in front of websites.
const FAMILIES: [&str; 17] = [
    "x-doorward-",
    "x-forwarded-",
    "cf-access-",
    "oidc-claim-",
    "remote-",
    "ssl-client-",
    "tailscale-user-",
    "x-amzn-oidc-",
    "x-auth-request-",
    "x-authentik-",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-pomerium-",
    "x-remote-",
    "x-ssl-client-",
    "x-webauth-",
];

/// The JWT that an origin verifies.
pub const ASSERTION: &str = "X-Doorward-Assertion";

/// Whether a visitor's header is kept from the origin.
///
/// A visitor who could send these could be any user. `also_named` is what `Connection` lists.
#[must_use]
pub fn is_dropped(name: &str, also_named: &[String], keeps_upgrade: bool) -> bool {
    if keeps_upgrade && (name.eq_ignore_ascii_case("upgrade") || name.eq_ignore_ascii_case("connection")) {
        return false;
    }
    let name = header_name::canonical_name(name);
    HOP_BY_HOP.contains(&name.as_str())
        || FAMILIES.iter().any(|family| name.starts_with(family))
        || SAID_BY_PROXIES.contains(&name.as_str())
        || also_named.iter().any(|named| header_name::canonical_name(named) == name)
}

/// The names in a `Connection` header, but those whose loss would change what the request means to us.
#[must_use]
pub fn named_by_connection(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "host" && name != "cookie" && name != "authorization")
        .collect()
}

/// A header value of ours: printable ASCII as it is, all else percent-encoded, since bytes beyond ASCII do not
/// survive every hop.
#[must_use]
pub fn value(text: &str) -> String {
    utf8_percent_encode(text, CONTROLS).to_string()
}

/// A comma-separated list of such values. A comma inside one is encoded: a role `guest,admin` is one role.
#[must_use]
pub fn list(items: &[String]) -> String {
    const SEPARATORS: AsciiSet = CONTROLS.add(b',').add(b'%');
    items.iter().map(|item| utf8_percent_encode(item, &SEPARATORS).to_string()).collect::<Vec<_>>().join(",")
}

/// Whether an answer's header is of the hop between us and the origin.
#[must_use]
pub fn is_of_the_hop(name: &str, also_named: &[String]) -> bool {
    let name = name.to_ascii_lowercase();
    HOP_BY_HOP.contains(&name.as_str()) || also_named.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_we_may_say_is_dropped() {
        for name in [
            "X-Doorward-User",
            "x-doorward-assertion",
            "X_Doorward_User",
            "X-Forwarded-For",
            "x-forwarded_host",
            "Forwarded",
            "X-Real-IP",
            "X-Original-URL",
            "X-Rewrite-URL",
            "Connection",
            "Keep-Alive",
            "TE",
            "Upgrade",
            "Transfer-Encoding",
            "True-Client-IP",
            "X-HTTP-Method-Override",
            "X_HTTP_Method",
            "Proxy-Authorization",
            "X-Named",
            "x_named",
            "x.doorward.user",
            "X-Doorward.Roles",
            "x!doorward~user",
            "X_Forwarded.Host",
            "x.real.ip",
            "Proxy",
            "Remote-User",
            "Remote_Groups",
            "X-Remote-User",
            "X-Remote-Extra-Scopes",
            "X-WEBAUTH-USER",
            "X-Auth-Request-Email",
            "X-Forwarded-User",
            "X-Forwarded-Preferred-Username",
            "Cf-Access-Jwt-Assertion",
            "Cf-Access-Authenticated-User-Email",
            "X-MS-CLIENT-PRINCIPAL",
            "X-MS-CLIENT-PRINCIPAL-NAME",
            "Client-Cert",
        ] {
            assert!(is_dropped(name, &["x-named".to_owned()], false), "{name}");
        }
        for sign in "!#$%&'*+-.^_`|~".chars() {
            for name in ["X-Doorward-Roles", "X-Forwarded-For", "X-Original-URL", "Remote-User", "X-Auth-Request-User"]
            {
                let name = name.replace('-', &sign.to_string());
                assert!(is_dropped(&name, &[], false) && is_dropped(&name, &[], true), "{name}");
            }
        }
        for name in [
            "Accept",
            "Authorization",
            "Cookie",
            "Content-Type",
            "X-Requested-With",
            "Range",
            "Origin",
            "Remoteness",
            "X-Auth-Token",
            "If-None-Match",
            "Proxy-Version",
        ] {
            assert!(!is_dropped(name, &[], false), "{name}");
        }
        assert!(!is_dropped("Upgrade", &[], true));
        assert!(is_dropped("X-Doorward-User", &[], true));
    }

    #[test]
    fn connection_names_headers_but_not_those_that_matter() {
        assert_eq!(named_by_connection("close, X-Foo ,cookie,Authorization"), ["close", "x-foo"]);
    }

    #[test]
    fn values_are_ascii() {
        assert_eq!(value("a@x.co"), "a@x.co");
        assert_eq!(list(&["guest,admin".to_owned(), "100%".to_owned()]), "guest%2Cadmin,100%25");
        assert_eq!(value("Zoë\r\nX: y"), "Zo%C3%AB%0D%0AX: y");
    }
}
