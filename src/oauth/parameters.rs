//! Parameters of the protocol's requests (RFC 6749, sections 3.1 and 3.2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The longest value, in bytes: assertions and request objects are JWTs.
const LONGEST: usize = 16 * 1024;

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

    /// Takes a parameter away.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.once.remove(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
