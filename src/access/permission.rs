//! Permissions: a resource and what may be done with it, `organization:update`.
//!
//! PURE: no I/O, no clock, no randomness.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an owner holds: everything that there is, and that tenants make up.
pub const EVERYTHING: &str = "*:*";

/// The most resources, and actions of one, that a client may name.
const MOST: usize = 100;

/// The longest name of a resource or an action, in bytes.
const LONGEST: usize = 64;

/// The server's own resources and what is done with them. A tenant adds resources of its own, and nothing to these.
pub const SYSTEM: &[(&str, &[&str])] = &[
    ("organization", &["update", "delete"]),
    ("member", &["create", "update", "delete"]),
    ("invitation", &["create", "cancel"]),
    ("team", &["create", "update", "delete"]),
    ("ac", &["create", "read", "update", "delete"]),
    ("policy", &["read", "update"]),
    ("apiKey", &["create", "read", "update", "delete"]),
    (
        "user",
        &[
            "create",
            "list",
            "get",
            "update",
            "set-email",
            "set-role",
            "set-password",
            "ban",
            "impersonate",
            "impersonate-admins",
            "delete",
        ],
    ),
    ("session", &["list", "revoke", "delete"]),
    ("issuer", &["manage"]),
    ("client", &["manage"]),
    ("tenant", &["manage"]),
];

/// A set of permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Permissions(BTreeSet<String>);

/// Why a client's statement of permissions is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadStatement(pub String);

impl Permissions {
    /// Reads `{"resource":["action"]}`.
    ///
    /// # Errors
    /// [`BadStatement`] with the path of what is wrong.
    pub fn parse(value: &Value) -> Result<Self, BadStatement> {
        let Value::Object(members) = value else {
            return Err(BadStatement("Invalid input: expected object".to_owned()));
        };
        if members.len() > MOST {
            return Err(BadStatement(format!("Too big: expected object to have <={MOST} members")));
        }
        let mut set = BTreeSet::new();
        for (resource, actions) in members {
            let bad = |what: &str| BadStatement(format!("{what}: {resource:.64}"));
            if !is_name(resource) {
                return Err(bad("Invalid resource"));
            }
            let actions = actions.as_array().filter(|actions| actions.len() <= MOST);
            for action in actions.ok_or_else(|| bad("Invalid actions"))? {
                let action = action.as_str().filter(|action| is_name(action)).ok_or_else(|| bad("Invalid action"))?;
                set.insert(format!("{resource}:{action}"));
            }
        }
        Ok(Self(set))
    }

    /// A set of `resource:action`, as our own database says it.
    #[must_use]
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its members, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether it allows `resource:action`.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.0.contains(name) || self.0.contains(EVERYTHING)
    }

    /// What of `wanted` it does not allow.
    #[must_use]
    pub fn lacks<'a>(&self, wanted: &'a Self) -> Vec<&'a str> {
        wanted.iter().filter(|name| !self.allows(name)).collect()
    }

    /// Whether all of `wanted` is allowed. Nobody grants, or acts upon, what they do not hold.
    #[must_use]
    pub fn covers(&self, wanted: &Self) -> bool {
        wanted.iter().all(|name| self.allows(name))
    }

    /// What both allow.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        if self.0.contains(EVERYTHING) {
            return other.clone();
        }
        Self(self.0.iter().filter(|name| other.allows(name)).cloned().collect())
    }

    /// Those that no tenant knows unless it makes them up. `Err` names the first that is no action of a resource of the
    /// server's own.
    ///
    /// # Errors
    /// The name.
    pub fn own(&self) -> Result<Vec<&str>, &str> {
        let mut own = Vec::new();
        for name in self.iter() {
            let (resource, action) = name.split_once(':').unwrap_or((name, ""));
            match SYSTEM.iter().find(|(system, _)| *system == resource) {
                Some((_, actions)) if actions.contains(&action) => (),
                Some(_) => return Err(name),
                None => own.push(name),
            }
        }
        Ok(own)
    }

    /// The same as `{"resource":["action"]}`.
    #[must_use]
    pub fn statements(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut statements: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in self.iter() {
            let (resource, action) = name.split_once(':').unwrap_or((name, ""));
            statements.entry(resource).or_default().push(action);
        }
        statements
    }
}

/// Whether a text may name a resource or an action.
fn is_name(text: &str) -> bool {
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    begins && text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(names: &[&str]) -> Permissions {
        Permissions::of(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn statements_are_read_and_said() {
        let read = Permissions::parse(&json!({"project": ["create", "delete"], "ac": ["read"], "empty": []}));
        let read = read.expect("statements");
        assert_eq!(read, set(&["project:create", "project:delete", "ac:read"]));
        assert_eq!(json!(read.statements()), json!({"ac": ["read"], "project": ["create", "delete"]}));
        assert_eq!(read.own(), Ok(vec!["project:create", "project:delete"]));
        assert_eq!(set(&["ac:fly"]).own(), Err("ac:fly"));
    }

    #[test]
    fn what_is_no_statement_is_refused() {
        for value in [
            json!(null),
            json!([]),
            json!("x"),
            json!({"a": "b"}),
            json!({"a": [1]}),
            json!({"a": [null]}),
            json!({"": ["b"]}),
            json!({"*": ["*"]}),
            json!({"a": ["*"]}),
            json!({"a:b": ["c"]}),
            json!({"a": ["b:c"]}),
            json!({"a b": ["c"]}),
            json!({"-a": ["c"]}),
            json!({"a": ["c\u{0}"]}),
            json!({"ä": ["c"]}),
            json!({ "a": ["x".repeat(65)] }),
            json!({ "a": vec!["x"; 101] }),
        ] {
            assert!(Permissions::parse(&value).is_err(), "{value}");
        }
        // Names that mean something in JavaScript mean nothing here.
        for name in ["constructor", "toString", "hasOwnProperty"] {
            let read = Permissions::parse(&json!({ name: ["call"] })).expect("a statement");
            assert!(!set(&["ac:read"]).covers(&read));
        }
        assert!(Permissions::parse(&json!({"__proto__": ["x"]})).is_err());
    }

    #[test]
    fn everything_is_everything() {
        let (owner, admin) = (set(&[EVERYTHING]), set(&["ac:read", "team:create"]));
        assert!(owner.covers(&admin) && owner.covers(&owner) && owner.allows("made:up"));
        assert!(!admin.covers(&owner), "nobody but an owner grants everything");
        assert_eq!(admin.lacks(&set(&["ac:read", "ac:delete"])), ["ac:delete"]);
        assert_eq!(owner.intersection(&admin), admin);
        assert_eq!(admin.intersection(&owner), admin);
        assert_eq!(admin.intersection(&set(&["ac:read", "x:y"])), set(&["ac:read"]));
        assert!(admin.covers(&set(&[])));
    }
}
