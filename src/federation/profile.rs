//! Whom an issuer describes, in an ID token (OpenID Connect Core 1.0, section 5.1), a userinfo answer (section 5.3) or an
//! answer of its own.
//!
//! PURE: no I/O, no clock, no randomness.

use serde_json::{Map, Value};

use crate::federation::id_token::IdToken;
use crate::federation::mapping::{Field, Mapping};
use crate::http::visible::is_hidden;
use crate::http::{email, username};
use crate::platform::id::Millis;

/// The visitor, in the issuer's words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// `sub`, or what stands for it.
    pub subject: String,
    /// `email`, if it is a valid address.
    pub email: Option<String>,
    /// Whether the issuer says that it proved the address.
    pub email_verified: bool,
    /// `name`, or what stands in for it.
    pub name: Option<String>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Picture, if it is an https URL.
    pub picture: Option<String>,
    /// User name, in lower case.
    pub username: Option<String>,
    /// The application's own id for the person.
    pub external_id: Option<String>,
    /// Members of `user.profile`.
    pub extra: Map<String, Value>,
    /// All that was said, for the record.
    pub raw: Map<String, Value>,
}

/// Why nobody is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileError {
    /// Nothing says who it is.
    NoSubject,
}

/// All that an issuer said of somebody.
#[derive(Clone, Debug, Default)]
pub struct Attribute {
    /// `sub` of the ID token, which nothing else may say.
    subject: Option<String>,
    /// Members of the ID token and the answer.
    pub members: Map<String, Value>,
}

impl Attribute {
    /// Puts the two together. What the signed token says wins. An answer about somebody else, or about nobody, must not be used
    /// (section 5.3.2): it may be a token of one user put with another's answer.
    #[must_use]
    pub fn new(token: Option<IdToken>, userinfo: Option<Map<String, Value>>) -> Self {
        let Some(token) = token else {
            return Self { subject: None, members: userinfo.unwrap_or_default() };
        };
        let is_same = |said: &Map<String, Value>| said.get("sub").and_then(Value::as_str) == Some(&token.subject);
        let mut members = userinfo.filter(is_same).unwrap_or_default();
        // `email_verified` speaks of the `email` beside it, and of no other.
        if token.claims.contains_key("email") {
            members.remove("email_verified");
        }
        members.extend(token.claims);
        for protocol in ["nonce", "at_hash", "c_hash", "iat", "exp", "nbf", "jti", "sid"] {
            members.remove(protocol);
        }
        Self { subject: Some(token.subject), members }
    }
}

/// How much a clock of theirs may differ from ours, and how long typing a password takes, in milliseconds.
const LATELY: Millis = 60_000;

impl Profile {
    /// When its owner proved who they are: when the issuer says (OpenID Connect Core 1.0, section 2), and otherwise now. A user who was
    /// signed in there for long proves nothing new by coming here.
    #[must_use]
    pub fn authenticated_at(&self, now: Millis) -> Millis {
        let said = self.raw.get("auth_time").and_then(Value::as_i64).and_then(|seconds| seconds.checked_mul(1000));
        said.filter(|at| (0..now - LATELY).contains(at)).unwrap_or(now)
    }
}

/// A line of text: trimmed, without what is not seen, of at most `longest`.
fn line(value: &Value, longest: usize) -> Option<String> {
    let text = value.as_str()?.trim();
    (!text.is_empty()).then(|| text.chars().filter(|&c| !is_hidden(c)).take(longest).collect())
}

/// Reads what was said. `to_ascii` writes a domain name with other letters in ASCII (RFC 5891).
///
/// # Errors
/// [`ProfileError::NoSubject`].
pub fn profile(
    said: Attribute,
    mapping: &Mapping,
    to_ascii: impl Fn(&str) -> Option<String>,
) -> Result<Profile, ProfileError> {
    let raw = said.members;
    let text = |field: Field, longest: usize| mapping.find(field, &raw).and_then(|value| line(value, longest));
    let mapped_subject = || match mapping.find(Field::Subject, &raw)? {
        Value::Number(number) => Some(number.to_string()),
        // As in an ID token (section 2): one that is cut off would be another's.
        Value::String(text) if text.len() <= 255 && !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    let subject = said.subject.or_else(mapped_subject).ok_or(ProfileError::NoSubject)?;
    let email = text(Field::Email, email::LONGEST + 1).and_then(|text| match text.rsplit_once('@') {
        Some((local, domain)) if !domain.is_ascii() => email::of_provider(&format!("{local}@{}", to_ascii(domain)?)),
        _ => email::of_provider(&text),
    });
    let verified = match mapping.find(Field::EmailVerified, &raw) {
        Some(Value::Bool(verified)) => *verified,
        // Some issuers send the word, or the digit.
        Some(Value::String(word)) => word == "true" || word == "1",
        Some(Value::Number(number)) => number.as_u64() == Some(1),
        _ => false,
    };
    let (first_name, last_name) = (text(Field::FirstName, 100), text(Field::LastName, 100));
    let full = match (&first_name, &last_name) {
        (Some(first), Some(last)) => Some(format!("{first} {last}")),
        (one, other) => one.clone().or_else(|| other.clone()),
    };
    let preferred = || raw.get("preferred_username").and_then(|value| line(value, 256));
    let external_id = mapping.find(Field::ExternalId, &raw).and_then(|value| match value {
        Value::Number(number) => Some(number.to_string()),
        other => line(other, 255),
    });
    Ok(Profile {
        subject,
        email_verified: verified && email.is_some(),
        name: text(Field::Name, 256).or(full).or_else(preferred),
        email,
        first_name,
        last_name,
        picture: text(Field::Picture, 2048).filter(|url| url.starts_with("https://")),
        username: text(Field::Username, 100).and_then(|text| username::normalise_username(&text).ok()),
        external_id,
        extra: mapping.profile(&raw),
        raw,
    })
}

/// Reads what an issuer's API says of the owner of an access token, who must be `subject`.
#[must_use]
pub fn described(said: Map<String, Value>, mapping: &Mapping, subject: &str) -> Option<Profile> {
    let is_same = said.get("sub").and_then(Value::as_str).is_none_or(|sub| sub == subject);
    let said = Attribute { subject: is_same.then(|| subject.to_owned()), members: said };
    let maps_subject = mapping.find(Field::Subject, &said.members).is_some();
    let read =
        profile(Attribute { subject: said.subject.filter(|_| !maps_subject), ..said }, mapping, |_| None).ok()?;
    (read.subject == subject).then_some(read)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::federation::service::ServiceType;

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).expect("object")
    }

    fn token(claims: Value) -> IdToken {
        IdToken { subject: "s".to_owned(), claims: map(claims) }
    }

    fn read(token: IdToken, userinfo: Option<Map<String, Value>>) -> Result<Profile, ProfileError> {
        profile(Attribute::new(Some(token), userinfo), &Mapping::new(ServiceType::Oidc.preset().mapping, []), |_| None)
    }

    #[test]
    fn a_sign_in_of_long_ago_proves_nothing_new() {
        let now = 1_000_000_000;
        for (said, expected) in [
            (json!(null), now),
            (json!(now / 1000), now),
            (json!(now / 1000 - 59), now),
            (json!(now / 1000 - 61), now - 61_000),
            (json!(now / 1000 + 3600), now),
            (json!(-1), now),
            (json!("1"), now),
            (json!(i64::MAX), now),
            (json!(0), 0),
        ] {
            let profile = Profile { raw: map(json!({ "auth_time": said })), ..Profile::default() };
            assert_eq!(profile.authenticated_at(now), expected, "{said}");
        }
    }

    #[test]
    fn the_token_wins_over_userinfo_and_an_address_keeps_its_own_flag() {
        let userinfo = map(json!({"sub": "s", "email": "u@x.co", "email_verified": true, "name": "U"}));
        let both = read(token(json!({"sub": "s", "email": "T@x.co"})), Some(userinfo.clone())).expect("same");
        assert_eq!((both.email.as_deref(), both.email_verified), (Some("t@x.co"), false));
        assert_eq!(both.name.as_deref(), Some("U"));
        let info = read(token(json!({"sub": "s"})), Some(userinfo)).expect("same");
        assert_eq!((info.email.as_deref(), info.email_verified), (Some("u@x.co"), true));
    }

    #[test]
    fn userinfo_of_somebody_else_is_not_used() {
        for info in [json!({"sub": "other", "email": "a@x.co"}), json!({"email": "a@x.co"}), json!({"sub": 7})] {
            let read = read(token(json!({"sub": "s", "name": "S"})), Some(map(info))).expect("the token");
            assert_eq!((read.subject.as_str(), read.email, read.name.as_deref()), ("s", None, Some("S")));
        }
    }

    #[test]
    fn odd_values_are_dropped() {
        let odd = json!({"sub": "s", "email": "not an address", "email_verified": "true", "picture": "javascript:x",
                         "given_name": "A\u{7}", "family_name": " B ", "name": 7, "nonce": "n"});
        let odd = read(token(odd), None).expect("same");
        assert_eq!((odd.email, odd.email_verified, odd.picture), (None, false, None));
        assert_eq!(odd.name.as_deref(), Some("A B"));
        assert!(!odd.raw.contains_key("nonce"));
    }

    #[test]
    fn without_an_id_token_the_mapping_says_who_it_is() {
        let mapping = Mapping::new(&[("id", "subject"), ("mail", "email")], [("nick", "username")]);
        let ascii = |domain: &str| (domain == "bücher.example").then(|| "xn--bcher-kva.example".to_owned());
        let of = |value: Value| profile(Attribute::new(None, Some(map(value))), &mapping, ascii);
        let other = of(json!({"id": "s", "mail": "anna@bücher.example"})).expect("a subject");
        assert_eq!(other.email.as_deref(), Some("anna@xn--bcher-kva.example"));
        let read = of(json!({"id": 7, "mail": "A@x.co", "email_verified": true, "nick": "Bob_1"})).expect("a subject");
        assert_eq!((read.subject.as_str(), read.email.as_deref()), ("7", Some("a@x.co")));
        assert!(!read.email_verified, "the flag is of another field");
        assert_eq!(read.username.as_deref(), Some("bob_1"));
        for bad in
            [json!({}), json!({"id": ""}), json!({"id": null}), json!({"id": {"a": 1}}), json!({"id": "x".repeat(256)})]
        {
            assert_eq!(of(bad.clone()), Err(ProfileError::NoSubject), "{bad}");
        }
    }
}
