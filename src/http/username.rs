//! User names, as the login protocol accepts them: 3 to 30 ASCII letters, digits, underscores and dots, whatever their
//! case.

use crate::platform::error::{Error, Wire};

/// The longest text that is read as one, in characters.
pub const LONGEST_READ: usize = 256;

const SHORTEST: usize = 3;

const LONGEST: usize = 30;

/// Why a text is no user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoUsername {
    /// Fewer than 3 characters.
    TooShort,
    /// More than 30.
    TooLong,
    /// Others than those.
    Invalid,
}

impl NoUsername {
    const fn wire(self) -> Wire {
        match self {
            Self::TooShort => Wire::USERNAME_TOO_SHORT,
            Self::TooLong => Wire::USERNAME_TOO_LONG,
            Self::Invalid => Wire::INVALID_USERNAME,
        }
    }

    /// The refusal of a name that somebody wants to have.
    #[must_use]
    pub fn when_chosen(self) -> Error {
        Error::refused(self.wire(), format!("{self:?}"))
    }

    /// The refusal of a name that somebody asks about: the protocol has another status for it.
    #[must_use]
    pub fn when_asked(self) -> Error {
        Error::refused(Wire { status: 422, ..self.wire() }, format!("{self:?}"))
    }
}

/// The lower-case form of a user name.
///
/// # Errors
/// [`NoUsername`].
pub fn normalise_username(text: &str) -> Result<String, NoUsername> {
    let length = text.chars().count();
    if length < SHORTEST {
        return Err(NoUsername::TooShort);
    }
    if length > LONGEST {
        return Err(NoUsername::TooLong);
    }
    let valid = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    if valid { Ok(text.to_ascii_lowercase()) } else { Err(NoUsername::Invalid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(normalise_username("Alice_1.x"), Ok("alice_1.x".to_owned()));
        assert_eq!(normalise_username("ab"), Err(NoUsername::TooShort));
        assert_eq!(normalise_username(&"a".repeat(31)), Err(NoUsername::TooLong));
        for bad in ["a b", "a-b", "äbc", "a@x.co", "abc\n", "abc\u{200b}"] {
            assert_eq!(normalise_username(bad), Err(NoUsername::Invalid), "{bad:?}");
        }
        assert_eq!(NoUsername::TooShort.when_asked().wire().status, 422);
        assert_eq!(NoUsername::TooShort.when_chosen().wire().status, 400);
    }
}
