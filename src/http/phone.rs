//! Phone numbers in the international form (ITU-T E.164): a plus and 7 to 15 digits.

use crate::platform::error;

/// The longest text that is read as one, in characters.
pub const LONGEST_READ: usize = 40;

/// The number without the blanks and marks that people write between digits.
#[must_use]
pub fn normalise_phone_number(text: &str) -> Option<String> {
    let plain: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/')).collect();
    let digits = plain.strip_prefix('+')?;
    let valid = (7..=15).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        // No country has a code that begins with zero.
        && !digits.starts_with('0');
    valid.then_some(plain)
}

/// [`normalise_phone_number`], for a handler.
///
/// # Errors
/// `INVALID_PHONE_NUMBER`.
pub fn require_phone_number(text: &str) -> error::Result<String> {
    use crate::platform::error::{Error, Wire};
    normalise_phone_number(text).ok_or_else(|| Error::refused(Wire::INVALID_PHONE_NUMBER, "not in the form of E.164"))
}

#[cfg(test)]
mod tests {
    use super::normalise_phone_number;

    #[test]
    fn numbers() {
        assert_eq!(normalise_phone_number("+1 (555) 123-4567").as_deref(), Some("+15551234567"));
        for bad in
            ["", "+", "15551234567", "+0123456789", "+123456", "+1234567890123456", "+1555123456a", "++15551234567"]
        {
            assert_eq!(normalise_phone_number(bad), None, "{bad}");
        }
    }
}
