//! What a response must say, and how long its parts may be.
//!
//! PURE: no I/O, no clock, no randomness.

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::credentials::webauthn::error;
use crate::credentials::webauthn::error::WebauthnError;

/// The longest credential id (section 7.1, step 25).
pub const LONGEST_CREDENTIAL_ID: usize = 1023;

/// The longest user handle (section 5.4.3, `id`).
pub const LONGEST_USER_HANDLE: usize = 64;

/// A few hundred bytes in practice; browsers may add members of any kind (section 5.8.1).
pub const LONGEST_CLIENT_DATA: usize = 8 * 1024;

/// Room for certificates, so that an attestation with them is refused for what it is.
pub const LONGEST_ATTESTATION_OBJECT: usize = 32 * 1024;

/// 37 bytes and the outputs of extensions.
pub const LONGEST_AUTHENTICATOR_DATA: usize = 4 * 1024;

/// RSA with 8192 bits.
pub const LONGEST_SIGNATURE: usize = 1024;

/// What a response must say.
#[derive(Clone, Copy, Debug)]
pub struct Expectation<'a> {
    /// The challenge of this ceremony, in base64url. It is good for one response: the caller spends it.
    pub challenge: &'a str,
    /// Our origins, each in full.
    pub origins: &'a [&'a str],
    /// Our RP ID.
    pub rp_id: &'a str,
    /// Whether `userVerification` was `required`.
    pub require_user_verification: bool,
}

/// The bytes of a member of the browser's JSON: base64url without padding (section 3), of which there is but one
/// spelling for the same bytes. `longest` is in bytes, and is seen to before anything is decoded.
///
/// # Errors
/// [`WebauthnError::TooLong`], [`WebauthnError::Base64`].
pub fn decoded(name: &'static str, text: &str, longest: usize) -> Result<Vec<u8>, WebauthnError> {
    if text.len() > (longest * 4).div_ceil(3) {
        return Err(WebauthnError::TooLong(name));
    }
    Base64UrlUnpadded::decode_vec(text).map_err(|_| WebauthnError::Base64(name))
}

/// The credential id that a response claims, in `id` and `rawId` alike (section 5.1, `id`).
///
/// # Errors
/// [`WebauthnError`] of a type that is not `public-key`, and of ids that do not decode or differ.
pub fn claimed_id(kind: &str, id: &str, raw_id: &str) -> Result<Vec<u8>, WebauthnError> {
    // `type` is how a response says that it is one of ours (Credential Management Level 1, section 2.2).
    if kind != "public-key" {
        return Err(WebauthnError::CredentialType(error::excerpt(kind)));
    }
    let bytes = decoded("rawId", raw_id, LONGEST_CREDENTIAL_ID)?;
    // Looking one up and verifying the other would be the way into another's account.
    if decoded("id", id, LONGEST_CREDENTIAL_ID)? == bytes { Ok(bytes) } else { Err(WebauthnError::CredentialId) }
}
