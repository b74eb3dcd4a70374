//! Demonstrating Proof of Possession (RFC 9449): whoever presents a token holds the key that it was made for.
//!
//! PURE: no I/O, no clock, no randomness.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::jose::jwk::thumbprint;
use crate::jose::jws::{KeySet, UnverifiedJws};
use crate::platform::algorithm::ALGORITHMS;
use crate::platform::id::Millis;
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::{equal_in_constant_time, sha256_base64url};

/// The longest proof read, in bytes.
const LONGEST: usize = 8192;

/// How far a proof's clock may be from ours, in milliseconds. Its nonce says when it was made; this keeps out what is absurd.
const LEEWAY: Millis = 300_000;

/// The key that a token is bound to (RFC 7800, section 3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The thumbprint of a key (RFC 9449, section 6.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jkt: Option<String>,
    /// The digest of a certificate (RFC 8705, section 3.1).
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

impl Confirmation {
    /// Whether it is to no key at all.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.jkt.is_none() && self.certificate.is_none()
    }

    /// `token_type` (RFC 9449, section 5; RFC 6750).
    #[must_use]
    pub const fn token_type(&self) -> &'static str {
        if self.jkt.is_some() { "DPoP" } else { "Bearer" }
    }
}

/// A proof that was verified. It is good once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpopProof {
    /// The thumbprint of the key.
    pub jkt: String,
    /// What makes it one of its kind.
    pub jti: String,
    /// What it was signed with, one of [`algorithm::ALGORITHMS`](crate::platform::algorithm::ALGORITHMS).
    pub algorithm: String,
}

/// What a proof must say.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedProof<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The request's URL, without query.
    pub url: &'a str,
    /// The nonces of ours that are good now.
    pub nonces: &'a [String],
    /// The access token that it comes with, at a resource.
    pub access_token: Option<&'a str>,
    /// Now.
    pub now: Millis,
}

fn bad(reason: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidDpopProof, "the DPoP proof is not good").because(reason)
}

/// Checks a proof (section 4.3).
///
/// # Errors
/// `invalid_dpop_proof`, `use_dpop_nonce`.
pub fn verify(proof: &str, expected: &ExpectedProof<'_>) -> Result<DpopProof, Problem> {
    if proof.len() > LONGEST {
        return Err(bad("too long"));
    }
    let jws = UnverifiedJws(proof);
    // Another kind of token must not pass for a proof.
    if jws.kind().as_deref() != Some("dpop+jwt") {
        return Err(bad("typ is another"));
    }
    let header = jws.header();
    let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    if !ALGORITHMS.contains(&algorithm) {
        return Err(bad(format!("alg {algorithm:?}")));
    }
    // A key with its private half is believed by nobody: the key set passes over it.
    let jwk = header.get("jwk").filter(|jwk| jwk.is_object()).ok_or_else(|| bad("no jwk"))?;
    let jkt = thumbprint(jwk).ok_or_else(|| bad("a jwk of a kind that we do not know"))?;
    // There is but one key, whatever the header calls it.
    let mut key = jwk.clone();
    match header.get("kid") {
        Some(kid) => key["kid"] = kid.clone(),
        None => key.as_object_mut().and_then(|key| key.remove("kid")).map_or((), drop),
    }
    let claims = jws.verify(&KeySet::of_one(&key)).map_err(|error| bad(error.to_string()))?.claims;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let jti = text("jti").filter(|jti| !jti.is_empty() && jti.len() <= 512).ok_or_else(|| bad("no jti"))?.to_owned();
    if text("htm") != Some(expected.method) {
        return Err(bad("htm is another"));
    }
    // Compared as URLs are, without query and fragment (section 4.3, item 9).
    let plain = |text: &str| {
        let mut url = Url::parse(text).ok()?;
        url.set_query(None);
        url.set_fragment(None);
        Some(url)
    };
    let htu = text("htu").and_then(plain);
    if htu.is_none() || htu != plain(expected.url) {
        return Err(bad("htu is another"));
    }
    let issued = claims.get("iat").and_then(Value::as_i64).ok_or_else(|| bad("no iat"))?;
    if issued.saturating_mul(1000).abs_diff(expected.now) > LEEWAY.unsigned_abs() {
        return Err(bad("iat is too far from now"));
    }
    if let Some(token) = expected.access_token
        && !text("ath").is_some_and(|ath| equal_in_constant_time(ath, &sha256_base64url(token)))
    {
        return Err(bad("ath is another"));
    }
    // Last: a sender who is told a nonce has shown that they can make a proof.
    let nonce = text("nonce");
    if !nonce.is_some_and(|nonce| expected.nonces.iter().any(|good| equal_in_constant_time(good, nonce))) {
        let problem = Problem::new(Code::UseDpopNonce, "the DPoP proof needs a nonce of ours");
        return Err(problem.because(if nonce.is_some() { "an old nonce" } else { "no nonce" }));
    }
    Ok(DpopProof { jkt, jti, algorithm: algorithm.to_owned() })
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64UrlUnpadded, Encoding};
    use p256::ecdsa::signature::Signer as _;
    use p256::ecdsa::{Signature, SigningKey};
    use serde_json::json;

    use super::*;

    const NOW: Millis = 1_700_000_000_000;

    fn key() -> SigningKey {
        SigningKey::from_slice(&[9; 32]).expect("a scalar")
    }

    fn jwk() -> Value {
        let point = key().verifying_key().to_encoded_point(false);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        let text = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
        json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) })
    }

    fn made(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
        let input = format!("{}.{}", part(header), part(claims));
        let signature: Signature = key().sign(input.as_bytes());
        format!("{input}.{}", Base64UrlUnpadded::encode_string(&signature.to_bytes()))
    }

    fn good() -> (Value, Value) {
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk() });
        let claims = json!({
            "jti": "j", "htm": "POST", "htu": "https://us/oauth2/token", "iat": NOW / 1000, "nonce": "n2",
            "ath": sha256_base64url("token"),
        });
        (header, claims)
    }

    fn judge(header: &Value, claims: &Value, access_token: Option<&str>) -> Result<DpopProof, Code> {
        let nonces = ["n1".to_owned(), "n2".to_owned()];
        let url = "https://us/oauth2/token";
        let expected = ExpectedProof { method: "POST", url, nonces: &nonces, access_token, now: NOW };
        verify(&made(header, claims), &expected).map_err(|problem| problem.code)
    }

    #[test]
    fn a_good_proof_names_its_key() {
        let (header, mut claims) = good();
        let proof = judge(&header, &claims, Some("token")).expect("good");
        assert_eq!((Some(proof.jkt), proof.jti.as_str()), (thumbprint(&jwk()), "j"));
        claims["htu"] = json!("HTTPS://US:443/oauth2/token?a=b#c");
        assert!(judge(&header, &claims, None).is_ok(), "the same URL");
    }

    #[test]
    fn the_table_of_proofs() {
        let bad = Code::InvalidDpopProof;
        for (member, value, code) in [
            ("jti", json!(""), bad),
            ("jti", json!(7), bad),
            ("htm", json!("GET"), bad),
            ("htm", json!("post"), bad),
            ("htu", json!("https://us/oauth2/userinfo"), bad),
            ("htu", json!("http://us/oauth2/token"), bad),
            ("htu", json!("https://them/oauth2/token"), bad),
            ("htu", json!("/oauth2/token"), bad),
            ("iat", json!(NOW / 1000 - 301), bad),
            ("iat", json!(NOW / 1000 + 301), bad),
            ("iat", json!(i64::MAX), bad),
            ("iat", Value::Null, bad),
            ("ath", json!("other"), bad),
            ("ath", Value::Null, bad),
            ("nonce", json!("n3"), Code::UseDpopNonce),
            ("nonce", Value::Null, Code::UseDpopNonce),
        ] {
            let (header, mut claims) = good();
            claims[member] = value.clone();
            assert_eq!(judge(&header, &claims, Some("token")), Err(code), "{member} {value}");
        }
        let mut private = jwk();
        private["d"] = json!("AA");
        for (member, value) in [
            ("typ", json!("JWT")),
            ("typ", Value::Null),
            ("alg", json!("none")),
            ("alg", json!("HS256")),
            ("alg", json!("RS256")),
            ("jwk", Value::Null),
            ("jwk", json!("x")),
            ("jwk", private),
            ("jwk", json!({ "kty": "oct", "k": "AA" })),
            ("crit", json!(["b64"])),
        ] {
            let (mut header, claims) = good();
            header[member] = value.clone();
            assert_eq!(judge(&header, &claims, None), Err(bad), "{member} {value}");
        }
    }
}
