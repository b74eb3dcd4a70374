//! E-mail addresses, as the login protocol accepts them.

/// The longest address accepted, in bytes (RFC 5321, section 4.5.3.1.3, less the angle brackets).
pub const LONGEST: usize = 254;

/// The lower-case form of a valid address.
///
/// The rule is the protocol's own: ASCII letters, digits and `_'+-.` before the `@`, no dot at either end or twice
/// in a row, and a host name whose last label is letters.
#[must_use]
pub fn normalise(text: &str) -> Option<String> {
    let (local, domain) = text.split_once('@')?;
    let local_ok = !local.is_empty()
        && local.len() <= 64
        && !local.starts_with('.')
        && !local.contains("..")
        && local.bytes().all(|b| b.is_ascii_alphanumeric() || b"_'+-.".contains(&b))
        && local.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b));
    let labels: Vec<&str> = domain.split('.').collect();
    let domain_ok = labels.len() >= 2
        && labels.iter().all(|label| {
            label.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
        && labels.last().is_some_and(|top| top.len() >= 2 && top.bytes().all(|b| b.is_ascii_alphabetic()));
    (text.len() <= LONGEST && local_ok && domain_ok).then(|| text.to_ascii_lowercase())
}

/// The lower-case form of an address that a provider vouches for. The protocol's rule is for what people type, and refuses
/// mistakes; here the standards decide: a dot-atom (RFC 5322, section 3.2.3) before the `@`, and a host name of
/// letters, digits and hyphens, whose last label may be an A-label (RFC 5890, section 2.3.2.1).
#[must_use]
pub fn of_provider(text: &str) -> Option<String> {
    let (local, domain) = text.rsplit_once('@')?;
    let is_atom = |atom: &str| {
        !atom.is_empty() && atom.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    };
    let is_label = |label: &&str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels: Vec<&str> = domain.split('.').collect();
    // No top label is a number, or an address would be taken for a host (RFC 3696, section 2).
    let is_top = |top: &str| {
        let is_a_label = top.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--")) && top.len() > 4;
        is_a_label || (top.len() >= 2 && top.bytes().all(|b| b.is_ascii_alphabetic()))
    };
    let domain_ok = labels.len() >= 2 && labels.iter().all(is_label) && labels.last().is_some_and(|top| is_top(top));
    let local_ok = local.len() <= 64 && local.split('.').all(is_atom);
    (text.len() <= LONGEST && local_ok && domain_ok).then(|| text.to_ascii_lowercase())
}

/// Whether mail to an address reaches anybody: `.invalid` never does (RFC 2606, section 2), and stands for those who gave
/// none.
#[must_use]
pub fn is_mailbox(address: &str) -> bool {
    !address.ends_with(".invalid") && of_provider(address).is_some()
}

#[cfg(test)]
mod tests {
    use super::{normalise, of_provider};

    #[test]
    fn addresses_of_providers_are_judged_by_the_standards() {
        for good in [
            "ivan@xn--e1afmkfd.xn--p1ai",
            "a&b@example.com",
            "a/b@example.com",
            "a=b@example.com",
            "a!b@example.com",
            "O'Brien+tag@Mail.Example.COM",
            "{x}~|`^?*%$#@example.com",
        ] {
            assert_eq!(of_provider(good), Some(good.to_ascii_lowercase()), "{good}");
        }
        for bad in [
            "",
            "a",
            "@x.co",
            "a@",
            "a@x",
            "a@x.c",
            "a@x..co",
            ".a@x.co",
            "a.@x.co",
            "a..b@x.co",
            "a b@x.co",
            "a@x.co ",
            "a@x.co\n",
            "a\r\nbcc:b@x.co",
            "a@b@x.co",
            "a@-x.co",
            "a@x-.co",
            "a@x.c0",
            "a@x.xn--",
            "a@127.0.0.1",
            "\"a\"@x.co",
            "a,b@x.co",
            "a<b@x.co",
            "a;b@x.co",
            "a:b@x.co",
            "(a)@x.co",
            "ä@x.co",
            "a@x_y.co",
            "a@[127.0.0.1]",
        ] {
            assert_eq!(of_provider(bad), None, "{bad:?}");
        }
        assert_eq!(of_provider(&format!("{}@x.co", "a".repeat(65))), None);
        assert_eq!(of_provider(&format!("a@{}.co", "x".repeat(64))), None);
    }

    #[test]
    fn addresses() {
        for good in ["a@x.co", "o'brien+tag@mail.example.com", "A.B@X.CO", "a@xn--bcher-kva.example"] {
            assert_eq!(normalise(good), Some(good.to_ascii_lowercase()), "{good}");
        }
        for bad in [
            "",
            "a",
            "@x.co",
            "a@",
            "a@x",
            "a@x.c",
            "a@.co",
            "a@x..co",
            ".a@x.co",
            "a.@x.co",
            "a..b@x.co",
            "a b@x.co",
            "a@x.co ",
            "a@x.co\n",
            "a@b@x.co",
            "a@-x.co",
            "a@x.c0",
            "ä@x.co",
            "a@x_y.co",
        ] {
            assert_eq!(normalise(bad), None, "{bad:?}");
        }
        assert_eq!(normalise(&format!("a@{}.co", "x".repeat(260))), None);
    }
}
