//! Why a response is not believed.
//!
//! PURE: no I/O, no clock, no randomness.

use std::fmt;

/// Why a response is not believed: for the log, and not for whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebauthnError {
    /// A member is longer than any real one.
    TooLong(&'static str),
    /// A member is not base64url without padding.
    Base64(&'static str),
    /// `type` of the response is not `public-key`.
    CredentialType(String),
    /// `clientDataJSON` is not the JSON of section 5.8.1.
    ClientData(String),
    /// `type` in the client data: another ceremony's response.
    CeremonyType(String),
    /// `challenge` in the client data is not ours.
    Challenge,
    /// `origin` in the client data is none of ours.
    Origin(String),
    /// Made in another site's frame.
    CrossOrigin,
    /// `attestationObject` is not the CBOR of section 6.5.4.
    AttestationObject(&'static str),
    /// The authenticator data are not those of section 6.1.
    AuthenticatorData(&'static str),
    /// Made for another RP ID.
    RpIdHash,
    /// The UP flag is not set.
    UserNotPresent,
    /// The UV flag is not set, and it was asked for.
    UserNotVerified,
    /// BS is set without BE.
    BackupState,
    /// BE is not what it was at registration, which it stays for good.
    BackupEligibility {
        /// At registration.
        stored: bool,
        /// Now.
        presented: bool,
    },
    /// The key is for a COSE algorithm that was not asked for.
    Algorithm(i64),
    /// The credential public key is not a proper COSE key.
    PublicKey(&'static str),
    /// The stored public key is not a proper COSE key: a row that cannot be.
    StoredPublicKey(&'static str),
    /// An attestation statement format that is not supported, or `packed` with a certificate.
    UnsupportedAttestation(String),
    /// The attestation statement is not what its format says.
    AttestationStatement(&'static str),
    /// The attestation statement's signature is not by the credential's key.
    AttestationSignature,
    /// The credential id's length in bytes: none at all, or more than 1023.
    CredentialIdLength(usize),
    /// `id`, `rawId` and the credential meant are not one and the same.
    CredentialId,
    /// `userHandle` is another user's.
    UserHandle,
    /// The assertion's signature is not by the stored key.
    Signature,
    /// The signature counter did not go up: there may be a copy of the key (section 6.1.1).
    CounterWentBack {
        /// The last one seen.
        stored: u32,
        /// The one signed now.
        presented: u32,
    },
}

impl fmt::Display for WebauthnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(name) => write!(f, "{name} is too long"),
            Self::Base64(name) => write!(f, "{name} is not base64url without padding"),
            Self::CredentialType(text) => write!(f, "credential type {text:?}"),
            Self::ClientData(text) => write!(f, "client data: {text}"),
            Self::CeremonyType(text) => write!(f, "client data of type {text:?}"),
            Self::Challenge => f.write_str("another challenge"),
            Self::Origin(text) => write!(f, "origin {text:?}"),
            Self::CrossOrigin => f.write_str("made in another site's frame"),
            Self::AttestationObject(text) => write!(f, "attestation object: {text}"),
            Self::AuthenticatorData(text) => write!(f, "authenticator data: {text}"),
            Self::RpIdHash => f.write_str("another RP ID"),
            Self::UserNotPresent => f.write_str("user not present"),
            Self::UserNotVerified => f.write_str("user not verified"),
            Self::BackupState => f.write_str("backed up, but not eligible for backup"),
            Self::BackupEligibility { stored, presented } => {
                write!(f, "backup eligibility was {stored} and is {presented}")
            }
            Self::Algorithm(id) => write!(f, "COSE algorithm {id}"),
            Self::PublicKey(text) => write!(f, "public key: {text}"),
            Self::StoredPublicKey(text) => write!(f, "stored public key: {text}"),
            Self::UnsupportedAttestation(format) => write!(f, "attestation {format:?}, which was not asked for"),
            Self::AttestationStatement(text) => write!(f, "attestation statement: {text}"),
            Self::AttestationSignature => f.write_str("attestation signature"),
            Self::CredentialIdLength(length) => write!(f, "credential id of {length} bytes"),
            Self::CredentialId => f.write_str("another credential id"),
            Self::UserHandle => f.write_str("another user's handle"),
            Self::Signature => f.write_str("signature"),
            Self::CounterWentBack { stored, presented } => {
                write!(f, "signature counter was {stored} and is {presented}")
            }
        }
    }
}

impl std::error::Error for WebauthnError {}

/// As much of a stranger's text as the log needs.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_stays_on_its_line_in_the_log() {
        let text = WebauthnError::Origin(excerpt(&"a\nb".repeat(100))).to_string();
        assert!(!text.contains('\n') && text.len() < 300, "{text}");
        let counter = WebauthnError::CounterWentBack { stored: 7, presented: 6 };
        assert_eq!(counter.to_string(), "signature counter was 7 and is 6");
    }
}
