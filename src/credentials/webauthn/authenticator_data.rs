//! Authenticator data (section 6.1): what the authenticator signs.
//!
//! PURE: no I/O, no clock, no randomness.

use sha2::{Digest, Sha256};

use crate::credentials::webauthn::WebauthnError;
use crate::credentials::webauthn::cbor::Reader;
use crate::credentials::webauthn::expectation::LONGEST_CREDENTIAL_ID;

/// Authenticator data, read to their last byte.
pub(super) struct AuthenticatorData<'a> {
    rp_id_hash: &'a [u8; 32],
    flags: u8,
    /// `signCount`.
    pub(super) counter: u32,
    /// Of a registration only.
    pub(super) attested: Option<AttestedCredentialData<'a>>,
}

/// Attested credential data (section 6.5.1).
pub(super) struct AttestedCredentialData<'a> {
    pub(super) aaguid: [u8; 16],
    pub(super) credential_id: &'a [u8],
    /// The COSE key in CBOR, not yet looked at.
    pub(super) public_key: &'a [u8],
}

const TOO_SHORT: WebauthnError = WebauthnError::AuthenticatorData("too short");

impl<'a> AuthenticatorData<'a> {
    /// Reads `bytes`. `for_attestation` is whether attested credential data must be there, or must not.
    pub(super) fn read(bytes: &'a [u8], for_attestation: bool) -> Result<Self, WebauthnError> {
        let (rp_id_hash, rest) = bytes.split_first_chunk::<32>().ok_or(TOO_SHORT)?;
        let (&[flags], rest) = rest.split_first_chunk::<1>().ok_or(TOO_SHORT)?;
        let (counter, mut rest) = rest.split_first_chunk::<4>().ok_or(TOO_SHORT)?;
        if (flags & flag::AT != 0) != for_attestation {
            let text = if for_attestation { "no attested credential data" } else { "attested credential data" };
            return Err(WebauthnError::AuthenticatorData(text));
        }
        let mut attested = None;
        if for_attestation {
            let (data, after) = AttestedCredentialData::read(rest)?;
            (attested, rest) = (Some(data), after);
        }
        if flags & flag::ED != 0 {
            // Outputs of extensions are read for their length alone; none was asked for (7.1 step 28, 7.2 step 23).
            Reader::whole(rest, Reader::text_map).map_err(WebauthnError::AuthenticatorData)?;
        } else if !rest.is_empty() {
            return Err(WebauthnError::AuthenticatorData("trailing bytes"));
        }
        Ok(Self { rp_id_hash, flags, counter: u32::from_be_bytes(*counter), attested })
    }

    /// 7.1 steps 14 to 17, 7.2 steps 15 to 18.
    pub(super) fn check(&self, rp_id: &str, require_user_verification: bool) -> Result<(), WebauthnError> {
        // The authenticator's own word on whom the signature is for, where the origin is the browser's.
        if self.rp_id_hash[..] != Sha256::digest(rp_id.as_bytes())[..] {
            return Err(WebauthnError::RpIdHash);
        }
        // Only a conditional creation may do without (7.1 step 15), and none is asked for.
        if !self.has(flag::UP) {
            return Err(WebauthnError::UserNotPresent);
        }
        if require_user_verification && !self.user_verified() {
            return Err(WebauthnError::UserNotVerified);
        }
        if self.backed_up() && !self.backup_eligible() {
            return Err(WebauthnError::BackupState);
        }
        Ok(())
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// UV.
    pub(super) const fn user_verified(&self) -> bool {
        self.has(flag::UV)
    }

    /// BE.
    pub(super) const fn backup_eligible(&self) -> bool {
        self.has(flag::BE)
    }

    /// BS.
    pub(super) const fn backed_up(&self) -> bool {
        self.has(flag::BS)
    }
}

impl<'a> AttestedCredentialData<'a> {
    /// The data, and what comes after them.
    fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), WebauthnError> {
        let (aaguid, rest) = bytes.split_first_chunk::<16>().ok_or(TOO_SHORT)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(TOO_SHORT)?;
        let length = usize::from(u16::from_be_bytes(*length));
        // 7.1 step 25. Without an id there would be nothing to find the credential by.
        if length == 0 || length > LONGEST_CREDENTIAL_ID {
            return Err(WebauthnError::CredentialIdLength(length));
        }
        let (credential_id, rest) = rest.split_at_checked(length).ok_or(TOO_SHORT)?;
        // Of the fields only the key does not say its length: it ends where its CBOR does.
        let public_key = Reader::new(rest).item().map_err(WebauthnError::PublicKey)?;
        let after = rest.get(public_key.len()..).ok_or(TOO_SHORT)?;
        Ok((Self { aaguid: *aaguid, credential_id, public_key }, after))
    }
}

/// Bits of `flags`.
mod flag {
    pub(super) const UP: u8 = 0x01;
    pub(super) const UV: u8 = 0x04;
    pub(super) const BE: u8 = 0x08;
    pub(super) const BS: u8 = 0x10;
    pub(super) const AT: u8 = 0x40;
    pub(super) const ED: u8 = 0x80;
}
