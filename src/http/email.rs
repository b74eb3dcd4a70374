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

/// Whether mail to an address reaches anybody: `.invalid` never does (RFC 2606, section 2), and stands for those who gave
/// none.
#[must_use]
pub fn is_mailbox(address: &str) -> bool {
    !address.ends_with(".invalid") && normalise(address).is_some()
}

#[cfg(test)]
mod tests {
    use super::normalise;

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
