//! Backup codes, PURE: ten of them, each good once, for a user who lost the authenticator.

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Codes in a set.
pub const COUNT: usize = 10;

/// Letters without those that are mistaken for others.
const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// A code of ten letters, 50 bits, from ten random bytes: `XXXXX-XXXXX`.
#[must_use]
pub fn code(random: [u8; 10]) -> String {
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    let (head, tail) = random.split_at(5);
    let text = |half: &[u8]| half.iter().map(letter).collect::<String>();
    format!("{}-{}", text(head), text(tail))
}

/// A code as it was typed, in the form that is kept: case, dashes and blanks do not matter.
#[must_use]
pub fn normalise(typed: &str) -> String {
    typed.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

/// What is kept of a code: `s:` and an HMAC-SHA256 with the authenticator's own secret, in base64url. That secret is kept
/// sealed, and sealed again when `SECRETS` are rotated, so the digests outlive a rotation.
#[must_use]
pub fn digest(authenticator_secret: &[u8], user: &str, code: &str) -> String {
    // HMAC takes keys of every length; a failure would be a digest that no code has.
    let mac = Hmac::<Sha256>::new_from_slice(authenticator_secret).map(|mut mac| {
        mac.update(format!("backup\0{user}\0{}", normalise(code)).as_bytes());
        Base64UrlUnpadded::encode_string(&mac.finalize().into_bytes())
    });
    format!("s:{}", mac.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_one_secret_one_user_and_one_code() {
        let of = |secret: &[u8], user, code| digest(secret, user, code);
        let one = of(b"secret", "u1", "AAAAA-BBBBB");
        assert_eq!(one, of(b"secret", "u1", "aaaaabbbbb"));
        assert!(one.starts_with("s:") && one.len() == 45);
        for other in
            [of(b"other", "u1", "AAAAABBBBB"), of(b"secret", "u2", "AAAAABBBBB"), of(b"secret", "u1", "AAAAABBBBC")]
        {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_code_survives_being_typed() {
        let made = code([0, 1, 2, 31, 32, 63, 200, 255, 8, 9]);
        assert_eq!(made.len(), 11);
        assert_eq!(normalise(&made), normalise(&format!(" {} ", made.to_lowercase().replace('-', " "))));
        assert_eq!(normalise("").len(), 0);
    }
}
