//! Field mapping: dotted paths into what an issuer says, and the fields of ours that take their values.
//!
//! PURE: no I/O, no clock, no randomness.

use serde_json::{Map, Value};

/// The longest path, in characters.
pub const LONGEST_PATH: usize = 500;

/// A field of ours that an issuer may fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Who it is, where no ID token says so.
    Subject,
    /// E-mail address.
    Email,
    /// Whether the issuer proved it.
    EmailVerified,
    /// Name.
    Name,
    /// Given name.
    FirstName,
    /// Family name.
    LastName,
    /// Picture.
    Picture,
    /// User name, if it is free.
    Username,
    /// The application's own id for the person.
    ExternalId,
    /// A member of `user.profile`.
    Profile(&'static str),
}

/// The members of `user.profile`.
const PROFILE: [&str; 9] =
    ["phoneNumber", "address", "timezone", "language", "bio", "socialLinks", "skills", "title", "department"];

impl Field {
    /// Reads the name of a field; `None` for one that there is not.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(member) = name.strip_prefix("profile.") {
            return PROFILE.iter().find(|known| **known == member).map(|known| Self::Profile(known));
        }
        Some(match name {
            "subject" => Self::Subject,
            "email" => Self::Email,
            "email_verified" => Self::EmailVerified,
            "name" => Self::Name,
            "first_name" => Self::FirstName,
            "last_name" => Self::LastName,
            "picture" => Self::Picture,
            "username" => Self::Username,
            "external_id" => Self::ExternalId,
            _ => return None,
        })
    }
}

/// A path into a JSON value: members by name, elements by number. A backslash takes the meaning from a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<String>);

impl Path {
    /// Reads a path; `None` if it is empty, has an empty segment, or is too long.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.chars().count() > LONGEST_PATH || text.chars().any(char::is_control) {
            return None;
        }
        let mut segments = vec![String::new()];
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '.' => segments.push(String::new()),
                '\\' => segments.last_mut()?.push(letters.next()?),
                other => segments.last_mut()?.push(other),
            }
        }
        (!segments.iter().any(String::is_empty)).then_some(Self(segments))
    }

    /// What is at the path; `None` for nothing, and for `null`.
    #[must_use]
    pub fn find<'a>(&self, said: &'a Map<String, Value>) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        let found = rest.iter().try_fold(said.get(first)?, |value, segment| match value {
            Value::Object(members) => members.get(segment),
            Value::Array(elements) => elements.get(segment.parse::<usize>().ok()?),
            _ => None,
        })?;
        (!found.is_null()).then_some(found)
    }
}

/// Which path fills which field. A field is filled by one path.
#[derive(Clone, Debug, Default)]
pub struct Mapping(Vec<(Path, Field)>);

impl Mapping {
    /// A service's own mapping, with `further` in the place of what they map otherwise. What does not parse is passed
    /// over: it was judged when it was saved.
    pub fn new<'a>(preset: &'a [(&'a str, &'a str)], further: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut all: Vec<(Path, Field)> = Vec::new();
        let further: Vec<(&str, &str)> = further.into_iter().collect();
        let maps = |name: &str| further.iter().any(|(_, internal)| *internal == name);
        // The service's word on its own address is no word on another.
        let of_another = maps("email") && !maps("email_verified");
        let preset = preset.iter().filter(|(_, internal)| !(of_another && *internal == "email_verified"));
        for (external, internal) in preset.copied().chain(further.iter().copied()) {
            let (Some(path), Some(field)) = (Path::parse(external), Field::parse(internal)) else {
                continue;
            };
            all.retain(|(_, known)| *known != field);
            all.push((path, field));
        }
        Self(all)
    }

    /// What is said of a field.
    #[must_use]
    pub fn find<'a>(&self, field: Field, said: &'a Map<String, Value>) -> Option<&'a Value> {
        let (path, _) = self.0.iter().find(|(_, known)| *known == field)?;
        path.find(said)
    }

    /// What is said of the members of `user.profile`.
    #[must_use]
    pub fn profile(&self, said: &Map<String, Value>) -> Map<String, Value> {
        let members = self.0.iter().filter_map(|(path, field)| match field {
            Field::Profile(member) => Some(((*member).to_owned(), path.find(said)?.clone())),
            _ => None,
        });
        members.filter(|(member, value)| fits(member, value)).collect()
    }
}

/// The longest value of `user.profile`, in bytes of JSON.
const LONGEST_VALUE: usize = 2000;

/// Whether a value has the shape that its member has everywhere.
fn fits(member: &str, value: &Value) -> bool {
    let shape = match member {
        "skills" => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
        "socialLinks" => value.is_object() || value.is_array(),
        "address" => value.is_object() || value.is_string(),
        _ => value.is_string(),
    };
    shape && value.to_string().len() <= LONGEST_VALUE
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said() -> Map<String, Value> {
        let value = json!({
            "plain": "a", "deep": {"er": {"est": 7}}, "list": [{"value": "x"}, {"value": "y"}], "nothing": null,
            "https://example.org/claim": "dotted", "skills": ["rust", "sql"], "text": "not a list"
        });
        value.as_object().expect("object").clone()
    }

    #[test]
    fn paths_reach_members_and_elements() {
        for (path, expected) in [
            ("plain", Some(json!("a"))),
            ("deep.er.est", Some(json!(7))),
            ("list.1.value", Some(json!("y"))),
            ("list.2.value", None),
            ("list.-1.value", None),
            ("list.value", None),
            ("nothing", None),
            ("plain.more", None),
            (r"https://example\.org/claim", Some(json!("dotted"))),
            ("__proto__", None),
        ] {
            assert_eq!(Path::parse(path).expect(path).find(&said()), expected.as_ref(), "{path}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a\\", "a\n", &"x".repeat(501)] {
            assert_eq!(Path::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_saved_mapping_takes_the_place_of_the_presets() {
        let mapping = Mapping::new(&[("plain", "name"), ("text", "email")], [("deep.er.est", "name"), ("x", "nope")]);
        assert_eq!(mapping.find(Field::Name, &said()), Some(&json!(7)));
        assert_eq!(mapping.find(Field::Email, &said()), Some(&json!("not a list")));
        assert_eq!(mapping.find(Field::Picture, &said()), None);
    }

    #[test]
    fn the_profile_takes_what_fits() {
        let mapping =
            Mapping::new(&[], [("skills", "profile.skills"), ("list", "profile.bio"), ("deep", "profile.address")]);
        let profile = mapping.profile(&said());
        assert_eq!(Value::Object(profile), json!({"skills": ["rust", "sql"], "address": {"er": {"est": 7}}}));
        let mapping = Mapping::new(&[], [("text", "profile.skills")]);
        assert!(mapping.profile(&said()).is_empty());
    }

    #[test]
    fn unknown_fields_are_none() {
        for name in ["", "password", "status", "profile", "profile.", "profile.x", "Email", "id", "roles"] {
            assert_eq!(Field::parse(name), None, "{name}");
        }
        assert_eq!(Field::parse("profile.skills"), Some(Field::Profile("skills")));
    }
}
