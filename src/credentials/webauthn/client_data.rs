//! The client data: what the browser says of the ceremony (section 5.8.1).
//!
//! PURE: no I/O, no clock, no randomness.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use crate::credentials::webauthn::WebauthnError;
use crate::credentials::webauthn::error::excerpt;
use crate::credentials::webauthn::expectation::{LONGEST_CLIENT_DATA, decoded};

/// `CollectedClientData`. Members that we do not know are ignored: the section promises more of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    pub(super) challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: Option<bool>,
    #[serde(default, deserialize_with = "is_present")]
    top_origin: bool,
}

/// What the client data must say.
#[derive(Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) kind: &'static str,
    pub(super) challenge: &'a str,
    pub(super) origins: &'a [&'a str],
}

fn is_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// The bytes that the member holds: these are hashed, whatever they say.
pub(super) fn bytes(member: &str) -> Result<Vec<u8>, WebauthnError> {
    decoded("clientDataJSON", member, LONGEST_CLIENT_DATA)
}

impl ClientData {
    /// 7.1 steps 5 and 6, 7.2 steps 8 and 9.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, WebauthnError> {
        // "UTF-8 decode" drops a byte order mark. What is not UTF-8 it would patch up, which no browser has need of.
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        serde_json::from_slice(text).map_err(|error| WebauthnError::ClientData(excerpt(&error.to_string())))
    }

    /// 7.1 steps 7 to 11, 7.2 steps 10 to 14.
    fn check(&self, expected: &Expected<'_>) -> Result<(), WebauthnError> {
        // A registration must not pass for an authentication, nor the reverse.
        if self.kind != expected.kind {
            return Err(WebauthnError::CeremonyType(excerpt(&self.kind)));
        }
        // No secret: the challenge was sent to the browser that sends it back.
        if self.challenge != expected.challenge {
            return Err(WebauthnError::Challenge);
        }
        // Compared whole: a prefix or suffix of an origin is somebody else's (section 13.4.9).
        if !expected.origins.contains(&self.origin.as_str()) {
            return Err(WebauthnError::Origin(excerpt(&self.origin)));
        }
        // Our pages are in no other site's frame; there a click may be another's doing.
        if self.cross_origin == Some(true) || self.top_origin {
            return Err(WebauthnError::CrossOrigin);
        }
        Ok(())
    }
}

/// Checks the client data and hashes them: 7.1 steps 5 to 12; 7.2 steps 8 to 14, and 20.
pub(super) fn verified_hash(bytes: &[u8], expected: &Expected<'_>) -> Result<[u8; 32], WebauthnError> {
    ClientData::read(bytes)?.check(expected)?;
    Ok(Sha256::digest(bytes).into())
}

/// The challenge that the client data claim, to look up ours by.
pub(super) fn claimed_challenge(member: &str) -> Option<String> {
    Some(ClientData::read(&bytes(member).ok()?).ok()?.challenge)
}
