//! The ID token (OpenID Connect Core 1.0, section 3.1.3.7), checked against the issuer's JWK set.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use jwt_compact::alg::{Ed25519, Es256, Rsa, StrongAlg, StrongKey};
use jwt_compact::{Algorithm, AlgorithmExt, UntrustedToken};
use p256::ecdsa::VerifyingKey;
use rsa::{BigUint, RsaPublicKey};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256, Sha512};

use crate::id::Millis;
use crate::secret::equal_in_constant_time;

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
}

impl Nonce<'_> {
    fn accepts(self, said: Option<&str>) -> bool {
        match (self, said) {
            (Self::Required(expected) | Self::IfRepeated(expected), Some(said)) => {
                // Native libraries of Apple's are given a nonce's SHA-256 in hexadecimal, and the token repeats that.
                let hashed = base16ct::lower::encode_string(&Sha256::digest(expected.as_bytes()));
                equal_in_constant_time(said, expected) || equal_in_constant_time(said, &hashed)
            }
            (Self::IfRepeated(_) | Self::Without, None) => true,
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
    fn accepts(&self, claims: &Map<String, Value>) -> bool {
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
    /// Not a JWS in compact form with claims in JSON.
    Malformed(String),
    /// An algorithm that is not on the list: `none`, MACs, and what we have no key type for.
    Algorithm(String),
    /// No key of the set fits: it may have been rotated, and the set is worth fetching again.
    UnknownKey(String),
    /// The signature is not by that key.
    Signature,
    /// A claim is missing or says something else.
    Claim(&'static str, String),
}

impl fmt::Display for IdTokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text) => write!(f, "malformed: {text}"),
            Self::Algorithm(text) => write!(f, "algorithm {text:?}"),
            Self::UnknownKey(text) => write!(f, "no key {text:?}"),
            Self::Signature => f.write_str("signature"),
            Self::Claim(name, text) => write!(f, "claim {name}: {text}"),
        }
    }
}

/// Members of a private or symmetric JWK (RFC 7518, section 6). A key published with its private half is anybody's, and
/// believed by nobody.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// An issuer's JWK set.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Value>);

impl KeySet {
    /// The most keys read of a set.
    const MOST_KEYS: usize = 32;

    /// Reads a JWK set (RFC 7517, section 5). Keys of kinds that we do not know are passed over.
    ///
    /// # Errors
    /// If it is not one.
    pub fn read(document: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(document).map_err(|error| format!("JWK set: {error}"))?;
        let keys = value.get("keys").and_then(Value::as_array).ok_or("JWK set without keys")?;
        Ok(Self(keys.iter().take(Self::MOST_KEYS).cloned().collect()))
    }

    /// The keys that may sign for the issuer that a token names, where a set says which key is whose: Microsoft publishes the
    /// keys of all its tenants in one. `None` where it does not.
    fn of_issuer(&self, token: UnverifiedIdToken<'_>) -> Option<Self> {
        let issuer = |key: &Value| key.get("issuer").and_then(Value::as_str).map(str::to_owned);
        if !self.0.iter().any(|key| issuer(key).is_some()) {
            return None;
        }
        let said = token.said().unwrap_or_default();
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        let fits = |key: &&Value| issuer(key).is_none_or(|it| it.replace("{tenantid}", text("tid")) == text("iss"));
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
        self.0.iter().filter(move |key| {
            text(key, "kty") == Some(kty)
                && text(key, "use").is_none_or(|usage| usage == "sig")
                && key.get("key_ops").is_none_or(|ops| ops.as_array().is_some_and(|ops| ops.contains(&"verify".into())))
                && !PRIVATE.iter().any(|member| key.get(member).is_some())
                && text(key, "alg").is_none_or(|alg| alg == algorithm)
                && (kid.is_none() || text(key, "kid") == kid)
        })
    }
}

impl<'a> UnverifiedIdToken<'a> {
    fn part(self, at: usize) -> Option<Value> {
        let part = Base64UrlUnpadded::decode_vec(self.0.split('.').nth(at)?).ok()?;
        serde_json::from_slice(&part).ok()
    }

    /// What the token says, whoever signed it.
    fn said(self) -> Option<Value> {
        self.part(1)
    }

    /// `exp`, as the token says it.
    #[must_use]
    pub fn ends_at(self) -> Option<Millis> {
        let seconds = self.said()?.get("exp")?.as_f64()?;
        #[expect(clippy::cast_possible_truncation, reason = "bounded before")]
        (0.0..9e12).contains(&seconds).then(|| (seconds.ceil() * 1000.0) as Millis)
    }

    /// What was signed (RFC 7515, section 5.1). A signature may be written in more than one way, and this may not.
    #[must_use]
    pub fn signed_part(self) -> &'a str {
        self.0.rsplit_once('.').map_or("", |(signed, _)| signed)
    }

    /// Refuses what asks for more than we understand, and what says that it is no ID token.
    fn check_header(self) -> Result<(), IdTokenError> {
        let header = self.part(0).unwrap_or_default();
        // RFC 7515, section 4.1.11: there is no extension that we process.
        if header.get("crit").is_some() {
            return Err(IdTokenError::Malformed("crit".to_owned()));
        }
        // RFC 8725, section 3.11: an issuer signs access tokens and logout tokens with the same key.
        let kind = header.get("typ").and_then(Value::as_str).unwrap_or("JWT").to_ascii_lowercase();
        if kind.ends_with("+jwt") {
            return Err(IdTokenError::Malformed(format!("typ {kind:?}")));
        }
        Ok(())
    }

    /// Checks signature and claims.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn verify(self, keys: &KeySet, expected: &Expected<'_>) -> Result<IdToken, IdTokenError> {
        self.check_header()?;
        let token = UntrustedToken::new(self.0).map_err(|error| IdTokenError::Malformed(error.to_string()))?;
        let claims = match keys.of_issuer(self) {
            Some(narrowed) => verified_claims(&token, &narrowed)?,
            None => verified_claims(&token, keys)?,
        };
        check(&claims, token.algorithm(), expected)?;
        let subject = text(&claims, "sub").unwrap_or_default().to_owned();
        Ok(IdToken { subject, claims })
    }
}

/// The claims, with `exp`, `nbf` and `iat` put back among them in seconds.
fn verified_claims(token: &UntrustedToken<'_>, keys: &KeySet) -> Result<Map<String, Value>, IdTokenError> {
    let name = token.algorithm();
    let kid = token.header().key_id.as_deref();
    let unknown = || IdTokenError::UnknownKey(kid.unwrap_or_default().to_owned());
    // The list of algorithms is ours; the header only chooses from it (RFC 8725, section 3.1).
    let mut claims = match name {
        "ES256" => first_valid(&Es256, token, keys.candidates(kid, "EC", name).filter_map(p256_key), unknown)?,
        "RS256" | "PS256" => {
            let algorithm = StrongAlg(if name == "RS256" { Rsa::rs256() } else { Rsa::ps256() });
            first_valid(&algorithm, token, keys.candidates(kid, "RSA", name).filter_map(rsa_key), unknown)?
        }
        "EdDSA" => first_valid(&Ed25519, token, keys.candidates(kid, "OKP", name).filter_map(ed25519_key), unknown)?,
        other => return Err(IdTokenError::Algorithm(other.chars().take(20).collect())),
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
    unknown: impl Fn() -> IdTokenError,
) -> Result<jwt_compact::Claims<Map<String, Value>>, IdTokenError> {
    let mut found = false;
    for key in keys {
        found = true;
        match algorithm.validator::<Map<String, Value>>(&key).validate(token) {
            Ok(token) => return Ok(token.into_parts().1),
            Err(jwt_compact::ValidationError::MalformedClaims(error)) => {
                return Err(IdTokenError::Malformed(error.to_string()));
            }
            Err(_) => (),
        }
    }
    Err(if found { IdTokenError::Signature } else { unknown() })
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// The numbered steps are those of section 3.1.3.7.
fn check(claims: &Map<String, Value>, algorithm: &str, expected: &Expected<'_>) -> Result<(), IdTokenError> {
    let wrong = |name: &'static str| {
        let value = claims.get(name).map_or_else(|| "missing".to_owned(), Value::to_string);
        IdTokenError::Claim(name, value.chars().take(200).collect())
    };
    // 2
    if !expected.issuer.accepts(claims) {
        return Err(wrong("iss"));
    }
    // 3
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        // One that is no text is one that we do not know.
        Some(Value::Array(many)) => many.iter().map(|one| one.as_str().unwrap_or_default()).collect(),
        _ => Vec::new(),
    };
    if !audiences.iter().any(|audience| expected.audiences.contains(audience)) {
        return Err(wrong("aud"));
    }
    // 4 and 5
    let azp = claims.get("azp");
    let is_ours = azp.and_then(Value::as_str).is_some_and(|azp| expected.audiences.contains(&azp));
    if (azp.is_some() || audiences.len() > 1) && !is_ours {
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
    let is_text = claims.get("nonce").is_none_or(Value::is_string);
    if !is_text || !expected.nonce.accepts(text(claims, "nonce")) {
        return Err(IdTokenError::Claim("nonce", "another request's".to_owned()));
    }
    // Section 3.1.3.8
    if let (Some(hash), Some(token)) = (claims.get("at_hash"), expected.access_token) {
        // The left half of the digest that the signature's algorithm uses; Ed25519's is SHA-512 (RFC 8032, section 5.1).
        let half = if algorithm == "EdDSA" {
            Base64UrlUnpadded::encode_string(&Sha512::digest(token.as_bytes())[..32])
        } else {
            Base64UrlUnpadded::encode_string(&Sha256::digest(token.as_bytes())[..16])
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
    use super::*;
    use crate::oauth::jose::tests::Signer;
    use serde_json::json;

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
        let mut two = good();
        two["aud"] = json!(["c", "d"]);
        assert!(matches!(verify(two), Err(IdTokenError::Claim("azp", _))));
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
        assert_eq!(with(&keys(&[&b])), Some(IdTokenError::UnknownKey("a".to_owned())));
        assert_eq!(with(&keys(&[&signer("a", 3)])), Some(IdTokenError::Signature));
        let mut private = a.jwk();
        private["d"] = json!("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE");
        assert_eq!(with(&KeySet(vec![private])), Some(IdTokenError::UnknownKey("a".to_owned())));
        let mut encryption = a.jwk();
        encryption["use"] = json!("enc");
        assert_eq!(with(&KeySet(vec![encryption])), Some(IdTokenError::UnknownKey("a".to_owned())));
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
        assert_eq!(with("https://other.example"), Some(IdTokenError::UnknownKey("k".to_owned())));
        assert_eq!(with("https://{tenantid}.example"), Some(IdTokenError::UnknownKey("k".to_owned())));
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
        for algorithm in ["none", "None", "HS256", "ES384", "eddsa", ""] {
            let head = encode(json!({"alg": algorithm, "kid": "k"}));
            let token = format!("{head}.{}.AAAA", encode(claims.clone()));
            let error = UnverifiedIdToken(&token).verify(&keys(&[&signer]), &expected()).expect_err(algorithm);
            assert!(matches!(error, IdTokenError::Algorithm(_)), "{algorithm}: {error}");
        }
        for token in ["", "a.b", "a.b.c.d", "e30.e30.", "...."] {
            assert!(UnverifiedIdToken(token).verify(&keys(&[&signer]), &expected()).is_err(), "{token}");
        }
    }
}
