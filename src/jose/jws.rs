//! JSON Web Signatures of others (RFC 7515), verified with their JWK sets (RFC 7517).
//!
//! PURE: no I/O, no clock, no randomness.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use jwt_compact::alg::{Ed25519, Es256, Rsa, StrongAlg, StrongKey};
use jwt_compact::{Algorithm, AlgorithmExt, UntrustedToken};
use p256::ecdsa::VerifyingKey;
use rsa::{BigUint, RsaPublicKey};
use serde_json::{Map, Value};

use crate::platform::id::Millis;

/// Why a signature is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwsError {
    /// Not a JWS in compact form with claims in JSON, or one that asks for more than we understand.
    Malformed(String),
    /// An algorithm that is not on the list: `none`, MACs, and what we have no key type for.
    Algorithm(String),
    /// No key of the set fits: it may have been rotated, and the set is worth fetching again.
    UnknownKey(String),
    /// The signature is not by that key.
    Signature,
}

impl fmt::Display for JwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text) => write!(f, "malformed: {text}"),
            Self::Algorithm(text) => write!(f, "algorithm {text:?}"),
            Self::UnknownKey(text) => write!(f, "no key {text:?}"),
            Self::Signature => f.write_str("signature"),
        }
    }
}

/// A JWS in compact form (section 3.1) with claims in it, that nobody has verified.
#[derive(Clone, Copy, Debug)]
pub struct UnverifiedJws<'a>(pub &'a str);

/// The claims of a verified one.
#[derive(Debug)]
pub struct Verified {
    /// The claims, times in seconds.
    pub claims: Map<String, Value>,
    /// `alg`.
    pub algorithm: String,
}

impl<'a> UnverifiedJws<'a> {
    fn part(self, at: usize) -> Option<Value> {
        let part = Base64UrlUnpadded::decode_vec(self.0.split('.').nth(at)?).ok()?;
        serde_json::from_slice(&part).ok()
    }

    /// The header.
    #[must_use]
    pub fn header(self) -> Value {
        self.part(0).unwrap_or_default()
    }

    /// `typ`, in lower case (RFC 8725, section 3.11).
    #[must_use]
    pub fn kind(self) -> Option<String> {
        self.header().get("typ").and_then(Value::as_str).map(str::to_ascii_lowercase)
    }

    /// What it says, whoever signed it.
    #[must_use]
    pub fn said(self) -> Option<Value> {
        self.part(1)
    }

    /// `exp`, as it says itself.
    #[must_use]
    pub fn ends_at(self) -> Option<Millis> {
        let seconds = self.said()?.get("exp")?.as_f64()?;
        #[expect(clippy::cast_possible_truncation, reason = "bounded before")]
        (0.0..9e12).contains(&seconds).then(|| (seconds.ceil() * 1000.0) as Millis)
    }

    /// What was signed (section 5.1). A signature may be written in more than one way, and this may not.
    #[must_use]
    pub fn signed_part(self) -> &'a str {
        self.0.rsplit_once('.').map_or("", |(signed, _)| signed)
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`JwsError`].
    pub fn verify(self, keys: &KeySet) -> Result<Verified, JwsError> {
        match self.header().get("alg").and_then(Value::as_str) {
            Some(name) if matches!(name, "RS384" | "RS512" | "PS384" | "PS512") => {
                Err(JwsError::Algorithm(name.to_owned()))
            }
            _ => self.verify_of_issuer(keys),
        }
    }

    /// The same by what upstream issuers sign with beside: we take it, and do not advertise it to clients.
    ///
    /// # Errors
    /// [`JwsError`].
    pub fn verify_of_issuer(self, keys: &KeySet) -> Result<Verified, JwsError> {
        // Section 4.1.11: there is no extension that we process.
        if self.header().get("crit").is_some() {
            return Err(JwsError::Malformed("crit".to_owned()));
        }
        let token = UntrustedToken::new(self.0).map_err(|error| JwsError::Malformed(error.to_string()))?;
        let claims = match keys.of_issuer(self) {
            Some(narrowed) => verified_claims(&token, &narrowed)?,
            None => verified_claims(&token, keys)?,
        };
        Ok(Verified { claims, algorithm: token.algorithm().to_owned() })
    }
}

/// A signature on a curve that the runtime verifies: ours would be larger than all the rest of this file.
pub struct ForRuntime<'a> {
    /// What was signed.
    pub message: &'a str,
    /// The signature: two numbers one after the other (RFC 7518, section 3.4), as the runtime takes it too.
    pub signature: Vec<u8>,
    /// `P-384` or `P-521`.
    pub curve: &'static str,
    /// `SHA-384` or `SHA-512`.
    pub hash: &'static str,
    /// The keys that may have made it, each of which has that curve.
    pub keys: Vec<Value>,
    claims: Map<String, Value>,
    algorithm: &'static str,
}

impl ForRuntime<'_> {
    /// What is verified, once a key fitted.
    #[must_use]
    pub fn verified(self) -> Verified {
        Verified { claims: self.claims, algorithm: self.algorithm.to_owned() }
    }
}

impl<'a> UnverifiedJws<'a> {
    /// What the runtime is to verify: a signature by ES384 or ES512; `None` for any other, which [`Self::verify`] judges.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn for_runtime(self, keys: &KeySet) -> Result<Option<ForRuntime<'a>>, JwsError> {
        let header = self.header();
        let (algorithm, curve, hash, length) = match header.get("alg").and_then(Value::as_str) {
            Some("ES384") => ("ES384", "P-384", "SHA-384", 96),
            Some("ES512") => ("ES512", "P-521", "SHA-512", 132),
            _ => return Ok(None),
        };
        if header.get("crit").is_some() {
            return Err(JwsError::Malformed("crit".to_owned()));
        }
        let malformed = || JwsError::Malformed("not three parts of a JWS with claims".to_owned());
        let parts: Vec<&str> = self.0.split('.').collect();
        let [_, _, signature] = parts[..] else { return Err(malformed()) };
        let signature = Base64UrlUnpadded::decode_vec(signature).map_err(|_| malformed())?;
        let Some(Value::Object(mut claims)) = self.said() else { return Err(malformed()) };
        if signature.len() != length {
            return Err(JwsError::Signature);
        }
        for name in ["exp", "nbf", "iat"] {
            // A NumericDate may have a fraction (RFC 7519, section 2).
            if let Some(seconds) = claims.get(name).and_then(Value::as_f64).filter(|seconds| seconds.abs() < 9e15) {
                #[expect(clippy::cast_possible_truncation, reason = "bounded before")]
                claims.insert(name.to_owned(), (seconds as i64).into());
            }
        }
        let kid = header.get("kid").and_then(Value::as_str);
        let narrowed = keys.of_issuer(self);
        let candidates = narrowed.as_ref().unwrap_or(keys).candidates(kid, "EC", algorithm);
        let fits = |key: &&Value| key.get("crv").and_then(Value::as_str) == Some(curve);
        let keys: Vec<Value> = candidates.filter(fits).cloned().collect();
        if keys.is_empty() {
            return Err(JwsError::UnknownKey(kid.unwrap_or_default().to_owned()));
        }
        let message = self.signed_part();
        Ok(Some(ForRuntime { message, signature, curve, hash, keys, claims, algorithm }))
    }
}

/// Members of a private or symmetric JWK (RFC 7518, section 6). A key published with its private half is anybody's, and
/// believed by nobody.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A key with the members that we know and no others: sets are kept, and whatever else is in them is of strangers' making. Of
/// what should be private it is kept that it is there.
fn reduced(key: &Value) -> Option<Value> {
    const KNOWN: [&str; 10] = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "issuer"];
    const LONGEST: usize = 2048;
    let key = key.as_object()?;
    let mut known = Map::new();
    for name in KNOWN {
        match key.get(name) {
            Some(Value::String(text)) if text.len() <= LONGEST => known.insert(name.to_owned(), text.as_str().into()),
            None => None,
            Some(_) => return None,
        };
    }
    for name in PRIVATE.into_iter().filter(|name| key.contains_key(*name)) {
        known.insert(name.to_owned(), true.into());
    }
    if let Some(operations) = key.get("key_ops") {
        let verifies = operations.as_array().is_some_and(|all| all.contains(&"verify".into()));
        known.insert("key_ops".to_owned(), if verifies { vec!["verify"] } else { Vec::new() }.into());
    }
    Some(Value::Object(known))
}

fn is_ed25519(algorithm: &str) -> bool {
    matches!(algorithm, "EdDSA" | "Ed25519")
}

/// A JWK set.
#[derive(Clone, Debug, Default)]
pub struct KeySet(pub(crate) Vec<Value>);

impl KeySet {
    /// The most keys read of a set.
    const MOST_KEYS: usize = 64;

    /// The most keys tried for a signature that names none.
    const MOST_CANDIDATES: usize = 8;

    /// Reads a JWK set (RFC 7517, section 5). Keys of kinds that we do not know are passed over.
    ///
    /// # Errors
    /// If it is not one.
    pub fn read(document: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(document).map_err(|error| format!("JWK set: {error}"))?;
        let keys = value.get("keys").and_then(Value::as_array).ok_or("JWK set without keys")?;
        // Cut, it would lack the key that is needed one day, and nobody would know why.
        if keys.len() > Self::MOST_KEYS {
            return Err(format!("JWK set of more than {} keys", Self::MOST_KEYS));
        }
        Ok(Self(keys.iter().filter_map(reduced).collect()))
    }

    /// A set of one key that came along with what it signed.
    #[must_use]
    pub fn of_one(key: &Value) -> Self {
        Self(reduced(key).into_iter().collect())
    }

    /// As a document.
    #[must_use]
    pub fn document(&self) -> Value {
        serde_json::json!({ "keys": self.0 })
    }

    /// Whether a key is there with what only its owner should have.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        self.0.iter().any(|key| PRIVATE.iter().any(|member| key.get(member).is_some()))
    }

    /// The keys that may sign for the issuer that a token names, where a set says which key is whose: Microsoft publishes the
    /// keys of all its tenants in one. `None` where it does not.
    fn of_issuer(&self, token: UnverifiedJws<'_>) -> Option<Self> {
        let issuer = |key: &Value| key.get("issuer").and_then(Value::as_str).map(str::to_owned);
        if !self.0.iter().any(|key| issuer(key).is_some()) {
            return None;
        }
        let said = token.said().unwrap_or_default();
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        // Both are of strangers' making: a long one in the place of many would fill the memory.
        let tenant = Some(text("tid")).filter(|tenant| tenant.len() <= 128).unwrap_or_default();
        let fits = |key: &&Value| issuer(key).is_none_or(|it| it.replacen("{tenantid}", tenant, 1) == text("iss"));
        Some(Self(self.0.iter().filter(fits).cloned().collect()))
    }

    /// The keys that may have made this signature.
    fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        kty: &'a str,
        algorithm: &'a str,
    ) -> impl Iterator<Item = &'a Value> {
        let text = |key: &'a Value, name: &str| key.get(name).and_then(Value::as_str);
        self.0
            .iter()
            .filter(move |key| {
                text(key, "kty") == Some(kty)
                    && text(key, "use").is_none_or(|usage| usage == "sig")
                    && key
                        .get("key_ops")
                        .is_none_or(|ops| ops.as_array().is_some_and(|ops| ops.contains(&"verify".into())))
                    && !PRIVATE.iter().any(|member| key.get(member).is_some())
                    && text(key, "alg").is_none_or(|alg| alg == algorithm || is_ed25519(alg) && is_ed25519(algorithm))
                    && (kid.is_none() || text(key, "kid") == kid)
            })
            // Each costs a verification, and whoever asks need not have signed anything.
            .take(Self::MOST_CANDIDATES)
    }
}

/// The claims, with `exp`, `nbf` and `iat` put back among them in seconds.
fn verified_claims(token: &UntrustedToken<'_>, keys: &KeySet) -> Result<Map<String, Value>, JwsError> {
    let name = token.algorithm();
    let kid = token.header().key_id.as_deref();
    let unknown = || JwsError::UnknownKey(kid.unwrap_or_default().to_owned());
    let mut claims = match name {
        "ES256" => first_valid(&Es256, token, keys.candidates(kid, "EC", name).filter_map(p256_key), unknown)?,
        "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" => {
            let algorithm = StrongAlg(match name {
                "RS256" => Rsa::rs256(),
                "RS384" => Rsa::rs384(),
                "RS512" => Rsa::rs512(),
                "PS256" => Rsa::ps256(),
                "PS384" => Rsa::ps384(),
                _ => Rsa::ps512(),
            });
            first_valid(&algorithm, token, keys.candidates(kid, "RSA", name).filter_map(rsa_key), unknown)?
        }
        // One algorithm by two names: the older one leaves the curve to the key.
        "EdDSA" => first_valid(&Ed25519, token, keys.candidates(kid, "OKP", name).filter_map(ed25519_key), unknown)?,
        "Ed25519" => {
            let algorithm = Ed25519::with_specific_name();
            first_valid(&algorithm, token, keys.candidates(kid, "OKP", name).filter_map(ed25519_key), unknown)?
        }
        other => return Err(JwsError::Algorithm(other.chars().take(20).collect())),
    };
    for (name, time) in [("exp", claims.expiration), ("nbf", claims.not_before), ("iat", claims.issued_at)] {
        if let Some(time) = time {
            claims.custom.insert(name.to_owned(), time.timestamp().into());
        }
    }
    Ok(claims.custom)
}

/// A member of a JWK that is bytes in base64url.
fn bytes(jwk: &Value, name: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(jwk.get(name)?.as_str()?).ok()
}

/// A P-256 key (RFC 7518, section 6.2.1).
fn p256_key(jwk: &Value) -> Option<VerifyingKey> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    let is_p256 = jwk.get("crv").and_then(Value::as_str) == Some("P-256") && x.len() == 32 && y.len() == 32;
    if !is_p256 {
        return None;
    }
    // An uncompressed point (SEC 1, section 2.3.3).
    VerifyingKey::from_sec1_bytes(&[&[4], &x[..], &y[..]].concat()).ok()
}

/// An Ed25519 key (RFC 8037, section 2).
fn ed25519_key(jwk: &Value) -> Option<ed25519_compact::PublicKey> {
    let is_ed25519 = jwk.get("crv").and_then(Value::as_str) == Some("Ed25519");
    is_ed25519.then(|| ed25519_compact::PublicKey::from_slice(&bytes(jwk, "x")?).ok()).flatten()
}

/// An RSA key (section 6.3.1) with a modulus of at least 2048 bits, which is what `StrongKey` says.
fn rsa_key(jwk: &Value) -> Option<StrongKey<RsaPublicKey>> {
    let number = |name| Some(BigUint::from_bytes_be(&bytes(jwk, name)?));
    StrongKey::try_from(RsaPublicKey::new(number("n")?, number("e")?).ok()?).ok()
}

fn first_valid<A: Algorithm>(
    algorithm: &A,
    token: &UntrustedToken<'_>,
    keys: impl Iterator<Item = A::VerifyingKey>,
    unknown: impl Fn() -> JwsError,
) -> Result<jwt_compact::Claims<Map<String, Value>>, JwsError> {
    let mut found = false;
    for key in keys {
        found = true;
        match algorithm.validator::<Map<String, Value>>(&key).validate(token) {
            Ok(token) => return Ok(token.into_parts().1),
            Err(jwt_compact::ValidationError::MalformedClaims(error)) => {
                return Err(JwsError::Malformed(error.to_string()));
            }
            Err(_) => (),
        }
    }
    Err(if found { JwsError::Signature } else { unknown() })
}

/// `aud` (RFC 7519, section 4.1.3). What is no text is an audience that we do not know.
#[must_use]
pub fn audiences(claims: &Map<String, Value>) -> Vec<&str> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().map(|one| one.as_str().unwrap_or_default()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_strangers_put_into_a_set_is_not_kept() {
        let long = "x".repeat(3000);
        let set = json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "x": "x", "y": "y", "kid": "good", "x5c": [long], "other": { "a": [1, 2, 3] } },
            { "kty": "RSA", "n": long, "e": "AQAB" },
            { "kty": "OKP", "crv": "Ed25519", "x": "x", "d": "secret" },
            { "kty": 7 }, 7, "x",
        ] });
        let set = KeySet::read(set.to_string().as_bytes()).expect("a set");
        let kept = json!([
            { "kty": "EC", "crv": "P-256", "x": "x", "y": "y", "kid": "good" },
            { "kty": "OKP", "crv": "Ed25519", "x": "x", "d": true },
        ]);
        assert_eq!(set.document()["keys"], kept);
        assert!(set.has_secrets(), "it is known that it was there, and not what it was");
    }

    #[test]
    fn a_tenants_name_stands_in_one_place() {
        let part = |value: Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
        let many = "{tenantid}".repeat(150);
        let said = json!({ "iss": "i", "tid": "t".repeat(20_000) });
        let token = format!("{}.{}.AA", part(json!({ "alg": "ES256" })), part(said));
        let keys = KeySet(vec![json!({ "kty": "EC", "issuer": many })]);
        assert_eq!(keys.of_issuer(UnverifiedJws(&token)).map(|set| set.0.len()), Some(0));
        let said = json!({ "iss": "https://i/t1/v2", "tid": "t1" });
        let token = format!("{}.{}.AA", part(json!({ "alg": "ES256" })), part(said));
        let keys = KeySet(vec![json!({ "issuer": "https://i/{tenantid}/v2" }), json!({ "issuer": "https://i/t2/v2" })]);
        assert_eq!(keys.of_issuer(UnverifiedJws(&token)).map(|set| set.0.len()), Some(1));
    }
}
