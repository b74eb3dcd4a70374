//! Who is asking, as far as the network says.

use std::net::IpAddr;

/// A client's certificate, as Cloudflare reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whether it is by an authority that the zone trusts, and not expired.
    pub is_verified: bool,
    /// Whether it was revoked: its key may be anybody's.
    pub is_revoked: bool,
    /// Its subject, in the form of RFC 2253.
    pub subject: String,
    /// Its SHA-256, in base64url.
    pub digest: String,
}

/// Address and browser of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The address as text; empty if unknown.
    pub ip: String,
    /// `User-Agent`, cut to 512 bytes.
    pub user_agent: String,
    /// Country, region and city as Cloudflare reports them, as a JSON object.
    pub location: Option<String>,
}

impl Client {
    /// The longest `User-Agent` kept, in bytes.
    const LONGEST_AGENT: usize = 512;

    /// Makes one from header values.
    #[must_use]
    pub fn new(ip: &str, user_agent: &str) -> Self {
        let mut end = user_agent.len().min(Self::LONGEST_AGENT);
        while !user_agent.is_char_boundary(end) {
            end -= 1;
        }
        let ip = ip.trim().parse::<IpAddr>().map(|ip| ip.to_canonical().to_string());
        Self { ip: ip.unwrap_or_default(), user_agent: user_agent[..end].to_owned(), location: None }
    }

    /// What a limit counts: the IPv4 address, or the /64 of an IPv6 one, since whoever has one address of a /64
    /// has them all.
    #[must_use]
    pub fn network(&self) -> String {
        match self.ip.parse() {
            Ok(IpAddr::V6(ip)) => {
                let [a, b, c, d, ..] = ip.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
            Ok(IpAddr::V4(ip)) => ip.to_string(),
            Err(_) => "unknown".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Client;

    #[test]
    fn an_ipv6_network_counts_as_one_and_a_mapped_address_as_ipv4() {
        assert_eq!(Client::new("192.0.2.7", "").network(), "192.0.2.7");
        assert_eq!(Client::new("2001:db8:1:2:3:4:5:6", "").network(), "2001:db8:1:2::/64");
        assert_eq!(Client::new("::ffff:192.0.2.7", "").network(), "192.0.2.7");
        assert_eq!(Client::new("nonsense", "").network(), "unknown");
    }

    #[test]
    fn a_long_user_agent_is_cut_between_characters() {
        let client = Client::new("", &"ä".repeat(400));
        assert_eq!(client.user_agent.len(), 512);
    }
}
