//! Passwords: Argon2id in PHC strings.
//!
//! PURE: no I/O, no clock, no randomness.

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::credentials::stored::{Preferred, StoredHash, StoredHashError};
use crate::platform::error::{Error, Result};
use crate::platform::secret::Secret;

/// What an unknown user's password is compared with, so that it takes as long as a known one's. It is the hash of
/// 32 random bytes that were thrown away, made with the parameters of `stored::Preferred`.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$yMsh8DL4dZxX0Kk0VxXWyw$2Nw1dMsPv2Q1XQn5o3V8cKzB0H0b3oQqk0m8hT5sY9E";

/// The longest password read at all, in characters: hashing more is a way to keep a server busy.
pub const LONGEST_READ: usize = 1024;

/// OWASP's recommendation: 19 MiB, two passes, one lane.
pub const ARGON2ID: Preferred = Preferred::Argon2id { m: 19_456, t: 2, p: 1 };

fn hasher() -> Argon2<'static> {
    // The parameters are valid, so the default is never used.
    let parameters = Params::new(19_456, 2, 1, Some(32)).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
}

/// A password in its normal form (NFKC; NIST SP 800-63B, section 5.1.1.2): the same one typed on another keyboard is
/// the same one.
#[derive(Clone, Debug)]
pub struct Password {
    normal: Secret<String>,
    typed: Option<Secret<String>>,
}

impl Password {
    /// A password as it was typed. `nfkc` is the platform's: its tables would be a tenth of the Worker.
    #[must_use]
    pub fn new(typed: String, nfkc: impl FnOnce(&str) -> String) -> Self {
        if typed.is_ascii() {
            return Self { normal: Secret::new(typed), typed: None };
        }
        let normal = nfkc(&typed);
        let typed = (normal != typed).then(|| Secret::new(typed));
        Self { normal: Secret::new(normal), typed }
    }

    /// Length in characters, as the policy counts it.
    #[must_use]
    pub fn length(&self) -> usize {
        self.normal.expose().chars().count()
    }

    /// Its bytes, in normal form.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.normal.expose().as_bytes()
    }
}

/// The PHC string of a password, with a salt of 16 random bytes.
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) if the hasher fails, which it does for no password.
pub fn hash(password: &Password, salt: [u8; 16]) -> Result<Secret<String>> {
    let fail = |error: argon2::password_hash::Error| Error::Internal(format!("argon2: {error}"));
    let salt = SaltString::encode_b64(&salt).map_err(fail)?;
    let hash = hasher().hash_password(password.bytes(), &salt).map_err(fail)?;
    Ok(Secret::new(hash.to_string()))
}

/// Reads a stored hash; for an unknown user, one that no password has.
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) for a row that cannot be.
pub fn read(stored: Option<&Secret<String>>) -> Result<StoredHash> {
    StoredHash::parse(stored.map_or(NOBODY, |secret| secret.expose().as_str())).map_err(impossible)
}

/// Whether the password is the one hashed. Whoever hashed elsewhere may have hashed what was typed, not its normal form.
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) if the hash is one that WebCrypto verifies, or the hasher fails.
pub fn verify(password: &Password, stored: &StoredHash) -> Result<bool> {
    let is_right = stored.verify(password.bytes()).map_err(impossible)?;
    match &password.typed {
        Some(typed) if !is_right => stored.verify(typed.expose().as_bytes()).map_err(impossible),
        _ => Ok(is_right),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn impossible(error: StoredHashError) -> Error {
    Error::Internal(format!("account.password_hash: {error}"))
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHash;

    use super::*;

    fn verifies(password: &Password, stored: &Secret<String>) -> bool {
        verify(password, &read(Some(stored)).expect("reads")).expect("verifies")
    }

    fn typed(text: &str) -> Password {
        Password::new(text.to_owned(), |text| text.replace("A\u{30a}", "\u{c5}"))
    }

    #[test]
    fn a_password_verifies_against_its_own_hash_only() {
        let stored = hash(&typed("correct horse"), [5; 16]).expect("hash");
        assert!(stored.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verifies(&typed("correct horse"), &stored));
        assert!(!verifies(&typed("correct horsf"), &stored));
        assert!(!verifies(&typed(""), &stored));
    }

    #[test]
    fn nobody_has_no_password_and_the_same_parameters() {
        assert!(!verify(&typed("anything"), &read(None).expect("reads")).expect("verifies"));
        let nobody = PasswordHash::new(NOBODY).expect("PHC");
        let real = hash(&typed("x"), [0; 16]).expect("hash");
        let real = PasswordHash::new(real.expose()).expect("PHC");
        assert_eq!(nobody.params, real.params);
        assert_eq!(nobody.hash.map(|h| h.len()), real.hash.map(|h| h.len()));
    }

    #[test]
    fn the_same_password_typed_on_another_keyboard_is_the_same() {
        let composed = hash(&typed("\u{c5}ngstrom"), [1; 16]).expect("hash");
        assert!(verifies(&typed("A\u{30a}ngstrom"), &composed));
        // Elsewhere it may have been hashed as it was typed.
        let stored =
            hash(&Password { normal: Secret::new("A\u{30a}".to_owned()), typed: None }, [1; 16]).expect("hash");
        assert!(verifies(&typed("A\u{30a}"), &stored));
        assert_eq!(typed("A\u{30a}").length(), 1);
    }

    #[test]
    fn a_row_that_cannot_be_is_an_error_and_lets_nobody_in() {
        assert!(read(Some(&Secret::new("plain".to_owned()))).is_err());
    }
}
