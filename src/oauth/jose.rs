//! Our own JSON Web Tokens (RFC 7519), but for the signature, which the runtime makes: WebCrypto signs ES256 in a
//! tenth of the time that wasm takes.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value, json};

use crate::id::{Id, Millis, SigningKey};

/// The algorithm that we sign with.
pub const ALGORITHM: &str = "ES256";

/// A token that lacks its signature.
#[derive(Debug)]
pub struct Unsigned(String);

impl Unsigned {
    /// The token of these claims, with `iat` and, `seconds` later, `exp` among them. `typ` is the header's type
    /// (RFC 8725, section 3.11).
    #[must_use]
    pub fn new(kid: &str, typ: &str, mut claims: Map<String, Value>, now: Millis, seconds: i64) -> Self {
        let now = now / 1000;
        claims.insert("iat".to_owned(), now.into());
        claims.insert("exp".to_owned(), (now + seconds).into());
        let header = json!({ "alg": ALGORITHM, "kid": kid, "typ": typ });
        let part = |value: String| Base64UrlUnpadded::encode_string(value.as_bytes());
        Self(format!("{}.{}", part(header.to_string()), part(Value::Object(claims).to_string())))
    }

    /// What is to be signed (RFC 7515, section 5.1).
    #[must_use]
    pub fn signing_input(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The whole token.
    #[must_use]
    pub fn signed(self, signature: &[u8]) -> String {
        format!("{}.{}", self.0, Base64UrlUnpadded::encode_string(signature))
    }
}

/// What is published of a key: the public members of its JWK (RFC 7517), with `kid`, `alg` and `use`. `None` if the
/// JWK is no P-256 key.
#[must_use]
pub fn public_jwk(id: &Id<SigningKey>, jwk: &Value) -> Option<Value> {
    let member = |name: &str| jwk.get(name).and_then(Value::as_str);
    if member("kty") != Some("EC") || member("crv") != Some("P-256") {
        return None;
    }
    Some(json!({
        "kty": "EC", "crv": "P-256", "x": member("x")?, "y": member("y")?, "use": "sig", "alg": ALGORITHM, "kid": id,
    }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use p256::ecdsa::SigningKey as Scalar;
    use p256::ecdsa::signature::Signer as _;

    /// A key that signs natively, for tests of what verifies.
    pub(crate) struct Signer {
        id: Id<SigningKey>,
        key: Scalar,
    }

    impl Signer {
        pub(crate) fn new(id: &str, seed: u8) -> Self {
            let key = Scalar::from_slice(&[seed; 32]).expect("a scalar");
            Self { id: Id::trusted(id.to_owned()), key }
        }

        pub(crate) fn jwk(&self) -> Value {
            let point = self.key.verifying_key().to_encoded_point(false);
            let text = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
            // An uncompressed point is 0x04, x, y (SEC 1, section 2.3.3).
            let (x, y) = point.as_bytes()[1..].split_at(32);
            let private =
                json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y), "d": text(&self.key.to_bytes()) });
            public_jwk(&self.id, &private).expect("P-256")
        }

        pub(crate) fn sign(&self, claims: Value, now: Millis, seconds: i64) -> String {
            let claims = serde_json::from_value(claims).expect("an object");
            let unsigned = Unsigned::new(self.id.as_str(), "JWT", claims, now, seconds);
            let signature: p256::ecdsa::Signature = self.key.sign(unsigned.signing_input());
            unsigned.signed(&signature.to_bytes())
        }
    }

    #[test]
    fn the_private_half_of_a_key_is_not_published() {
        let jwk = Signer::new("k", 7).jwk();
        assert_eq!((&jwk["kid"], &jwk["alg"], jwk.get("d")), (&json!("k"), &json!("ES256"), None));
        assert_eq!(public_jwk(&Id::trusted("k".to_owned()), &json!({ "kty": "RSA" })), None);
    }

    #[test]
    fn a_token_has_three_parts_and_its_times() {
        let token = Signer::new("k", 7).sign(json!({ "sub": "u" }), 4_102_444_800_999, 60);
        let parts: Vec<&str> = token.split('.').collect();
        let claims = Base64UrlUnpadded::decode_vec(parts[1]).expect("base64url");
        let claims: Value = serde_json::from_slice(&claims).expect("JSON");
        assert_eq!(claims, json!({ "sub": "u", "iat": 4_102_444_800_i64, "exp": 4_102_444_860_i64 }));
        assert_eq!(Base64UrlUnpadded::decode_vec(parts[2]).expect("base64url").len(), 64);
    }
}
