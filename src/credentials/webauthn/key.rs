//! Credential public keys: COSE keys (RFC 9052, section 7) of three kinds.
//!
//! PURE: no I/O, no clock, no randomness.

use p256::ecdsa::signature::Verifier as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, Pkcs1v15Sign, RsaPublicKey};
use sha2::{Digest, Sha256};

use crate::credentials::webauthn::WebauthnError;
use crate::credentials::webauthn::cbor::Reader;

/// The signature algorithms to ask for in `pubKeyCredParams`, by their COSE identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with SHA-256, here always on P-256 (section 5.8.5).
    Es256,
    /// `EdDSA`, here always on Ed25519 (section 5.8.5).
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8812, section 2): what TPMs have.
    Rs256,
}

impl Algorithm {
    /// All of them, the best first, as `pubKeyCredParams` wants them.
    pub const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Rs256];

    /// Its `COSEAlgorithmIdentifier`.
    #[must_use]
    pub const fn cose_identifier(self) -> i64 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
            Self::Rs256 => -257,
        }
    }

    pub(super) fn from_cose_identifier(identifier: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.cose_identifier() == identifier)
    }
}

/// Fewest bits of an RSA modulus (RFC 8812, section 2), and the most: verifying is work, and the key is a stranger's.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The smallest RSA exponent (FIPS 186-5, section A.1.1: more than 2^16, and odd).
const RSA_EXPONENT: u32 = 65_537;

/// A public key that can verify.
#[derive(Debug)]
pub(super) enum PublicKey {
    Es256(p256::ecdsa::VerifyingKey),
    EdDsa(ed25519_compact::PublicKey),
    Rs256(RsaPublicKey),
}

/// The parameters of a COSE key, each to be taken once.
struct Parameters<'a>(Vec<(i64, &'a [u8])>);

impl<'a> Parameters<'a> {
    fn take(&mut self, label: i64) -> Option<&'a [u8]> {
        let index = self.0.iter().position(|(other, _)| *other == label)?;
        Some(self.0.swap_remove(index).1)
    }

    fn integer(&mut self, label: i64) -> Result<i64, WebauthnError> {
        let value = self.take(label).ok_or(WebauthnError::PublicKey("a parameter is missing"))?;
        Reader::whole(value, Reader::integer).map_err(WebauthnError::PublicKey)
    }

    fn bytes(&mut self, label: i64) -> Result<&'a [u8], WebauthnError> {
        let value = self.take(label).ok_or(WebauthnError::PublicKey("a parameter is missing"))?;
        Reader::whole(value, Reader::bytes).map_err(WebauthnError::PublicKey)
    }

    /// The integer must be this one.
    fn is(&mut self, label: i64, expected: i64, otherwise: &'static str) -> Result<(), WebauthnError> {
        if self.integer(label)? == expected { Ok(()) } else { Err(WebauthnError::PublicKey(otherwise)) }
    }

    fn chunk(&mut self, label: i64) -> Result<[u8; 32], WebauthnError> {
        self.bytes(label)?.try_into().map_err(|_| WebauthnError::PublicKey("a coordinate that is not of 32 bytes"))
    }
}

impl PublicKey {
    /// Reads a COSE key in CBOR: 7.1 step 20, and section 6.5.1.
    pub(super) fn read(cose_key: &[u8]) -> Result<Self, WebauthnError> {
        let map = Reader::whole(cose_key, Reader::integer_map).map_err(WebauthnError::PublicKey)?;
        let mut parameters = Parameters(map);
        let identifier = parameters.integer(cose::ALG)?;
        // The list of algorithms is ours; the key only chooses from it.
        let key = match Algorithm::from_cose_identifier(identifier).ok_or(WebauthnError::Algorithm(identifier))? {
            Algorithm::Es256 => Self::Es256(p256_key(&mut parameters)?),
            Algorithm::EdDsa => Self::EdDsa(ed25519_key(&mut parameters)?),
            Algorithm::Rs256 => Self::Rs256(rsa_key(&mut parameters)?),
        };
        // Section 6.5.1: no optional parameters. A private key among them would be known to whoever reads along.
        if parameters.0.is_empty() { Ok(key) } else { Err(WebauthnError::PublicKey("a parameter too many")) }
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::EdDsa(_) => Algorithm::EdDsa,
            Self::Rs256(_) => Algorithm::Rs256,
        }
    }

    /// Whether `signature`, in the form that section 6.5.5 gives it, is by this key.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            // Both of the values that ECDSA allows for s are taken: authenticators do not choose the low one.
            Self::Es256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Self::EdDsa(key) => ed25519_compact::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Self::Rs256(key) => key.verify(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message), signature).is_ok(),
        }
    }
}

/// RFC 9053, section 7.1.1. A compressed point, with a boolean for y, is not allowed (section 5.8.5).
fn p256_key(parameters: &mut Parameters<'_>) -> Result<p256::ecdsa::VerifyingKey, WebauthnError> {
    parameters.is(cose::KTY, cose::EC2, "not EC2")?;
    parameters.is(cose::CRV, cose::P256, "not P-256")?;
    let (x, y) = (parameters.chunk(cose::X)?, parameters.chunk(cose::Y)?);
    // An uncompressed point (SEC 1, section 2.3.3). The library makes sure that it is on the curve.
    p256::ecdsa::VerifyingKey::from_sec1_bytes(&[&[4], &x[..], &y[..]].concat())
        .map_err(|_| WebauthnError::PublicKey("not on the curve"))
}

/// RFC 9053, section 7.2.
fn ed25519_key(parameters: &mut Parameters<'_>) -> Result<ed25519_compact::PublicKey, WebauthnError> {
    parameters.is(cose::KTY, cose::OKP, "not OKP")?;
    parameters.is(cose::CRV, cose::ED25519, "not Ed25519")?;
    let key = ed25519_compact::PublicKey::new(parameters.chunk(cose::X)?);
    // Under a point of small order a signature holds for many messages.
    key.validate().map_err(|_| WebauthnError::PublicKey("not on the curve, or of small order"))?;
    Ok(key)
}

/// RFC 8230, section 4.
fn rsa_key(parameters: &mut Parameters<'_>) -> Result<RsaPublicKey, WebauthnError> {
    parameters.is(cose::KTY, cose::RSA, "not RSA")?;
    let (n, e) = (parameters.bytes(cose::N)?, parameters.bytes(cose::E)?);
    // No leading zeros, so that a key has one form; and nothing is computed with numbers of any length.
    if n.len() > RSA_BITS.end() / 8 || e.len() > 5 || n.first() == Some(&0) || e.first() == Some(&0) {
        return Err(WebauthnError::PublicKey("a number that is too long"));
    }
    let (n, e) = (BigUint::from_bytes_be(n), BigUint::from_bytes_be(e));
    if !RSA_BITS.contains(&n.bits()) {
        return Err(WebauthnError::PublicKey("a modulus that is too small"));
    }
    // The library sees to an odd modulus, and to an odd exponent of no more than 33 bits.
    let key = RsaPublicKey::new_with_max_size(n, e, *RSA_BITS.end())
        .map_err(|_| WebauthnError::PublicKey("not an RSA key"))?;
    if key.e() < &BigUint::from(RSA_EXPONENT) {
        return Err(WebauthnError::PublicKey("an exponent that is too small"));
    }
    Ok(key)
}

/// Labels of COSE key parameters, and values of `kty` and `crv` (IANA, "COSE Key Common Parameters", "COSE Key Type
/// Parameters", "COSE Key Types" and "COSE Elliptic Curves").
mod cose {
    pub(super) const KTY: i64 = 1;
    pub(super) const ALG: i64 = 3;

    pub(super) const OKP: i64 = 1;
    pub(super) const EC2: i64 = 2;
    pub(super) const RSA: i64 = 3;

    /// Of OKP and EC2.
    pub(super) const CRV: i64 = -1;
    pub(super) const X: i64 = -2;
    /// Of EC2.
    pub(super) const Y: i64 = -3;
    /// Of RSA.
    pub(super) const N: i64 = -1;
    pub(super) const E: i64 = -2;

    pub(super) const P256: i64 = 1;
    pub(super) const ED25519: i64 = 6;
}
