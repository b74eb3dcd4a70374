//! Parameters of the protocol's requests (RFC 6749, sections 3.1 and 3.2).
//!
//! PURE: no I/O, no clock, no randomness.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The longest value, in bytes: assertions and request objects are JWTs.
const LONGEST: usize = 16 * 1024;

/// The most that is kept of an authorization request, in bytes.
const MOST_KEPT: usize = 8 * 1024;

/// What an authorization request may say (RFC 6749, section 4.1.1; OpenID Connect Core 1.0, section 3.1.2.1, and what
/// extends them).
const OF_AUTHORIZATION: [&str; 22] = [
    "acr_values",
    "claims",
    "claims_locales",
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "display",
    "dpop_jkt",
    "id_token_hint",
    "login_hint",
    "max_age",
    "nonce",
    "prompt",
    "redirect_uri",
    "registration",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "ui_locales",
];

/// The parameters of a request, each once. One without a value counts as not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    once: BTreeMap<String, String>,
    /// `resource`, which may stand there more than once (RFC 8707, section 2).
    resources: Vec<String>,
    /// `audience`, likewise (RFC 8693, section 2.1).
    #[serde(default)]
    audiences: Vec<String>,
}

impl Parameters {
    /// Reads a query or a form.
    ///
    /// # Errors
    /// The name of a parameter that stands there twice or is too long.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parameters = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let problem = || name.chars().filter(char::is_ascii_graphic).take(50).collect::<String>();
            if value.len() > LONGEST {
                return Err(problem());
            }
            if name == "resource" {
                parameters.resources.push(value.into_owned());
            } else if name == "audience" {
                parameters.audiences.push(value.into_owned());
            } else if parameters.once.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(problem());
            }
        }
        parameters.once.retain(|_, value| !value.is_empty());
        parameters.resources.retain(|value| !value.is_empty());
        parameters.audiences.retain(|value| !value.is_empty());
        Ok(parameters)
    }

    /// A parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.once.get(name).map(String::as_str)
    }

    /// `resource`.
    #[must_use]
    pub fn resources(&self) -> &[String] {
        &self.resources
    }

    /// `audience`.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The words of a parameter.
    pub fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name).unwrap_or_default().split(' ').filter(|word| !word.is_empty())
    }

    /// Sets a parameter.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.once.insert(name.to_owned(), value.into());
    }

    /// Adds a `resource`.
    pub fn add_resource(&mut self, resource: impl Into<String>) {
        self.resources.push(resource.into());
    }

    /// Leaves what an authorization request may say: what nobody reads (RFC 6749, section 3.1) is not kept either. Answers
    /// whether it is little enough to be kept; the hint is read and not kept.
    #[must_use]
    pub fn fit_to_be_kept(&mut self) -> bool {
        self.once.retain(|name, _| OF_AUTHORIZATION.contains(&name.as_str()));
        self.audiences.clear();
        let once = self.once.iter().filter(|(name, _)| *name != "id_token_hint");
        let once: usize = once.map(|(name, value)| name.len() + value.len()).sum();
        once + self.resources.iter().map(String::len).sum::<usize>() <= MOST_KEPT
    }

    /// Takes a parameter away.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.once.remove(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_known_and_little() {
        let mut read = Parameters::parse("client_id=a&resource=r&audience=b&x=1&state=s").expect("reads");
        assert!(read.fit_to_be_kept());
        assert_eq!((read.get("x"), read.get("state"), read.audiences().len()), (None, Some("s"), 0));
        for (name, fits) in [("ui_locales", false), ("resource", false), ("x", true), ("id_token_hint", true)] {
            let mut long = Parameters::parse(&format!("client_id=a&{name}={}", "x".repeat(9000))).expect("reads");
            assert_eq!(long.fit_to_be_kept(), fits, "{name}");
        }
    }

    #[test]
    fn each_stands_there_once_but_resource() {
        let read = Parameters::parse("a=1&b=&resource=https%3A%2F%2Fx&resource=https://y&scope=a++b").expect("reads");
        assert_eq!((read.get("a"), read.get("b"), read.get("c")), (Some("1"), None, None));
        assert_eq!(read.resources(), ["https://x", "https://y"]);
        assert_eq!(read.words("scope").collect::<Vec<_>>(), ["a", "b"]);
        let empty = Parameters::parse("resource=&resource=https://y&audience=&audience=").expect("reads");
        assert_eq!((empty.resources(), empty.audiences()), (&["https://y".to_owned()][..], &[][..]));
        assert_eq!(Parameters::parse("a=1&a=1"), Err("a".to_owned()));
        assert_eq!(Parameters::parse("state=&state=x"), Err("state".to_owned()));
        assert!(Parameters::parse(&format!("a={}", "x".repeat(17_000))).is_err());
    }
}
