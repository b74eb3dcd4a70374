//! The fields of a request body: read by name, bounded, and all their problems told at once.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::http::{email, visible};
use crate::platform::error::{Error, Result, Wire};

/// The fields of a JSON object or a form, and what was wrong with those read so far.
#[derive(Debug, Default)]
pub struct Fields {
    values: Map<String, Value>,
    problems: Vec<String>,
}

/// A field that may be left alone, cleared, or set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Not sent.
    Keep,
    /// Sent as `null`.
    Clear,
    /// Sent.
    Set(String),
}

impl Fields {
    /// No fields.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The fields of a JSON object.
    ///
    /// # Errors
    /// 400 `BAD_REQUEST` for what is not JSON, 400 `VALIDATION_ERROR` for JSON that is no object.
    pub fn from_json(body: &[u8]) -> Result<Self> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| Error::refused(Wire::INVALID_JSON, error.to_string()))?;
        match value {
            Value::Object(values) => Ok(Self { values, problems: Vec::new() }),
            other => Err(Error::Validation(format!(
                "[body] Invalid input: expected object, received {}",
                kind(Some(&other))
            ))),
        }
    }

    /// The fields of an `application/x-www-form-urlencoded` body.
    ///
    /// # Errors
    /// 400 for a field that is there twice: two readers would believe two different values.
    pub fn from_form(body: &[u8]) -> Result<Self> {
        let mut values = Map::new();
        for (name, value) in form_urlencoded::parse(body) {
            let twice = values.insert(name.clone().into_owned(), Value::String(value.into_owned()));
            if twice.is_some() {
                return Err(Error::Validation(format!("[body.{name}] Sent more than once")));
            }
        }
        Ok(Self { values, problems: Vec::new() })
    }

    fn problem(&mut self, name: &str, text: &str) {
        self.problems.push(format!("[body.{name}] {text}"));
    }

    fn text(&mut self, name: &str, longest: usize) -> Option<String> {
        match self.values.get(name) {
            Some(Value::String(text)) => {
                let text = text.clone();
                if text.chars().count() > longest {
                    self.problem(name, &format!("Too big: expected string to have <={longest} characters"));
                }
                Some(text)
            }
            None | Some(Value::Null) => None,
            other => {
                let text = format!("Invalid input: expected string, received {}", kind(other));
                self.problem(name, &text);
                None
            }
        }
    }

    /// A text that must be there, of at most `longest` characters. Empty, with a problem noted, if it is not.
    pub fn required(&mut self, name: &str, longest: usize) -> String {
        let before = self.problems.len();
        let text = self.text(name, longest);
        if text.is_none() && self.problems.len() == before {
            let text = format!("Invalid input: expected string, received {}", kind(self.values.get(name)));
            self.problem(name, &text);
        }
        text.unwrap_or_default()
    }

    /// A line of text that must be there: nothing that is not seen, and more than blanks.
    pub fn line(&mut self, name: &str, longest: usize) -> String {
        let before = self.problems.len();
        let text = self.required(name, longest);
        if self.problems.len() == before {
            self.check_line(name, &text);
        }
        text
    }

    fn check_line(&mut self, name: &str, text: &str) {
        if text.trim().is_empty() {
            self.problem(name, "Too small: expected string to have >=1 characters");
        } else if let Some(problem) = visible::problem(text) {
            self.problem(name, problem);
        } else if !visible::is_seen(text) {
            self.problem(name, "Invalid string: must be seen");
        }
    }

    /// A name that must be there, and that others may be mailed: a line in which nothing is a link.
    pub fn name(&mut self, name: &str, longest: usize) -> String {
        let text = self.line(name, longest);
        self.check_links(name, &text);
        text
    }

    /// The same, or empty: some front-ends ask for no name.
    pub fn name_or_empty(&mut self, name: &str, longest: usize) -> String {
        let text = self.required(name, longest);
        if !text.is_empty() {
            self.check_line(name, &text);
            self.check_links(name, &text);
        }
        text
    }

    /// The same that may be there.
    pub fn optional_name(&mut self, name: &str, longest: usize) -> Option<String> {
        let text = self.optional_line(name, longest)?;
        self.check_links(name, &text);
        Some(text)
    }

    /// The same, or `null` to clear what is stored.
    pub fn change_name(&mut self, name: &str, longest: usize) -> Change {
        let change = self.change(name, longest);
        if let Change::Set(text) = &change {
            self.check_links(name, text);
        }
        change
    }

    fn check_links(&mut self, name: &str, text: &str) {
        if visible::has_link(text) {
            self.problem(name, "Invalid string: must not contain links");
        }
    }

    /// A text that may be there. An empty one counts as not there: that is how forms send it.
    pub fn optional(&mut self, name: &str, longest: usize) -> Option<String> {
        self.text(name, longest).filter(|text| !text.is_empty())
    }

    /// A line of text that may be there: nothing that is not seen. One of blanks counts as not there.
    pub fn optional_line(&mut self, name: &str, longest: usize) -> Option<String> {
        let text = self.text(name, longest).filter(|text| !text.trim().is_empty())?;
        self.check_line(name, &text);
        Some(text)
    }

    /// A line of text that may be there, or `null` to clear what is stored.
    pub fn change(&mut self, name: &str, longest: usize) -> Change {
        if let Some(Value::Null) = self.values.get(name) {
            return Change::Clear;
        }
        let Some(text) = self.text(name, longest) else {
            return Change::Keep;
        };
        self.check_line(name, &text);
        Change::Set(text)
    }

    /// An e-mail address that must be there, in lower case.
    pub fn email(&mut self, name: &str) -> String {
        let before = self.problems.len();
        let text = self.required(name, email::LONGEST);
        let normal = email::normalise(&text);
        if normal.is_none() && self.problems.len() == before {
            self.problem(name, "Invalid email address");
        }
        normal.unwrap_or_default()
    }

    /// A boolean that may be there. Forms send `true`, `on`, `false`, or nothing.
    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.values.get(name) {
            Some(Value::Bool(value)) => Some(*value),
            Some(Value::String(text)) if matches!(text.as_str(), "true" | "on") => Some(true),
            Some(Value::String(text)) if matches!(text.as_str(), "false" | "") => Some(false),
            None | Some(Value::Null) => None,
            other => {
                let text = format!("Invalid input: expected boolean, received {}", kind(other));
                self.problem(name, &text);
                None
            }
        }
    }

    /// A JSON object that must be there. Its members are the reader's to judge.
    pub fn object(&mut self, name: &str) -> Value {
        match self.values.get(name) {
            Some(value @ Value::Object(_)) => value.clone(),
            other => {
                let text = format!("Invalid input: expected object, received {}", kind(other));
                self.problem(name, &text);
                Value::Null
            }
        }
    }

    /// The members of an object that must be there, to be read as fields of their own; [`Self::absorb`] takes their
    /// problems back.
    #[must_use]
    pub fn nested(&mut self, name: &str) -> Self {
        match self.object(name) {
            Value::Object(values) => Self { values, problems: Vec::new() },
            _ => Self::default(),
        }
    }

    /// The same of an object that may be there.
    #[must_use]
    pub fn nested_optional(&mut self, name: &str) -> Self {
        match self.values.get(name) {
            None | Some(Value::Null) => Self::default(),
            Some(_) => self.nested(name),
        }
    }

    /// Takes the problems of an object's members as its own.
    pub fn absorb(&mut self, name: &str, nested: Self) {
        let inner = nested.problems.into_iter();
        self.problems.extend(inner.map(|problem| problem.replacen("[body.", &format!("[body.{name}."), 1)));
    }

    /// Whether a field was sent as `null`.
    #[must_use]
    pub fn is_null(&self, name: &str) -> bool {
        self.values.get(name) == Some(&Value::Null)
    }

    /// A list of texts that may be there, of at most `most`, each of which is `acceptable`.
    pub fn list(&mut self, name: &str, most: usize, acceptable: impl Fn(&str) -> bool) -> Vec<String> {
        let values = match self.values.get(name) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(values)) => values.clone(),
            other => {
                let text = format!("Invalid input: expected array, received {}", kind(other));
                self.problem(name, &text);
                return Vec::new();
            }
        };
        if values.len() > most {
            self.problem(name, &format!("Too big: expected array to have <={most} items"));
        }
        let mut texts = Vec::new();
        for (at, value) in values.iter().take(most).enumerate() {
            match value.as_str().filter(|text| acceptable(text)) {
                Some(text) => texts.push(text.to_owned()),
                None => self.problem(&format!("{name}.{at}"), "Invalid input"),
            }
        }
        texts
    }

    /// An object of texts that may be there: at most `most`, of at most `longest` characters each.
    pub fn texts(&mut self, name: &str, most: usize, longest: usize) -> BTreeMap<String, String> {
        let members = match self.values.get(name) {
            None | Some(Value::Null) => return BTreeMap::new(),
            Some(Value::Object(members)) => members.clone(),
            other => {
                let text = format!("Invalid input: expected object, received {}", kind(other));
                self.problem(name, &text);
                return BTreeMap::new();
            }
        };
        if members.len() > most {
            self.problem(name, &format!("Too big: expected object to have <={most} members"));
        }
        let mut texts = BTreeMap::new();
        for (member, value) in members.into_iter().take(most) {
            let fits = |text: &&str| text.chars().count() <= longest && !text.chars().any(char::is_control);
            match value.as_str().filter(fits) {
                Some(text) if !member.is_empty() && member.len() <= 100 => {
                    texts.insert(member, text.to_owned());
                }
                _ => self.problem(&format!("{name}.{member}"), "Invalid input"),
            }
        }
        texts
    }

    /// A whole number between two bounds that may be there.
    pub fn number(&mut self, name: &str, (least, most): (i64, i64)) -> Option<i64> {
        match self.values.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::Number(number)) if number.as_i64().is_some_and(|n| (least..=most).contains(&n)) => {
                number.as_i64()
            }
            other => {
                let text = format!("Invalid input: expected int between {least} and {most}, received {}", kind(other));
                self.problem(name, &text);
                None
            }
        }
    }

    /// A value of whatever shape, as it was sent.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name).filter(|value| !value.is_null())
    }

    /// Notes a problem that the reader found.
    pub fn refuse(&mut self, name: &str, problem: &str) {
        self.problem(name, problem);
    }

    /// The names of what was sent.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Whether a field was sent at all.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Error::Validation`](crate::platform::error::Error::Validation) naming every field that was wrong.
    pub fn finish(self) -> Result<()> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(Error::Validation(self.problems.join("; ")))
    }
}

fn kind(value: Option<&Value>) -> &'static str {
    match value {
        None => "undefined",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "boolean",
        Some(Value::Number(_)) => "number",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "array",
        Some(Value::Object(_)) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_at_once() {
        let mut fields = Fields::from_json(br#"{"email":"bad","name":7,"rememberMe":"x"}"#).expect("object");
        assert_eq!(fields.required("name", 10), "");
        fields.email("email");
        fields.required("password", 10);
        fields.boolean("rememberMe");
        let error = fields.finish().expect_err("problems");
        assert_eq!(
            error.message(),
            "[body.name] Invalid input: expected string, received number; [body.email] Invalid email address; \
             [body.password] Invalid input: expected string, received undefined; \
             [body.rememberMe] Invalid input: expected boolean, received string"
        );
    }

    #[test]
    fn bodies_that_are_no_object_are_refused() {
        for (body, code) in
            [("{bad", "BAD_REQUEST"), ("[]", "VALIDATION_ERROR"), ("null", "VALIDATION_ERROR"), ("", "BAD_REQUEST")]
        {
            let error = Fields::from_json(body.as_bytes()).expect_err(body);
            assert_eq!(error.wire().code, code, "{body}");
        }
        assert!(Fields::from_form(b"a=1&a=2").is_err());
    }

    #[test]
    fn keep_clear_and_set_differ() {
        let mut fields = Fields::from_json(br#"{"a":null,"b":"x"}"#).expect("object");
        assert_eq!(fields.change("a", 9), Change::Clear);
        assert_eq!(fields.change("b", 9), Change::Set("x".to_owned()));
        assert_eq!(fields.change("c", 9), Change::Keep);
        assert_eq!(fields.change("b", 0), Change::Set("x".to_owned()));
        assert!(fields.finish().is_err());
        let mut fields = Fields::from_json(br#"{"a":"x\u0000","b":"  "}"#).expect("object");
        fields.line("a", 9);
        fields.change("b", 9);
        let told = fields.finish().expect_err("problems").to_string();
        assert!(told.contains("[body.a]") && told.contains("[body.b]"), "{told}");
    }
}
