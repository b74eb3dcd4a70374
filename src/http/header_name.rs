//! Header names as CGI reads them.

/// A header's name as origins may know it: CGI, WSGI and their like make one variable of `X-Doorward-User`,
/// `X_Doorward_User` and, some of them, `x.doorward!user` (RFC 3875, section 4.1.18, and beyond).
#[must_use]
pub fn canonical_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}
