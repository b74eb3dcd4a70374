//! Our own JSON Web Tokens (RFC 7519): ES256 keys, tokens signed with them, and the JWK set that verifies those.

use base64ct::{Base64UrlUnpadded, Encoding};
use chrono::{DateTime, Duration};
use jwt_compact::alg::Es256;
use jwt_compact::{AlgorithmExt, Claims, Header, TimeOptions};
use p256::ecdsa::SigningKey;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::id::{self, Id, Millis};
use crate::secret::Secret;

/// A key that signs, and its name in the JWK set.
pub struct Signer {
    id: Id<id::SigningKey>,
    key: SigningKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.id)
    }
}

impl Signer {
    /// The only algorithm that it signs with.
    pub const ALGORITHM: &'static str = "ES256";

    /// A key from 32 random bytes; `None` for the one choice in 2^32 or so that is no scalar of the curve.
    #[must_use]
    pub fn generate(id: Id<id::SigningKey>, random: &[u8; 32]) -> Option<Self> {
        let key = SigningKey::from_slice(random).ok()?;
        Some(Self { id, key })
    }

    /// A key from its stored scalar.
    ///
    /// # Errors
    /// [`Error::Internal`] naming the row that cannot be.
    pub fn from_stored(id: Id<id::SigningKey>, scalar: &Secret<Vec<u8>>) -> Result<Self> {
        let key = SigningKey::from_slice(scalar.expose())
            .map_err(|_| Error::Internal(format!("signing_key.private_key_sealed of {id} is no P-256 scalar")))?;
        Ok(Self { id, key })
    }

    /// The scalar, to be sealed.
    #[must_use]
    pub fn scalar(&self) -> Secret<Vec<u8>> {
        Secret::new(self.key.to_bytes().to_vec())
    }

    /// The public half as a JWK (RFC 7517), with `kid`, `alg` and `use`.
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        let point = self.key.verifying_key().to_encoded_point(false);
        let coordinate = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
        let bytes = point.as_bytes();
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": Self::ALGORITHM, "kid": self.id,
            // An uncompressed point is 0x04, x, y (SEC 1, section 2.3.3).
            "x": coordinate(&bytes[1..33]), "y": coordinate(&bytes[33..]),
        })
    }

    /// Signs claims, adding `iat` and, `seconds` later, `exp`. `typ` is the header's type (RFC 8725, section 3.11).
    ///
    /// # Errors
    /// [`Error::Internal`] if the claims are no JSON object.
    pub fn sign(&self, typ: &str, claims: Value, now: Millis, seconds: i64) -> Result<String> {
        let time = DateTime::from_timestamp_millis(now).unwrap_or_default();
        let options = TimeOptions::new(Duration::zero(), || time);
        let claims = Claims::new(claims).set_duration_and_issuance(&options, Duration::seconds(seconds));
        let header = Header::empty().with_key_id(self.id.as_str()).with_token_type(typ);
        Es256.token(&header, &claims, &self.key).map_err(|error| Error::Internal(format!("JWT: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jwt_compact::UntrustedToken;
    use jwt_compact::jwk::JsonWebKey;
    use p256::ecdsa::VerifyingKey;

    #[test]
    fn a_token_verifies_with_the_published_key() {
        let signer = Signer::generate(Id::trusted("k1".to_owned()), &[7; 32]).expect("a scalar");
        let token = signer.sign("JWT", json!({"sub": "u", "aud": "a"}), 4_102_444_800_000, 60).expect("signed");
        let jwk: JsonWebKey<'_> = serde_json::from_value(signer.public_jwk()).expect("a JWK");
        let key = VerifyingKey::try_from(&jwk).expect("a key");
        let token = UntrustedToken::new(&token).expect("a token");
        assert_eq!(token.header().key_id.as_deref(), Some("k1"));
        let token = Es256.validator::<Value>(&key).validate(&token).expect("verifies");
        assert_eq!(token.claims().custom["sub"], "u");
        assert_eq!(token.claims().expiration.expect("exp").timestamp(), 4_102_444_860);
        assert_eq!(token.claims().issued_at.expect("iat").timestamp(), 4_102_444_800);
    }

    #[test]
    fn a_key_survives_storage_and_its_private_half_is_not_published() {
        let signer = Signer::generate(Id::trusted("k".to_owned()), &[9; 32]).expect("a scalar");
        let again = Signer::from_stored(Id::trusted("k".to_owned()), &signer.scalar()).expect("stored");
        assert_eq!(again.public_jwk(), signer.public_jwk());
        assert!(signer.public_jwk().get("d").is_none());
        assert!(Signer::generate(Id::trusted("k".to_owned()), &[0; 32]).is_none());
        assert!(Signer::from_stored(Id::trusted("k".to_owned()), &Secret::new(vec![1])).is_err());
    }
}
