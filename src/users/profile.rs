//! A user's profile: its fields, read and checked.
//!
//! PURE: no I/O, no clock, no randomness.

use serde_json::{Map, Value, json};

use crate::http::fields::Fields;

/// Members of `profile` that are a line of text, and the longest of each in characters.
const LINES: &[(&str, usize)] =
    &[("phoneNumber", 32), ("timezone", 64), ("language", 35), ("title", 128), ("department", 128)];

/// Mails that may be declined. Those about the account's security are not among them: whoever takes an account over would
/// decline them first.
const MAILS: &[&str] = &["marketing", "updates", "newsletter"];

/// Reads `profile`, `preferences` and `emailPreferences`, each a merge patch (RFC 7396): what is not sent stays, what is
/// `null` goes. With `by_administrator` also `metadata`, which is the application's.
pub fn read_profile_fields(fields: &mut Fields, by_administrator: bool) -> Patches {
    let profile = fields.has("profile").then(|| {
        let mut profile = fields.nested("profile");
        let text = read_profile(&mut profile);
        fields.absorb("profile", profile);
        text
    });
    let email_preferences = fields.has("emailPreferences").then(|| {
        let mut mails = fields.nested("emailPreferences");
        let text = read_mails(&mut mails);
        fields.absorb("emailPreferences", mails);
        text
    });
    let preferences = object_field(fields, "preferences");
    if fields.has("metadata") && !by_administrator {
        fields.refuse("metadata", "Not to be changed by its user");
    }
    let metadata = if by_administrator { object_field(fields, "metadata") } else { None };
    Patches { profile, preferences, email_preferences, metadata }
}

fn object_field(fields: &mut Fields, name: &str) -> Option<String> {
    if !fields.has(name) {
        return None;
    }
    let value = fields.object(name);
    let text = value.to_string();
    if depth(&value) > 8 {
        fields.refuse(name, "Too deep");
    }
    if i64::try_from(text.len()).unwrap_or(i64::MAX) > LONGEST_KEPT {
        fields.refuse(name, "Too big");
    }
    Some(text)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn read_profile(fields: &mut Fields) -> String {
    let mut patch = Map::new();
    let names: Vec<String> = fields.names().map(str::to_owned).collect();
    for name in names {
        let value = if fields.is_null(&name) { Value::Null } else { read_member(fields, &name) };
        patch.insert(name, value);
    }
    Value::Object(patch).to_string()
}

fn read_member(fields: &mut Fields, name: &str) -> Value {
    if let Some((_, longest)) = LINES.iter().find(|(line, _)| *line == name) {
        return json!(fields.line(name, *longest));
    }
    match name {
        "bio" => json!(fields.required(name, 2000)),
        "address" => json!(fields.texts(name, 12, 256)),
        "skills" => {
            let fits = |text: &str| {
                !text.trim().is_empty() && text.chars().count() <= 64 && !text.chars().any(char::is_control)
            };
            json!(fields.list(name, 100, fits))
        }
        "socialLinks" => {
            let links = fields.texts(name, 20, 512);
            // A link of another scheme would run as a script where an application shows it.
            if links.values().any(|link| !link.starts_with("https://") && !link.starts_with("http://")) {
                fields.refuse(name, "Invalid URL");
            }
            json!(links)
        }
        _ => {
            fields.refuse(name, "Unknown key");
            Value::Null
        }
    }
}

fn read_mails(fields: &mut Fields) -> String {
    let mut patch = Map::new();
    let names: Vec<String> = fields.names().map(str::to_owned).collect();
    for name in names {
        match fields.boolean(&name) {
            Some(wanted) if MAILS.contains(&name.as_str()) || (wanted && name == "security") => {
                patch.insert(name, json!(wanted));
            }
            Some(_) if name == "security" => {
                fields.refuse(&name, "Mails about the account's security cannot be declined");
            }
            _ => {
                fields.refuse(&name, "Invalid input: expected a boolean of marketing, updates, newsletter or security");
            }
        }
    }
    Value::Object(patch).to_string()
}

/// JSON merge patches (RFC 7396) of what a user keeps here.
#[derive(Default)]
pub struct Patches {
    /// `profile`.
    pub profile: Option<String>,
    /// `preferences`.
    pub preferences: Option<String>,
    /// `email_preferences`.
    pub email_preferences: Option<String>,
    /// `metadata`.
    pub metadata: Option<String>,
}

impl Patches {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.profile.is_none()
            && self.preferences.is_none()
            && self.email_preferences.is_none()
            && self.metadata.is_none()
    }
}

/// The most that each of the four may hold, in bytes of JSON.
pub const LONGEST_KEPT: i64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn patches(body: &Value, by_administrator: bool) -> std::result::Result<Patches, String> {
        let mut fields = Fields::from_json(body.to_string().as_bytes()).expect("an object");
        let patches = read_profile_fields(&mut fields, by_administrator);
        fields.finish().map(|()| patches).map_err(|error| error.to_string())
    }

    #[test]
    fn a_profile_is_read_member_by_member() {
        let body = json!({ "profile": {
            "bio": "line\nline", "timezone": "Europe/Berlin", "skills": ["rust"], "title": null,
            "address": {"city": "Köln"}, "socialLinks": {"web": "https://example.org"} } });
        let read = patches(&body, false).expect("a profile");
        let read: Value = serde_json::from_str(&read.profile.expect("sent")).expect("JSON");
        assert_eq!(read, body["profile"]);
        for bad in [
            json!({"made": "up"}),
            json!({"timezone": "a\u{0}b"}),
            json!({"bio": 7}),
            json!({"title": "x".repeat(129)}),
            json!({"skills": [""]}),
            json!({"skills": "rust"}),
            json!({"address": "here"}),
            json!({"socialLinks": {"x": "javascript:alert(1)"}}),
        ] {
            assert!(patches(&json!({ "profile": bad }), true).is_err(), "{bad}");
        }
        assert!(patches(&json!({"profile": []}), true).is_err());
    }

    #[test]
    fn mails_about_security_are_not_declined() {
        assert!(patches(&json!({"emailPreferences": {"marketing": false, "security": true}}), false).is_ok());
        for bad in
            [json!({"security": false}), json!({"made up": true}), json!({"updates": "no"}), json!({"updates": null})]
        {
            assert!(patches(&json!({ "emailPreferences": bad }), false).is_err(), "{bad}");
        }
    }

    #[test]
    fn metadata_is_the_applications() {
        let body = json!({"metadata": {"plan": "gold"}, "preferences": {"theme": "dark"}});
        assert!(patches(&body, false).is_err());
        assert!(patches(&body, true).is_ok());
        let mut deep = json!(1);
        for _ in 0..9 {
            deep = json!({ "a": deep });
        }
        assert!(patches(&json!({ "preferences": deep }), false).is_err());
        assert!(patches(&json!({ "preferences": {"a": "x".repeat(20_000)} }), false).is_err());
    }
}
