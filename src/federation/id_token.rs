//! The ID token (OpenID Connect Core 1.0, section 3.1.3.7), checked against the issuer's JWK set.
//!
//! PURE: no I/O, no clock, no randomness.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::jose::jws::{JwsError, UnverifiedJws, Verified, audiences};
use crate::platform::id::Millis;
use crate::platform::secret::equal_in_constant_time;

/// How far the issuer's clock may be from ours, in seconds.
const LEEWAY: i64 = 60;

/// An ID token as the token endpoint sent it.
#[derive(Clone, Copy)]
pub struct UnverifiedIdToken<'a>(pub &'a str);

/// A checked ID token: its issuer says who the visitor is.
#[derive(Debug)]
pub struct IdToken {
    /// `sub`.
    pub subject: String,
    /// Every claim.
    pub claims: Map<String, Value>,
}

/// What the token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// `iss`.
    pub issuer: &'a ExpectedIssuer,
    /// Our `client_id`, and those of our native apps: `aud`.
    pub audiences: &'a [&'a str],
    /// The request's nonce.
    pub nonce: Nonce<'a>,
    /// The access token that came along, for `at_hash`.
    pub access_token: Option<&'a str>,
    /// Now.
    pub now: Millis,
}

/// What `nonce` must be.
#[derive(Clone, Copy, Debug)]
pub enum Nonce<'a> {
    /// The request's.
    Required(&'a str),
    /// The request's, or none: some issuers do not repeat it.
    IfRepeated(&'a str),
    /// None: the token was asked for without one, and is good for one sign-in.
    Without,
    /// Whatever the page chose that got the token from the issuer's own script: it compares, and tells us none. The token is
    /// good for one sign-in.
    Unjudged,
}

impl Nonce<'_> {
    fn accepts(self, said: Option<&str>) -> bool {
        match (self, said) {
            (Self::Required(expected) | Self::IfRepeated(expected), Some(said)) => {
                // Native libraries of Apple's are given a nonce's SHA-256 in hexadecimal, and the token repeats that.
                let hashed = base16ct::lower::encode_string(&Sha256::digest(expected.as_bytes()));
                equal_in_constant_time(said, expected) || equal_in_constant_time(said, &hashed)
            }
            (Self::IfRepeated(_) | Self::Without, None) | (Self::Unjudged, _) => true,
            (Self::Required(_), None) | (Self::Without, Some(_)) => false,
        }
    }
}

/// Whose ID tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedIssuer {
    /// One issuer's, by its identifier.
    Exactly(String),
    /// Those of every tenant of a service: its identifier with `{tenantid}` in the place of the token's `tid`.
    OfTenant(String),
}

impl ExpectedIssuer {
    /// Whether `iss` is theirs.
    #[must_use]
    pub fn accepts(&self, claims: &Map<String, Value>) -> bool {
        let said = text(claims, "iss");
        match self {
            Self::Exactly(issuer) => said == Some(issuer),
            Self::OfTenant(template) => {
                // An id, and nothing that would make a path of it.
                let tenant = text(claims, "tid").filter(|tid| uuid::Uuid::try_parse(tid).is_ok());
                tenant.is_some_and(|tenant| said == Some(&template.replace("{tenantid}", tenant)))
            }
        }
    }
}

/// Why an ID token is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdTokenError {
    /// Its signature is not.
    Jws(JwsError),
    /// A claim is missing or says something else.
    Claim(&'static str, String),
}

impl From<JwsError> for IdTokenError {
    fn from(error: JwsError) -> Self {
        Self::Jws(error)
    }
}

impl fmt::Display for IdTokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jws(error) => error.fmt(f),
            Self::Claim(name, text) => write!(f, "claim {name}: {text}"),
        }
    }
}

impl<'a> UnverifiedIdToken<'a> {
    /// The signed text. What says by its type that it is something else is no ID token (RFC 8725, section 3.11): an issuer
    /// signs access tokens and logout tokens with the same key.
    ///
    /// # Errors
    /// [`JwsError::Malformed`](crate::jose::jws::JwsError::Malformed).
    pub fn jws(self) -> Result<UnverifiedJws<'a>, IdTokenError> {
        let token = UnverifiedJws(self.0);
        match token.kind().filter(|kind| kind.ends_with("+jwt")) {
            Some(kind) => Err(JwsError::Malformed(format!("typ {kind:?}")).into()),
            None => Ok(token),
        }
    }
}

impl IdToken {
    /// Checks the claims of a token whose signature was verified.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn judge(verified: Verified, expected: &Expected<'_>) -> Result<Self, IdTokenError> {
        let Verified { claims, algorithm } = verified;
        check_id_token(&claims, &algorithm, expected)?;
        let subject = text(&claims, "sub").unwrap_or_default().to_owned();
        Ok(Self { subject, claims })
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// A claim that need not be there. Some issuers write `null`, or nothing between the quotes, where it is not.
fn said<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
}

/// The numbered steps are those of section 3.1.3.7.
fn check_id_token(claims: &Map<String, Value>, algorithm: &str, expected: &Expected<'_>) -> Result<(), IdTokenError> {
    let wrong = |name: &'static str| {
        let value = claims.get(name).map_or_else(|| "missing".to_owned(), Value::to_string);
        IdTokenError::Claim(name, value.chars().take(200).collect())
    };
    // 2
    if !expected.issuer.accepts(claims) {
        return Err(wrong("iss"));
    }
    // 3
    let audiences = audiences(claims);
    if !audiences.iter().any(|audience| expected.audiences.contains(audience)) {
        return Err(wrong("aud"));
    }
    // 3 to 5: it is for us alone, for others that are trusted (errata set 2), or says that it was made for us.
    let azp = said(claims, "azp");
    let is_ours = azp.and_then(Value::as_str).is_some_and(|azp| expected.audiences.contains(&azp));
    let all_trusted = audiences.iter().all(|audience| expected.audiences.contains(audience));
    if (azp.is_some() || !all_trusted) && !is_ours {
        return Err(wrong("azp"));
    }
    // 9 and 10
    let now = expected.now / 1000;
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    if time("exp").is_none_or(|exp| exp + LEEWAY <= now) {
        return Err(wrong("exp"));
    }
    if time("iat").is_none_or(|iat| iat - LEEWAY > now) {
        return Err(wrong("iat"));
    }
    if time("nbf").is_some_and(|nbf| nbf - LEEWAY > now) {
        return Err(wrong("nbf"));
    }
    // 11
    let is_text = said(claims, "nonce").is_none_or(Value::is_string);
    if !is_text || !expected.nonce.accepts(said(claims, "nonce").and_then(Value::as_str)) {
        return Err(IdTokenError::Claim("nonce", "another request's".to_owned()));
    }
    // Section 3.1.3.8
    if let (Some(hash), Some(token)) = (said(claims, "at_hash"), expected.access_token) {
        // The left half of the digest that the signature's algorithm uses; Ed25519's is SHA-512 (RFC 8032, section 5.1).
        let half = match algorithm {
            "EdDSA" | "Ed25519" | "RS512" | "PS512" | "ES512" => {
                Base64UrlUnpadded::encode_string(&Sha512::digest(token.as_bytes())[..32])
            }
            "RS384" | "PS384" | "ES384" => Base64UrlUnpadded::encode_string(&Sha384::digest(token.as_bytes())[..24]),
            _ => Base64UrlUnpadded::encode_string(&Sha256::digest(token.as_bytes())[..16]),
        };
        if hash.as_str() != Some(&half) {
            return Err(wrong("at_hash"));
        }
    }
    // OpenID Connect Back-Channel Logout 1.0, section 2.4: what has it is a logout token.
    if claims.contains_key("events") {
        return Err(wrong("events"));
    }
    // Section 2: at most 255 ASCII characters.
    let subject_ok = |sub: &str| !sub.is_empty() && sub.len() <= 255 && sub.is_ascii();
    if !text(claims, "sub").is_some_and(subject_ok) {
        return Err(wrong("sub"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::jws::KeySet;
    use crate::jose::signature::tests::Signer;

    impl UnverifiedIdToken<'_> {
        fn verify(self, keys: &KeySet, expected: &Expected<'_>) -> Result<IdToken, IdTokenError> {
            IdToken::judge(self.jws()?.verify(keys)?, expected)
        }
    }

    const NOW: Millis = 4_102_444_800_000;
    const ACCESS: &str = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";

    fn signer(id: &str, seed: u8) -> Signer {
        Signer::new(id, seed)
    }

    fn keys(signers: &[&Signer]) -> KeySet {
        KeySet(signers.iter().map(|signer| signer.jwk()).collect())
    }

    fn expected() -> Expected<'static> {
        static ISSUER: std::sync::LazyLock<ExpectedIssuer> =
            std::sync::LazyLock::new(|| ExpectedIssuer::Exactly("https://idp.example".to_owned()));
        let nonce = Nonce::Required("n");
        Expected { issuer: &ISSUER, audiences: &["c"], nonce, access_token: Some(ACCESS), now: NOW }
    }

    fn good() -> Value {
        json!({"iss": "https://idp.example", "aud": "c", "sub": "248289761001", "nonce": "n"})
    }

    fn verify(claims: Value) -> Result<IdToken, IdTokenError> {
        let signer = signer("k", 7);
        let token = signer.sign(claims, NOW, 300);
        UnverifiedIdToken(&token).verify(&keys(&[&signer]), &expected())
    }

    #[test]
    fn a_good_token_names_its_subject() {
        assert_eq!(verify(good()).expect("verifies").subject, "248289761001");
        for (name, value) in [
            ("aud", json!(["c"])),
            ("azp", json!("c")),
            ("at_hash", json!("77QmUPtjPfzWtF2AnpK9RQ")),
            ("nbf", json!(NOW / 1000 + 59)),
            ("azp", Value::Null),
            ("azp", json!("")),
            ("at_hash", Value::Null),
            ("at_hash", json!("")),
        ] {
            let mut claims = good();
            claims[name] = value;
            assert!(verify(claims).is_ok(), "{name}");
        }
    }

    #[test]
    fn each_claim_is_checked() {
        for (name, value) in [
            ("iss", json!("https://idp.example/")),
            ("iss", Value::Null),
            ("aud", json!("other")),
            ("aud", json!([])),
            ("aud", json!({"c": 1})),
            ("azp", json!("other")),
            ("azp", json!(["c"])),
            ("nonce", json!("other")),
            ("nonce", Value::Null),
            ("at_hash", json!("77QmUPtjPfzWtF2AnpK9RA")),
            ("nbf", json!(NOW / 1000 + 61)),
            ("sub", json!("")),
            ("sub", json!(7)),
            ("sub", json!("ä")),
            ("sub", json!("x".repeat(256))),
        ] {
            let mut claims = good();
            claims[name] = value.clone();
            let error = verify(claims).expect_err(name);
            assert!(matches!(error, IdTokenError::Claim(claim, _) if claim == name), "{name} {value}: {error}");
        }
    }

    #[test]
    fn further_audiences_are_trusted_by_settings_or_name_us_as_whom_it_was_made_for() {
        let signer = signer("k", 7);
        let with = |audiences: Value, azp: Value, trusted: &[&str]| {
            let mut claims = good();
            (claims["aud"], claims["azp"]) = (audiences, azp);
            let token = signer.sign(claims, NOW, 300);
            let expected = Expected { audiences: trusted, ..expected() };
            UnverifiedIdToken(&token).verify(&keys(&[&signer]), &expected).err().map(|error| error.to_string())
        };
        assert_eq!(with(json!(["c", "d"]), Value::Null, &["c", "d"]), None);
        assert_eq!(with(json!(["c", "d"]), json!("d"), &["c", "d"]), None);
        assert_eq!(with(json!(["c", "d"]), json!("c"), &["c"]), None);
        let wrong = |error: Option<String>| error.is_some_and(|error| error.starts_with("claim azp"));
        assert!(wrong(with(json!(["c", "d"]), Value::Null, &["c"])));
        assert!(wrong(with(json!(["c", "d"]), json!(""), &["c"])));
        assert!(wrong(with(json!(["c", "d", "e"]), Value::Null, &["c", "d"])));
        assert!(wrong(with(json!(["c", "d"]), json!("e"), &["c", "d"])));
    }

    #[test]
    fn a_hash_of_the_access_token_is_of_the_signatures_own_digest() {
        for (algorithm, hash) in [
            ("ES256", Base64UrlUnpadded::encode_string(&Sha256::digest(ACCESS)[..16])),
            ("PS384", Base64UrlUnpadded::encode_string(&Sha384::digest(ACCESS)[..24])),
            ("ES512", Base64UrlUnpadded::encode_string(&Sha512::digest(ACCESS)[..32])),
        ] {
            let claims = |hash: &str| {
                let mut claims = good();
                claims["exp"] = json!(NOW / 1000 + 300);
                claims["iat"] = json!(NOW / 1000);
                claims["at_hash"] = json!(hash);
                Verified { claims: serde_json::from_value(claims).expect("object"), algorithm: algorithm.to_owned() }
            };
            assert!(IdToken::judge(claims(&hash), &expected()).is_ok(), "{algorithm}");
            assert!(IdToken::judge(claims(&hash[..20]), &expected()).is_err(), "{algorithm}");
        }
    }

    #[test]
    fn times_are_checked_with_a_minutes_leeway() {
        let signer = signer("k", 7);
        let token = signer.sign(good(), NOW, 300);
        let at = |now| UnverifiedIdToken(&token).verify(&keys(&[&signer]), &Expected { now, ..expected() });
        assert!(at(NOW + 359_000).is_ok());
        assert!(matches!(at(NOW + 360_000), Err(IdTokenError::Claim("exp", _))));
        assert!(at(NOW - 60_000).is_ok());
        assert!(matches!(at(NOW - 61_000), Err(IdTokenError::Claim("iat", _))));
    }

    #[test]
    fn only_keys_of_the_set_are_believed() {
        let (a, b) = (signer("a", 1), signer("b", 2));
        let token = a.sign(good(), NOW, 300);
        let with = |keys: &KeySet| UnverifiedIdToken(&token).verify(keys, &expected()).err();
        assert_eq!(with(&keys(&[&b, &a])), None);
        assert_eq!(with(&keys(&[&b])), Some(IdTokenError::Jws(JwsError::UnknownKey("a".to_owned()))));
        assert_eq!(with(&keys(&[&signer("a", 3)])), Some(IdTokenError::Jws(JwsError::Signature)));
        let mut private = a.jwk();
        private["d"] = json!("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE");
        assert_eq!(with(&KeySet(vec![private])), Some(IdTokenError::Jws(JwsError::UnknownKey("a".to_owned()))));
        let mut encryption = a.jwk();
        encryption["use"] = json!("enc");
        assert_eq!(with(&KeySet(vec![encryption])), Some(IdTokenError::Jws(JwsError::UnknownKey("a".to_owned()))));
    }

    #[test]
    fn a_key_signs_for_the_issuer_that_it_is_published_for() {
        let signer = signer("k", 7);
        let with = |issuer: &str| {
            let mut key = signer.jwk();
            key["issuer"] = json!(issuer);
            let token = signer.sign(good(), NOW, 300);
            UnverifiedIdToken(&token).verify(&KeySet(vec![key]), &expected()).err()
        };
        assert_eq!(with("https://idp.example"), None);
        assert_eq!(with("https://other.example"), Some(IdTokenError::Jws(JwsError::UnknownKey("k".to_owned()))));
        assert_eq!(with("https://{tenantid}.example"), Some(IdTokenError::Jws(JwsError::UnknownKey("k".to_owned()))));
    }

    #[test]
    fn a_tenants_issuer_is_the_one_its_id_names() {
        let template = ExpectedIssuer::OfTenant("https://login.example/{tenantid}/v2.0".to_owned());
        let accepts = |iss: &str, tid: Value| {
            let claims = json!({"iss": iss, "tid": tid});
            template.accepts(claims.as_object().expect("object"))
        };
        let (one, other) = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222");
        assert!(accepts(&format!("https://login.example/{one}/v2.0"), json!(one)));
        for (iss, tid) in [
            (format!("https://login.example/{one}/v2.0"), json!(other)),
            (format!("https://login.example/{one}/v2.0"), Value::Null),
            ("https://login.example/{tenantid}/v2.0".to_owned(), json!("{tenantid}")),
            ("https://login.example/x/../y/v2.0".to_owned(), json!("x/../y")),
            (format!("https://evil.example/{one}/v2.0"), json!(one)),
        ] {
            assert!(!accepts(&iss, tid.clone()), "{iss} {tid}");
        }
    }

    #[test]
    fn a_nonce_is_repeated_plain_or_hashed_or_where_it_may_be_not_at_all() {
        let hashed = "1b16b1df538ba12dc3f97edbb85caa7050d46c148134290feba80f8236c83db9";
        for (nonce, said, expected) in [
            (Nonce::Required("n"), Some("n"), true),
            (Nonce::Required("n"), Some(hashed), true),
            (Nonce::Required("n"), Some("m"), false),
            (Nonce::Required("n"), None, false),
            (Nonce::IfRepeated("n"), None, true),
            (Nonce::IfRepeated("n"), Some("m"), false),
            (Nonce::Without, None, true),
            (Nonce::Without, Some("n"), false),
        ] {
            assert_eq!(nonce.accepts(said), expected, "{nonce:?} {said:?}");
        }
    }

    #[test]
    fn none_and_macs_are_no_signatures() {
        let signer = signer("k", 7);
        let encode = |value: Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
        let mut claims = good();
        claims["exp"] = json!(NOW / 1000 + 300);
        claims["iat"] = json!(NOW / 1000);
        for algorithm in ["none", "None", "HS256", "ES384", "ES512", "eddsa", ""] {
            let head = encode(json!({"alg": algorithm, "kid": "k"}));
            let token = format!("{head}.{}.AAAA", encode(claims.clone()));
            let error = UnverifiedIdToken(&token).verify(&keys(&[&signer]), &expected()).expect_err(algorithm);
            assert!(matches!(error, IdTokenError::Jws(JwsError::Algorithm(_))), "{algorithm}: {error}");
        }
        for token in ["", "a.b", "a.b.c.d", "e30.e30.", "...."] {
            assert!(UnverifiedIdToken(token).verify(&keys(&[&signer]), &expected()).is_err(), "{token}");
        }
    }
}
