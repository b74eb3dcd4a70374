//! Whom an ID token and the userinfo answer describe (OpenID Connect Core 1.0, sections 5.1 and 5.3).

use serde_json::{Map, Value};

use crate::federation::id_token::IdToken;
use crate::http::email;

/// The visitor, in the issuer's words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// `sub`.
    pub subject: String,
    /// `email`, if it is a valid address.
    pub email: Option<String>,
    /// Whether the issuer says that it proved the address.
    pub email_verified: bool,
    /// `name`, or what stands in for it.
    pub name: Option<String>,
    /// `given_name`.
    pub first_name: Option<String>,
    /// `family_name`.
    pub last_name: Option<String>,
    /// `picture`, if it is an https URL.
    pub picture: Option<String>,
    /// All that was said, for the record.
    pub raw: Map<String, Value>,
}

/// The userinfo answer is about somebody else (section 5.3.2): a token of one user put with another's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectMismatch;

/// Puts the two together. What the signed token says wins.
///
/// # Errors
/// [`SubjectMismatch`].
pub fn profile(token: IdToken, userinfo: Option<Map<String, Value>>) -> Result<Profile, SubjectMismatch> {
    let mut raw = userinfo.unwrap_or_else(|| token.claims.clone());
    if raw.get("sub").and_then(Value::as_str) != Some(&token.subject) {
        return Err(SubjectMismatch);
    }
    // `email_verified` speaks of the `email` beside it, and of no other.
    if token.claims.contains_key("email") {
        raw.remove("email_verified");
    }
    raw.extend(token.claims);
    for protocol in ["nonce", "at_hash", "c_hash", "iat", "exp", "nbf", "jti", "sid"] {
        raw.remove(protocol);
    }
    let text = |name: &str, longest: usize| {
        let text = raw.get(name).and_then(Value::as_str).map(str::trim)?;
        (!text.is_empty()).then(|| text.chars().filter(|c| !c.is_control()).take(longest).collect::<String>())
    };
    let email = text("email", email::LONGEST + 1).and_then(|text| email::normalise(&text));
    let verified = match raw.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        // Some issuers send the word.
        Some(Value::String(word)) => word == "true",
        _ => false,
    };
    let (first_name, last_name) = (text("given_name", 100), text("family_name", 100));
    let full = match (&first_name, &last_name) {
        (Some(first), Some(last)) => Some(format!("{first} {last}")),
        (one, other) => one.clone().or_else(|| other.clone()),
    };
    Ok(Profile {
        subject: token.subject,
        email_verified: verified && email.is_some(),
        name: text("name", 256).or(full).or_else(|| text("preferred_username", 256)),
        email,
        first_name,
        last_name,
        picture: text("picture", 2048).filter(|url| url.starts_with("https://")),
        raw,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).expect("object")
    }

    fn token(claims: Value) -> IdToken {
        IdToken { subject: "s".to_owned(), claims: map(claims) }
    }

    #[test]
    fn the_token_wins_over_userinfo_and_an_address_keeps_its_own_flag() {
        let userinfo = map(json!({"sub": "s", "email": "u@x.co", "email_verified": true, "name": "U"}));
        let both = profile(token(json!({"sub": "s", "email": "T@x.co"})), Some(userinfo.clone())).expect("same");
        assert_eq!((both.email.as_deref(), both.email_verified), (Some("t@x.co"), false));
        assert_eq!(both.name.as_deref(), Some("U"));
        let info = profile(token(json!({"sub": "s"})), Some(userinfo)).expect("same");
        assert_eq!((info.email.as_deref(), info.email_verified), (Some("u@x.co"), true));
    }

    #[test]
    fn userinfo_of_somebody_else_is_refused() {
        for info in [json!({"sub": "other", "email": "a@x.co"}), json!({"email": "a@x.co"})] {
            assert_eq!(profile(token(json!({"sub": "s"})), Some(map(info))), Err(SubjectMismatch));
        }
    }

    #[test]
    fn odd_values_are_dropped() {
        let odd = json!({"sub": "s", "email": "not an address", "email_verified": "true", "picture": "javascript:x",
                         "given_name": "A\u{7}", "family_name": " B ", "name": 7, "nonce": "n"});
        let odd = profile(token(odd), None).expect("same");
        assert_eq!((odd.email, odd.email_verified, odd.picture), (None, false, None));
        assert_eq!(odd.name.as_deref(), Some("A B"));
        assert!(!odd.raw.contains_key("nonce"));
    }
}
