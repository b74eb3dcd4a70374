//! What a client is told of a user, by scope (OpenID Connect Core 1.0, section 5.4).
//!
//! PURE: no I/O, no clock, no randomness.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::provider::scope::{RESOURCE, SCOPES};
use crate::users::person::Person;

/// The claims that a scope stands for (section 5.4).
const CLAIMS: [(&str, &str); 16] = [
    ("name", "profile"),
    ("given_name", "profile"),
    ("family_name", "profile"),
    ("preferred_username", "profile"),
    ("picture", "profile"),
    ("zoneinfo", "profile"),
    ("locale", "profile"),
    ("updated_at", "profile"),
    ("email", "email"),
    ("email_verified", "email"),
    ("phone_number", "phone"),
    ("phone_number_verified", "phone"),
    ("address", "address"),
    ("roles", "roles"),
    ("groups", "groups"),
    ("org", "org"),
];

/// The scope that a claim comes with.
#[must_use]
pub fn scope_of(claim: &str) -> Option<&'static str> {
    CLAIMS.iter().find(|(name, _)| *name == claim).map(|(_, scope)| *scope)
}

/// The names of the claims about a user that we know.
pub fn names() -> impl Iterator<Item = &'static str> {
    CLAIMS.iter().map(|(name, _)| *name)
}

/// What is known of a user beside what a session knows.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Profile {
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// `user.profile`.
    pub profile: Map<String, Value>,
    /// Slugs of the tenant's groups that they are in.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// The user and their place in the tenant.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The user.
    pub person: &'a Person,
    /// What else is known.
    pub profile: &'a Profile,
    /// Their roles.
    pub roles: &'a [String],
    /// The tenant's id and name.
    pub tenant: (&'a str, &'a str),
}

/// The claims that the scopes stand for. What is not known is left out.
#[must_use]
pub fn by_scope(subject: &Subject<'_>, scope: &str) -> Map<String, Value> {
    let mut claims = Map::new();
    let person = subject.person;
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            claims.insert(name.to_owned(), value);
        }
    };
    let text =
        |name: &str| subject.profile.profile.get(name).filter(|value| value.is_string()).cloned().unwrap_or_default();
    for scope in scope.split_whitespace() {
        match scope {
            "profile" => {
                put("name", json!(person.name));
                put("given_name", json!(subject.profile.first_name));
                put("family_name", json!(subject.profile.last_name));
                put("zoneinfo", text("timezone"));
                put("locale", text("language"));
                put("preferred_username", json!(person.display_username.as_ref().or(person.username.as_ref())));
                put("picture", json!(person.image));
                put("updated_at", json!(person.updated_at / 1000));
            }
            "email" => {
                put("email", json!(person.email));
                put("email_verified", json!(person.email_verified));
            }
            "phone" if person.phone_number.is_some() => {
                put("phone_number", json!(person.phone_number));
                put("phone_number_verified", json!(person.phone_number_verified));
            }
            // Section 5.1.1: an object, of which a text alone is the whole.
            "address" => match subject.profile.profile.get("address") {
                Some(Value::Object(parts)) if !parts.is_empty() => put("address", json!(parts)),
                Some(Value::String(whole)) if !whole.is_empty() => put("address", json!({ "formatted": whole })),
                _ => (),
            },
            "roles" => put("roles", json!(subject.roles)),
            "groups" => put("groups", json!(subject.profile.groups)),
            "org" => put("org", json!({ "id": subject.tenant.0, "name": subject.tenant.1 })),
            _ => (),
        }
    }
    claims
}

/// The claims asked for one by one, whichever scopes were granted.
#[must_use]
pub fn by_name(subject: &Subject<'_>, names: &[String]) -> Map<String, Value> {
    let scopes: Vec<&str> = names.iter().filter_map(|name| scope_of(name)).collect();
    let mut claims = by_scope(subject, &scopes.join(" "));
    claims.retain(|name, _| names.iter().any(|wanted| wanted == name));
    claims
}

/// What a user is asked with.
#[must_use]
pub fn words(scope: &str) -> Cow<'_, str> {
    if let Some(resource) = scope.strip_prefix(RESOURCE) {
        return format!("Use {resource} in your name").into();
    }
    SCOPES.iter().find(|(name, _)| *name == scope).map_or(scope, |(_, words)| words).into()
}
