//! Slugs of tenants.
//!
//! PURE: no I/O, no clock, no randomness.

/// Whether a text may be a slug: lower-case letters, digits and dashes, as in a host name (RFC 1035, section 2.3.1).
#[must_use]
pub fn is_slug(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::is_slug;

    #[test]
    fn a_slug_is_a_label() {
        for slug in ["a", "acme", "acme-2", "a_b", &"x".repeat(63)] {
            assert!(is_slug(slug), "{slug}");
        }
        for slug in ["", "A", "-a", "a-", "a b", "ä", "a.b", "a/b", "a\u{0}", &"x".repeat(64)] {
            assert!(!is_slug(slug), "{slug}");
        }
    }
}
