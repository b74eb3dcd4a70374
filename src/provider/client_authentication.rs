//! Client authentication (RFC 6749, section 2.3; RFC 7521, section 4.2; RFC 7523, section 3).
//!
//! PURE: no I/O, no clock, no randomness.

use base64ct::{Base64, Encoding};
use serde_json::{Map, Value};

use crate::http::client::Certificate;
use crate::jose::jws::{UnverifiedJws, audiences};
use crate::platform::id::Millis;
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::{equal_in_constant_time, sha256_base64url};
use crate::provider::client::{AuthMethod, Client};
use crate::provider::parameters::Parameters;

/// What proves who a client is. It is no part of what a client asks for, and must not be kept with it.
pub const CREDENTIALS: [&str; 3] = ["client_secret", "client_assertion", "client_assertion_type"];

/// `client_assertion_type` of a JWT.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How far a client's clock may be from ours, and the longest life of an assertion, in seconds.
const LEEWAY: i64 = 30;

const LONGEST_ASSERTION: i64 = 3600;

/// What a request presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing but the client's name.
    None,
    /// A secret in the header.
    Basic(String),
    /// A secret in the form.
    Post(String),
    /// A signed assertion.
    Assertion(String),
}

/// Who a request says that it is. Nobody has checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedClient {
    /// `client_id`.
    pub client_id: String,
    /// What it presents.
    pub credential: Credential,
}

fn failed(reason: &str) -> Problem {
    Problem::new(Code::InvalidClient, "client authentication failed").because(reason)
}

impl UnverifiedClient {
    /// Reads what a request presents. One that presents two things is refused: what one part of a server believes and
    /// another checks must be the same.
    ///
    /// # Errors
    /// `invalid_request`, `invalid_client`.
    pub fn read(authorization: Option<&str>, parameters: &Parameters) -> Result<Self, Problem> {
        let invalid = |description| Problem::new(Code::InvalidRequest, description);
        let named = parameters.get("client_id");
        let secret = parameters.get("client_secret");
        let assertion = parameters.get("client_assertion");
        let basic =
            authorization.filter(|header| header.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic ")));
        if [basic.is_some(), secret.is_some(), assertion.is_some()].iter().filter(|presented| **presented).count() > 1 {
            return Err(invalid("more than one way of client authentication"));
        }
        if let Some(header) = basic {
            let (id, secret) = decode_basic(&header[6..]).ok_or_else(|| failed("Authorization: Basic is malformed"))?;
            if named.is_some_and(|named| named != id) {
                return Err(invalid("client_id is another than in Authorization"));
            }
            return Ok(Self { client_id: id, credential: Credential::Basic(secret) });
        }
        if let Some(assertion) = assertion {
            if parameters.get("client_assertion_type") != Some(JWT_BEARER) {
                return Err(invalid("client_assertion_type is not that of a JWT"));
            }
            let said = UnverifiedJws(assertion).said().unwrap_or_default();
            let subject = said.get("sub").and_then(Value::as_str).ok_or_else(|| failed("assertion without sub"))?;
            if named.is_some_and(|named| named != subject) {
                return Err(failed("client_id is another than the assertion's"));
            }
            return Ok(Self { client_id: subject.to_owned(), credential: Credential::Assertion(assertion.to_owned()) });
        }
        let client_id = named.ok_or_else(|| failed("no client_id"))?.to_owned();
        let credential = secret.map_or(Credential::None, |secret| Credential::Post(secret.to_owned()));
        Ok(Self { client_id, credential })
    }
}

/// RFC 6749, section 2.3.1: both parts are form-encoded before they are joined.
fn decode_basic(text: &str) -> Option<(String, String)> {
    let bytes = Base64::decode_vec(text.trim()).ok()?;
    let pair = String::from_utf8(bytes).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decode = |part: &str| {
        let decoded = percent_encoding::percent_decode_str(&part.replace('+', " ")).decode_utf8().ok()?.into_owned();
        (!decoded.is_empty()).then_some(decoded)
    };
    Some((decode(id)?, decode(secret)?))
}

/// Checks a secret, or that there is none to check. An assertion's signature is checked before: these are its claims.
///
/// # Errors
/// `invalid_client`: for a client that authenticates otherwise, too, so that a registered method is the only one.
pub fn check(
    client: &Client,
    credential: &Credential,
    assertion: Option<&Map<String, Value>>,
    expected: &Expected<'_>,
) -> Result<(), Problem> {
    match (client.auth_method, credential) {
        (AuthMethod::None, Credential::None) => Ok(()),
        (AuthMethod::ClientSecretBasic, Credential::Basic(secret))
        | (AuthMethod::ClientSecretPost, Credential::Post(secret)) => check_secret(client, secret),
        (method, Credential::Basic(secret) | Credential::Post(secret))
            if method.has_secret() && client.takes_either_secret_method() =>
        {
            check_secret(client, secret)
        }
        (AuthMethod::PrivateKeyJwt, Credential::Assertion(_)) => {
            let claims = assertion.ok_or_else(|| failed("an assertion that was not verified"))?;
            check_assertion(client, claims, expected)
        }
        (AuthMethod::TlsClientAuth, Credential::None) => {
            let certificate = expected.certificate.filter(|certificate| certificate.is_verified);
            let subject = certificate.map(|certificate| certificate.subject.as_str());
            let is_its_own = subject.is_some() && subject == client.details.tls_client_auth_subject_dn.as_deref();
            if is_its_own { Ok(()) } else { Err(failed("no certificate, or another's")) }
        }
        (registered, _) => Err(failed(&format!("not by {}", registered.as_str()))),
    }
}

fn check_secret(client: &Client, secret: &str) -> Result<(), Problem> {
    let hash = sha256_base64url(secret);
    // Every one is compared: which of two is the right one takes the same time.
    let matching = client.secret_hashes.iter().filter(|known| equal_in_constant_time(known, &hash)).count();
    if matching > 0 { Ok(()) } else { Err(failed("a wrong secret")) }
}

/// What an assertion must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// What we are called: the issuer identifier first, and our endpoints (RFC 9126, section 2).
    pub audiences: &'a [&'a str],
    /// The certificate that the request came with.
    pub certificate: Option<&'a Certificate>,
    /// Now.
    pub now: Millis,
}

/// RFC 7523, section 3.
fn check_assertion(client: &Client, claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), Problem> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    if text("iss") != Some(&client.client_id) || text("sub") != Some(&client.client_id) {
        return Err(failed("iss or sub is another"));
    }
    // FAPI 2.0 Security Profile, section 5.3.2.1: the issuer alone, as a text. What is for an endpoint may have been got for one
    // of the attacker's that is called so.
    if client.details.fapi && text("aud") != expected.audiences.first().copied() {
        return Err(failed("aud is not the issuer"));
    }
    let said = audiences(claims);
    // One audience alone: an assertion that is good elsewhere as well can be brought here by whoever got it there.
    if said.len() != 1 || !expected.audiences.contains(&said[0]) {
        return Err(failed("aud is another"));
    }
    let now = expected.now / 1000;
    let ends = time("exp").ok_or_else(|| failed("no exp"))?;
    if ends + LEEWAY <= now {
        return Err(failed("expired"));
    }
    if ends > now + LONGEST_ASSERTION + LEEWAY {
        return Err(failed("good for too long"));
    }
    if time("nbf").is_some_and(|at| at - LEEWAY > now) || time("iat").is_some_and(|at| at - LEEWAY > now) {
        return Err(failed("of the future"));
    }
    if text("jti").is_none_or(|jti| jti.is_empty() || jti.len() > 512) {
        return Err(failed("no jti"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::authorization::tests::client;
    use crate::provider::client::Details;

    fn read(authorization: Option<&str>, text: &str) -> Result<UnverifiedClient, Code> {
        let parameters = Parameters::parse(text).expect("parameters");
        UnverifiedClient::read(authorization, &parameters).map_err(|problem| problem.code)
    }

    #[test]
    fn a_request_presents_one_thing() {
        let basic = "Basic YW4raWQ6YSUzQWIlMjZj";
        let named = |id: &str, credential| Ok(UnverifiedClient { client_id: id.to_owned(), credential });
        assert_eq!(read(Some(basic), ""), named("an id", Credential::Basic("a:b&c".to_owned())));
        assert_eq!(
            read(Some("bAsIc YW4raWQ6YSUzQWIlMjZj"), "client_id=an+id"),
            named("an id", Credential::Basic("a:b&c".to_owned()))
        );
        assert_eq!(read(None, "client_id=x&client_secret=s"), named("x", Credential::Post("s".to_owned())));
        assert_eq!(read(None, "client_id=x"), named("x", Credential::None));
        assert_eq!(read(Some(basic), "client_secret=s"), Err(Code::InvalidRequest));
        assert_eq!(read(Some(basic), "client_id=other"), Err(Code::InvalidRequest));
        assert_eq!(read(None, "client_id=x&client_assertion=a.b.c"), Err(Code::InvalidRequest));
        assert_eq!(read(None, ""), Err(Code::InvalidClient));
        for bad in ["Basic", "Basic !!!", "Basic OnNlY3JldA==", "Basic aWQ6", "Basic aWQ="] {
            assert_eq!(read(Some(bad), ""), Err(Code::InvalidClient), "{bad}");
        }
    }

    #[test]
    fn the_registered_method_is_the_only_one() {
        let expected = Expected { audiences: &["https://us"], certificate: None, now: 0 };
        let mut client = client();
        client.secret_hashes = vec![sha256_base64url("old"), sha256_base64url("new")];
        let secret = |text: &str| Credential::Basic(text.to_owned());
        assert!(check(&client, &secret("old"), None, &expected).is_ok());
        assert!(check(&client, &secret("new"), None, &expected).is_ok());
        for bad in [
            secret("other"),
            Credential::None,
            Credential::Post("old".to_owned()),
            Credential::Assertion("a".to_owned()),
        ] {
            assert!(check(&client, &bad, None, &expected).is_err(), "{bad:?}");
        }
        client.details.either_secret_method = Some(true);
        assert!(check(&client, &Credential::Post("old".to_owned()), None, &expected).is_ok());
        assert!(check(&client, &Credential::Post("other".to_owned()), None, &expected).is_err());
        assert!(check(&client, &Credential::None, None, &expected).is_err());
        client.secret_hashes = Vec::new();
        assert!(check(&client, &secret("old"), None, &expected).is_err());
        client.auth_method = AuthMethod::None;
        assert!(check(&client, &Credential::None, None, &expected).is_ok());
        assert!(check(&client, &secret("x"), None, &expected).is_err());

        client.auth_method = AuthMethod::TlsClientAuth;
        client.details.tls_client_auth_subject_dn = Some("CN=app,O=Acme".to_owned());
        assert!(check(&client, &Credential::None, None, &expected).is_err(), "no certificate");
        for (is_verified, subject, good) in
            [(true, "CN=app,O=Acme", true), (false, "CN=app,O=Acme", false), (true, "CN=other,O=Acme", false)]
        {
            let certificate =
                Certificate { is_verified, is_revoked: false, subject: subject.to_owned(), digest: "d".to_owned() };
            let expected = Expected { certificate: Some(&certificate), ..expected };
            assert_eq!(check(&client, &Credential::None, None, &expected).is_ok(), good, "{certificate:?}");
            assert!(check(&client, &secret("x"), None, &expected).is_err());
        }
    }

    #[test]
    fn the_table_of_assertions() {
        let now = 1_000_000;
        let expected =
            Expected { audiences: &["https://us", "https://us/oauth2/token"], certificate: None, now: now * 1000 };
        let mut client = client();
        client.auth_method = AuthMethod::PrivateKeyJwt;
        let good = json!({"iss": "app", "sub": "app", "aud": "https://us", "exp": now + 60, "jti": "j"});
        let judge = |claims: Value| {
            let claims = claims.as_object().cloned();
            check(&client, &Credential::Assertion("a".to_owned()), claims.as_ref(), &expected)
        };
        assert!(judge(good.clone()).is_ok());
        for (name, value) in [
            ("iss", json!("other")),
            ("sub", json!("other")),
            ("aud", json!("https://them")),
            ("aud", json!(["https://us", "https://them"])),
            ("aud", Value::Null),
            ("exp", json!(now - 31)),
            ("exp", json!(now + 3700)),
            ("exp", Value::Null),
            ("nbf", json!(now + 31)),
            ("iat", json!(now + 31)),
            ("jti", json!("")),
            ("jti", Value::Null),
        ] {
            let mut bad = good.clone();
            bad[name] = value.clone();
            assert!(judge(bad).is_err(), "{name} {value}");
        }
        let strict = Client { details: Details { fapi: true, ..Details::default() }, ..client.clone() };
        for (aud, fapi) in
            [(json!("https://us"), true), (json!(["https://us"]), false), (json!("https://us/oauth2/token"), false)]
        {
            let mut claims = good.clone();
            claims["aud"] = aud.clone();
            let claims = claims.as_object();
            let by = |client| check(client, &Credential::Assertion("a".to_owned()), claims, &expected).is_ok();
            assert_eq!((by(&client), by(&strict)), (true, fapi), "{aud}");
        }
    }
}
