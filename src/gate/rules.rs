//! Access rules: what a request to a protected host needs.

use serde::{Deserialize, Serialize};

use crate::gate::path;

/// What is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "access", content = "roles", rename_all = "snake_case")]
pub enum Access {
    /// Nothing.
    Public,
    /// A session of a member of the app's tenant.
    SignedIn,
    /// That, and one of these roles.
    Role(Vec<String>),
    /// Nobody gets in.
    Deny,
}

/// One row of `access_rule`.
#[derive(Clone, Debug, Deserialize)]
pub struct Rule {
    /// `/exact`, or `/prefix/*`.
    pub path: String,
    /// Method names; none is all.
    pub methods: Vec<String>,
    /// What is needed.
    #[serde(flatten)]
    pub access: Access,
}

impl Rule {
    fn covers(&self, method: &str, path: &str) -> bool {
        // HEAD is GET without its body: a rule for one that missed the other would leak by it.
        let same = |name: &String| name == method || (name == "GET" && method == "HEAD");
        let method_ok = self.methods.is_empty() || self.methods.iter().any(same);
        let path_ok = match self.path.strip_suffix("/*") {
            Some(prefix) => path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            // A trailing slash makes no other resource for most origins.
            None => path.trim_end_matches('/') == self.path.trim_end_matches('/'),
        };
        method_ok && path_ok
    }
}

/// Everything that the readings of a path ask for, to be satisfied together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs(Vec<Access>);

/// Who asks, as far as rules care.
#[derive(Clone, Copy, Debug)]
pub struct Visitor<'a> {
    /// Whether they are a member of the app's tenant.
    pub is_member: bool,
    /// Their roles in it.
    pub roles: &'a [String],
}

/// The gate's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward.
    Pass,
    /// Signing in may help.
    SignIn,
    /// Nothing helps, or another account would.
    Forbidden,
}

/// What a request needs: the first rule that covers it, for every reading of its path, all together.
#[must_use]
pub fn needs(rules: &[Rule], default: &Access, method: &str, path: &str) -> Needs {
    if path::is_hostile(path) {
        return Needs(vec![Access::Deny]);
    }
    let method = method.to_ascii_uppercase();
    let mut needs: Vec<Access> = Vec::new();
    for reading in path::readings(path) {
        let rule = rules.iter().find(|rule| rule.covers(&method, &reading));
        let access = rule.map_or(default, |rule| &rule.access);
        if !needs.contains(access) {
            needs.push(access.clone());
        }
    }
    Needs(needs)
}

impl Needs {
    /// Whether anybody may pass, signed in or not.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.0.iter().all(|access| *access == Access::Public)
    }

    /// The decision about a visitor; `None` is one who is not signed in.
    #[must_use]
    pub fn judge(&self, visitor: Option<Visitor<'_>>) -> Verdict {
        if self.0.contains(&Access::Deny) {
            return Verdict::Forbidden;
        }
        if self.is_public() {
            return Verdict::Pass;
        }
        let Some(visitor) = visitor else {
            return Verdict::SignIn;
        };
        let satisfied = |access: &Access| match access {
            Access::Public => true,
            Access::SignedIn => visitor.is_member,
            Access::Role(any) => visitor.is_member && visitor.roles.iter().any(|role| any.contains(role)),
            Access::Deny => false,
        };
        if self.0.iter().all(satisfied) { Verdict::Pass } else { Verdict::Forbidden }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Vec<Rule> {
        let rule = |path: &str, methods: &[&str], access| Rule {
            path: path.to_owned(),
            methods: methods.iter().map(|m| (*m).to_owned()).collect(),
            access,
        };
        vec![
            rule("/internal/*", &[], Access::Deny),
            rule("/admin/*", &[], Access::Role(vec!["admin".to_owned()])),
            rule("/public/*", &[], Access::Public),
            rule("/api/items", &["GET"], Access::Public),
            rule("/health", &[], Access::Public),
        ]
    }

    fn judge(method: &str, path: &str, visitor: Option<&[&str]>) -> Verdict {
        let roles: Vec<String> = visitor.unwrap_or_default().iter().map(|r| (*r).to_owned()).collect();
        let visitor = visitor.map(|_| Visitor { is_member: true, roles: &roles });
        needs(&rules(), &Access::SignedIn, method, path).judge(visitor)
    }

    #[test]
    fn the_table_of_rules() {
        use Verdict::{Forbidden, Pass, SignIn};
        for (method, path, nobody, member, admin) in [
            ("GET", "/", SignIn, Pass, Pass),
            ("GET", "/public", Pass, Pass, Pass),
            ("GET", "/public/", Pass, Pass, Pass),
            ("GET", "/public/a.css", Pass, Pass, Pass),
            ("GET", "/publicity", SignIn, Pass, Pass),
            ("POST", "/public/x", Pass, Pass, Pass),
            ("GET", "/admin", SignIn, Forbidden, Pass),
            ("DELETE", "/admin/users/1", SignIn, Forbidden, Pass),
            ("GET", "/administer", SignIn, Pass, Pass),
            ("GET", "/internal/x", Forbidden, Forbidden, Forbidden),
            ("GET", "/api/items", Pass, Pass, Pass),
            ("HEAD", "/api/items", Pass, Pass, Pass),
            ("get", "/api/items/", Pass, Pass, Pass),
            ("POST", "/api/items", SignIn, Pass, Pass),
            ("GET", "/api/items/7", SignIn, Pass, Pass),
            ("PROPFIND", "/health", Pass, Pass, Pass),
            ("GET", "/public/../admin", SignIn, Forbidden, Pass),
            ("GET", "/public/..%2fadmin", SignIn, Forbidden, Pass),
            ("GET", "/public/..;/admin", SignIn, Forbidden, Pass),
            ("GET", "/public/%2e%2e/internal", Forbidden, Forbidden, Forbidden),
            ("GET", "/;/admin", SignIn, Forbidden, Pass),
            ("GET", "//admin", SignIn, Forbidden, Pass),
            ("GET", "/ADMIN/", SignIn, Forbidden, Pass),
            ("GET", "/Internal/x", Forbidden, Forbidden, Forbidden),
            ("GET", "/%25252561", Forbidden, Forbidden, Forbidden),
            ("GET", "/PUBLIC/x", SignIn, Pass, Pass),
        ] {
            assert_eq!(judge(method, path, None), nobody, "nobody {method} {path}");
            assert_eq!(judge(method, path, Some(&["member"])), member, "member {method} {path}");
            assert_eq!(judge(method, path, Some(&["member", "admin"])), admin, "admin {method} {path}");
        }
    }

    #[test]
    fn who_is_no_member_of_the_tenant_is_signed_in_in_vain() {
        let roles = ["admin".to_owned()];
        let stranger = Some(Visitor { is_member: false, roles: &roles });
        for path in ["/", "/admin"] {
            assert_eq!(needs(&rules(), &Access::SignedIn, "GET", path).judge(stranger), Verdict::Forbidden);
        }
        assert_eq!(needs(&rules(), &Access::SignedIn, "GET", "/health").judge(stranger), Verdict::Pass);
    }

    #[test]
    fn a_rule_is_read_from_its_row() {
        let row = r#"{"path":"/a/*","methods":["GET"],"access":"role","roles":["x"]}"#;
        let rule: Rule = serde_json::from_str(row).expect("a rule");
        assert_eq!(rule.access, Access::Role(vec!["x".to_owned()]));
    }
}
