//! Our own JSON Web Tokens (RFC 7519), but for the signature, which the runtime makes: WebCrypto signs ES256 in a
//! tenth of the time that wasm takes.

use base64ct::{Base64UrlUnpadded, Encoding};
use js_sys::{Array, JSON, Object, Reflect, Uint8Array};
use serde_json::{Map, Value, json};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;

use crate::jose::jws::ForRuntime;
use crate::platform::algorithm::SigningAlgorithm;
use crate::platform::error::Result;
use crate::platform::id::{Id, Millis, SigningKey};
use crate::platform::webcrypto;

/// Whether a signature of a JWS is by one of its keys. A key that the runtime does not take signed nothing.
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) if the runtime has no cryptography.
pub async fn is_signed(what: &ForRuntime<'_>) -> Result<bool> {
    let subtle = webcrypto::subtle()?;
    let parameters = Object::new();
    for (name, value) in [("name", "ECDSA"), ("namedCurve", what.curve), ("hash", what.hash)] {
        Reflect::set(&parameters, &name.into(), &value.into()).map_err(webcrypto::crypto_error)?;
    }
    let usages = Array::of1(&"verify".into());
    let (message, signature) = (Uint8Array::from(what.message.as_bytes()), Uint8Array::from(what.signature.as_slice()));
    for key in &what.keys {
        let jwk = json!({ "kty": "EC", "crv": what.curve, "x": key["x"], "y": key["y"] });
        let jwk: Object = JSON::parse(&jwk.to_string()).map_err(webcrypto::crypto_error)?.unchecked_into();
        let Ok(imported) = subtle.import_key_with_object("jwk", &jwk, &parameters, false, &usages) else { continue };
        let Ok(key) = JsFuture::from(imported).await else { continue };
        let verified = subtle
            .verify_with_object_and_js_u8_array_and_js_u8_array(
                &parameters,
                &key.unchecked_into(),
                &signature,
                &message,
            )
            .map_err(webcrypto::crypto_error)?;
        if JsFuture::from(verified).await.map_err(webcrypto::crypto_error)?.as_bool() == Some(true) {
            return Ok(true);
        }
    }
    Ok(false)
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
    use p256::ecdsa::SigningKey as Scalar;
    use p256::ecdsa::signature::Signer as _;

    use super::*;

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
