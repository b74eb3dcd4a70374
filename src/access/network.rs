//! Where a tenant's users may come from.
//!
//! An IPv4 address has a second spelling, mapped into IPv6 (RFC 4291, section 2.5.5.2): `::ffff:10.0.0.1`. A block list
//! that knew only one of them would be passed by the other, so everything is brought into IPv4 first, on both sides.
//! Other embeddings (NAT64's `64:ff9b::/96`, 6to4, the compatible `::10.0.0.1`) go through somebody's translator: what
//! they name is an IPv6 address, and no IPv4 range speaks of it.
//!
//! PURE: no I/O, no clock, no randomness.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// `::ffff:0:0`, the first of the IPv4-mapped addresses.
const FIRST_MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);

/// The prefix length that all of them have in common.
const MAPPED_PREFIX: u8 = 96;

/// From here on, a range around all of them is written for their sake, and not for that of IPv6 as such, like `::/0`.
const SHORTEST_AROUND_MAPPED: u8 = 81;

/// Why a text is none that restricts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No address.
    Address,
    /// No address with a prefix length.
    Network,
    /// `10.0.0.1/8`: whoever wrote it means one address or all of them, and there is no telling which.
    HostBits,
    /// `::ffff:0:0/90` is of IPv4 and IPv6 both.
    Mapped,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "not an address",
            Self::Network => "not a network",
            Self::HostBits => "bits are set beyond the prefix length",
            Self::Mapped => "a range of IPv4-mapped addresses has a prefix length of 96 or more",
        })
    }
}

/// Reads an address, a mapped one as IPv4. The standard library is exact: no leading zeros in IPv4 (octal to some, and
/// decimal to others), no ports, brackets, zones or blanks.
///
/// # Errors
/// [`Malformed::Address`].
pub fn address(text: &str) -> Result<IpAddr, Malformed> {
    text.parse::<IpAddr>().map(|ip| ip.to_canonical()).map_err(|_| Malformed::Address)
}

/// A range of addresses (CIDR, RFC 4632 and RFC 4291, section 2.3), or one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network(IpNet);

impl Network {
    /// Reads `10.0.0.0/8`. A lone address is no range here: `10.0.0.0` instead of `10.0.0.0/8` would be a slip.
    ///
    /// # Errors
    /// [`Malformed`], but not its `Address`.
    pub fn range(text: &str) -> Result<Self, Malformed> {
        let (ip, length) = text.split_once('/').ok_or(Malformed::Network)?;
        // Not `to_canonical`: the length is of the address as written.
        let ip: IpAddr = ip.parse().map_err(|_| Malformed::Network)?;
        let length = prefix_length(length).ok_or(Malformed::Network)?;
        let network = match ip {
            IpAddr::V4(ip) => Ipv4Net::new(ip, length).map(IpNet::V4),
            IpAddr::V6(ip) => match (ip.to_ipv4_mapped(), length.checked_sub(MAPPED_PREFIX)) {
                (Some(ip), Some(length)) => Ipv4Net::new(ip, length).map(IpNet::V4),
                (Some(_), None) => return Err(Malformed::Mapped),
                (None, _) => Ipv6Net::new(ip, length).map(IpNet::V6),
            },
        };
        let network = network.map_err(|_| Malformed::Network)?;
        if network.trunc() != network {
            return Err(Malformed::HostBits);
        }
        match network {
            IpNet::V6(v6) if v6.prefix_len() >= SHORTEST_AROUND_MAPPED && v6.contains(&FIRST_MAPPED) => {
                Err(Malformed::Mapped)
            }
            _ => Ok(Self(network)),
        }
    }

    /// Reads a range or an address.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.contains('/') { Self::range(text) } else { address(text).map(|ip| Self(ip.into())) }
    }

    /// Whether an address is in it. One of IPv6 is never in a range of IPv4, nor the reverse: `::/0` is all of IPv6.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }

    /// The shortest text that [`Network::parse`] reads as this: an address is written without its prefix length.
    #[must_use]
    pub fn shortest(&self) -> String {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().to_string() } else { self.to_string() }
    }
}

/// With its prefix length, always.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `u8::from_str` reads `+8` and `008` as well.
fn prefix_length(text: &str) -> Option<u8> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_decimal || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok()
}

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpRefusal {
    /// It is on the block list.
    Blocked,
    /// It is on neither allow list.
    NotAllowed,
    /// There is none, or none that can be read: it may be any of the blocked ones.
    UnknownAddress,
}

impl IpRefusal {
    /// As `login_history.failure_reason` holds it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "ip_blocked",
            Self::NotAllowed => "ip_not_allowed",
            Self::UnknownAddress => "ip_unknown",
        }
    }
}

/// `security_policy.ipRestrictions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpRestrictions {
    /// Whether any of it holds.
    pub enabled: bool,
    /// Addresses that are let in.
    pub allowed_ips: Vec<IpAddr>,
    /// Ranges that are let in. If both lists are empty, everybody is.
    pub allowed_ranges: Vec<Network>,
    /// Who is not, whatever the lists above say.
    pub block_list: Vec<Network>,
}

impl IpRestrictions {
    /// Judges a client's address; `None` is unknown.
    ///
    /// # Errors
    /// The refusal.
    pub fn admits(&self, ip: Option<&str>) -> Result<(), IpRefusal> {
        if !self.enabled {
            return Ok(());
        }
        let ip = ip.and_then(|ip| address(ip).ok()).ok_or(IpRefusal::UnknownAddress)?;
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.contains(ip));
        if is_in(&self.block_list) {
            return Err(IpRefusal::Blocked);
        }
        let is_open = self.allowed_ips.is_empty() && self.allowed_ranges.is_empty();
        let is_allowed = is_open || is_in(&self.allowed_ranges) || self.allowed_ips.contains(&ip);
        if is_allowed { Ok(()) } else { Err(IpRefusal::NotAllowed) }
    }
}

#[cfg(test)]
mod tests;
