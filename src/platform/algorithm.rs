//! Signature algorithms (RFC 7518, section 3.1) that clients may use and tokens are signed by.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};

/// An algorithm that we sign with (RFC 7518, section 3.1; RFC 8037, section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256: what we use unless a client wants another.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSASSA-PKCS1-v1_5, for clients that know no other.
    #[serde(rename = "RS256")]
    Rs256,
}

impl SigningAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Rs256];

    /// As the wire says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    /// Reads it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text)
    }

    /// `at_hash` or `c_hash` beside a signature of this algorithm: the left half of its own digest (OpenID Connect Core 1.0,
    /// section 3.3.2.11). That of Ed25519 is SHA-512 (RFC 8032, section 5.1).
    #[must_use]
    pub fn half_digest(self, text: &str) -> String {
        match self {
            Self::Es256 | Self::Rs256 => Base64UrlUnpadded::encode_string(&Sha256::digest(text.as_bytes())[..16]),
            Self::EdDsa => Base64UrlUnpadded::encode_string(&Sha512::digest(text.as_bytes())[..32]),
        }
    }
}

/// The algorithms that we verify (RFC 7518, section 3.1; RFC 8037, and by its own name RFC 9864). The list is ours; a header only chooses from it
/// (RFC 8725, section 3.1).
pub const ALGORITHMS: [&str; 5] = ["ES256", "EdDSA", "Ed25519", "RS256", "PS256"];
