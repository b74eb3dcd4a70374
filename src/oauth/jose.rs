//! Our own JSON Web Tokens (RFC 7519), but for the signature, which the runtime makes: WebCrypto signs ES256 in a
//! tenth of the time that wasm takes.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256, Sha512};

use crate::id::{Id, Millis, SigningKey};

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

/// A token that lacks its signature.
#[derive(Debug)]
pub struct Unsigned(String);

impl Unsigned {
    /// The token of these claims, with `iat` and, `seconds` later, `exp` among them. `typ` is the header's type
    /// (RFC 8725, section 3.11).
    #[must_use]
    pub fn new(
        (kid, algorithm): (&str, SigningAlgorithm),
        typ: &str,
        mut claims: Map<String, Value>,
        now: Millis,
        seconds: i64,
    ) -> Self {
        let now = now / 1000;
        claims.insert("iat".to_owned(), now.into());
        claims.insert("exp".to_owned(), (now + seconds).into());
        Self::of((kid, algorithm), typ, claims)
    }

    /// The token of these claims and no others.
    #[must_use]
    pub fn of((kid, algorithm): (&str, SigningAlgorithm), typ: &str, claims: Map<String, Value>) -> Self {
        let header = json!({ "alg": algorithm.as_str(), "kid": kid, "typ": typ });
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
/// JWK is no key of the algorithm.
#[must_use]
pub fn public_jwk(id: &Id<SigningKey>, algorithm: SigningAlgorithm, jwk: &Value) -> Option<Value> {
    let (kind, members): (_, &[&str]) = match algorithm {
        SigningAlgorithm::Es256 => (("EC", Some("P-256")), &["crv", "x", "y"]),
        SigningAlgorithm::EdDsa => (("OKP", Some("Ed25519")), &["crv", "x"]),
        SigningAlgorithm::Rs256 => (("RSA", None), &["n", "e"]),
    };
    let member = |name: &str| jwk.get(name).and_then(Value::as_str);
    if (member("kty")?, member("crv")) != kind {
        return None;
    }
    let mut public = json!({ "kty": kind.0, "use": "sig", "alg": algorithm.as_str(), "kid": id });
    for name in members {
        public[*name] = member(name)?.into();
    }
    Some(public)
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
            public_jwk(&self.id, SigningAlgorithm::Es256, &private).expect("P-256")
        }

        pub(crate) fn sign(&self, claims: Value, now: Millis, seconds: i64) -> String {
            let claims = serde_json::from_value(claims).expect("an object");
            let key = (self.id.as_str(), SigningAlgorithm::Es256);
            let unsigned = Unsigned::new(key, "JWT", claims, now, seconds);
            let signature: p256::ecdsa::Signature = self.key.sign(unsigned.signing_input());
            unsigned.signed(&signature.to_bytes())
        }
    }

    #[test]
    fn the_private_half_of_a_key_is_not_published() {
        let jwk = Signer::new("k", 7).jwk();
        assert_eq!((&jwk["kid"], &jwk["alg"], jwk.get("d")), (&json!("k"), &json!("ES256"), None));
        let id = Id::trusted("k".to_owned());
        assert_eq!(public_jwk(&id, SigningAlgorithm::Es256, &json!({ "kty": "RSA", "n": "n", "e": "AQAB" })), None);
        let rsa = json!({ "kty": "RSA", "n": "n", "e": "AQAB", "d": "d", "p": "p", "q": "q" });
        let public = public_jwk(&id, SigningAlgorithm::Rs256, &rsa).expect("RSA");
        assert_eq!(public, json!({ "kty": "RSA", "n": "n", "e": "AQAB", "use": "sig", "alg": "RS256", "kid": "k" }));
        let okp = json!({ "kty": "OKP", "crv": "Ed25519", "x": "x", "d": "d" });
        assert_eq!(public_jwk(&id, SigningAlgorithm::EdDsa, &okp).expect("OKP").get("d"), None);
    }

    #[test]
    fn half_digests_are_those_of_the_standard() {
        // OpenID Connect Core 1.0, appendix A.3 and A.4.
        let half = |text| SigningAlgorithm::Rs256.half_digest(text);
        assert_eq!(half("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(half("Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk"), "LDktKdoQak3Pk0cnXxCltA");
        assert_eq!(SigningAlgorithm::EdDsa.half_digest("x").len(), 43);
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
