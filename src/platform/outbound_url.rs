//! Addresses that the server asks: https, and no private network.

use std::net::IpAddr;

use url::{Host, Url};

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
    use super::check_url;

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
