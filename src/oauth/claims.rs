//! What a client is told of a user, by scope (OpenID Connect Core 1.0, section 5.4).

use serde_json::{Map, Value, json};

use crate::session::Person;

/// The scopes that we give a meaning, and the words that a user is asked with.
pub const SCOPES: [(&str, &str); 7] = [
    ("openid", "Know who you are"),
    ("profile", "See your name and picture"),
    ("email", "See your e-mail address"),
    ("phone", "See your phone number"),
    ("offline_access", "Stay signed in while you are away"),
    ("roles", "See your roles"),
    ("org", "See which organization you signed in to"),
];

/// The user and their place in the tenant.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The user.
    pub person: &'a Person,
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
    for scope in scope.split_whitespace() {
        match scope {
            "profile" => {
                put("name", json!(person.name));
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
            "roles" => put("roles", json!(subject.roles)),
            "org" => put("org", json!({ "id": subject.tenant.0, "name": subject.tenant.1 })),
            _ => (),
        }
    }
    claims
}

/// What a user is asked with.
#[must_use]
pub fn words(scope: &str) -> &str {
    SCOPES.iter().find(|(name, _)| *name == scope).map_or(scope, |(_, words)| words)
}
