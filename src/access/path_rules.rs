//! Access rules: what a request to a protected host needs.
//!
//! PURE: no I/O, no clock, no randomness.

use serde::{Deserialize, Serialize};

use crate::access::path;

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

/// One row of `access_rule`, as it was written.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// `/exact`, or `/prefix/*`.
    pub path: String,
    /// Method names; none is all.
    pub methods: Vec<String>,
    /// What is needed.
    #[serde(flatten)]
    pub access: Access,
}

/// Why a rule cannot be meant as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The path does not begin with a slash.
    NotAbsolute,
    /// A `*` that is not the `/*` at the end.
    Wildcard,
    /// A path that servers read as another one, or that no request has.
    Path,
    /// A method that is no upper-case name.
    Method(String),
    /// A rule for roles without one, or roles with another rule.
    Roles,
    /// A role that the tenant does not have.
    UnknownRole(String),
}

impl Row {
    /// Whether the rule says what it means, to be asked before it is written. `known` are the roles of the app's tenant.
    /// The table's triggers ask the same of what is written by SQL.
    ///
    /// # Errors
    /// The first [`Problem`].
    pub fn check(&self, known: &[String]) -> Result<(), Problem> {
        Pattern::read(&self.path)?;
        if let Some(method) = self.methods.iter().find(|method| !is_method(method)) {
            return Err(Problem::Method(method.clone()));
        }
        match &self.access {
            Access::Role(roles) if roles.is_empty() => Err(Problem::Roles),
            Access::Role(roles) => match roles.iter().find(|role| !known.contains(role)) {
                Some(role) => Err(Problem::UnknownRole(role.clone())),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// Whether it is the name of a method (RFC 9110, section 9.1) in capitals, as all that are registered.
fn is_method(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}

/// A rule, ready to be compared with what a path may be read as.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Row")]
pub struct Rule {
    methods: Vec<String>,
    access: Access,
    /// For origins that tell capitals from small letters.
    exact: Vec<Pattern>,
    /// For origins that do not.
    folded: Vec<Pattern>,
}

/// The paths that a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    text: String,
    reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The path itself.
    Exact,
    /// That, and all below it.
    Below,
    /// Whatever begins like it.
    Beginning,
}

impl Pattern {
    /// Reads a rule's path, which may be percent-encoded.
    fn read(path: &str) -> Result<Self, Problem> {
        if !path.starts_with('/') {
            return Err(Problem::NotAbsolute);
        }
        let (text, reach) = match path.strip_suffix("/*") {
            Some(prefix) => (prefix, Reach::Below),
            None => (path, Reach::Exact),
        };
        if text.contains('*') {
            return Err(Problem::Wildcard);
        }
        // A server that changes such a path would never see it, and the rule would be about another one than it says.
        let one = path::readings(text).is_some_and(|readings| readings.exact.len() == 1);
        let text = path::usual(text).into_owned();
        let is_bare = !text.chars().any(|c| c.is_control() || "*?#;\\%".contains(c) || is_combining(c));
        if one && is_bare { Ok(Self { text, reach }) } else { Err(Problem::Path) }
    }

    /// All that a path may be about that cannot be understood: each of its readings, and whatever begins like it before
    /// a `*`.
    fn widest(path: &str) -> Vec<Self> {
        let Some(readings) = path::readings(&format!("/{}", path.trim_start_matches('/'))) else {
            return vec![Self { text: String::new(), reach: Reach::Beginning }];
        };
        let pattern = |text: &String| match text.split_once('*') {
            Some((beginning, _)) => Self { text: beginning.to_owned(), reach: Reach::Beginning },
            None => Self { text: text.clone(), reach: Reach::Exact },
        };
        readings.exact.iter().map(pattern).collect()
    }

    fn covers(&self, path: &str) -> bool {
        match self.reach {
            // A trailing slash makes no other resource for most origins.
            Reach::Exact => path.trim_end_matches('/') == self.text.trim_end_matches('/'),
            Reach::Below => path.strip_prefix(&self.text).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Reach::Beginning => path.starts_with(&self.text),
        }
    }
}

/// Whether a character changes the one before it: the same letter may be written without it.
const fn is_combining(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

impl From<Row> for Rule {
    /// A rule that cannot be understood lets nobody in: where it opens something it opens nothing, and otherwise all that
    /// it may be about is closed.
    fn from(row: Row) -> Self {
        let methods: Vec<String> = row.methods.iter().map(|method| method.to_ascii_uppercase()).collect();
        let is_understood = methods.iter().all(|method| is_method(method));
        let (exact, methods, access) = match Pattern::read(&row.path) {
            Ok(pattern) if is_understood => (vec![pattern], methods, row.access),
            _ if row.access == Access::Public => (Vec::new(), methods, row.access),
            Ok(pattern) => (vec![pattern], Vec::new(), Access::Deny),
            Err(_) if is_understood => (Pattern::widest(&row.path), methods, Access::Deny),
            Err(_) => (Pattern::widest(&row.path), Vec::new(), Access::Deny),
        };
        let fold = |pattern: &Pattern| Pattern { text: path::fold(&pattern.text), reach: pattern.reach };
        Self { folded: exact.iter().map(fold).collect(), methods, access, exact }
    }
}

impl Rule {
    fn is_about(&self, method: &str) -> bool {
        // HEAD is GET without its body: a rule for one that missed the other would leak by it.
        let same = |name: &String| name == method || (name == "GET" && method == "HEAD");
        self.methods.is_empty() || self.methods.iter().any(same)
    }
}

/// Everything that the readings of a path ask for, to be satisfied together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs(Vec<Access>);

/// The role that covers every other.
const OWNER: &str = "owner";

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
///
/// An origin that tells capitals from small letters does so in rules too, and one that does not in neither: what a path
/// is for each of them is compared with what the rules are for it.
#[must_use]
pub fn needs(rules: &[Rule], default: &Access, method: &str, path: &str) -> Needs {
    let Some(readings) = path::readings(path) else {
        return Needs(vec![Access::Deny]);
    };
    let method = method.to_ascii_uppercase();
    let rules: Vec<&Rule> = rules.iter().filter(|rule| rule.is_about(&method)).collect();
    let mut needs: Vec<Access> = Vec::new();
    let mut judge = |reading: &str, patterns: fn(&Rule) -> &[Pattern]| {
        let rule = rules.iter().find(|rule| patterns(rule).iter().any(|pattern| pattern.covers(reading)));
        let access = rule.map_or(default, |rule| &rule.access);
        if !needs.contains(access) {
            needs.push(access.clone());
        }
    };
    for reading in &readings.exact {
        judge(reading, |rule| &rule.exact);
    }
    for reading in &readings.folded {
        judge(reading, |rule| &rule.folded);
    }
    Needs(needs)
}

impl Needs {
    /// What is needed by another spelling of the same path as well.
    pub fn add(&mut self, other: Self) {
        for access in other.0 {
            if !self.0.contains(&access) {
                self.0.push(access);
            }
        }
    }

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
            // An owner may do everything in the tenant, its websites among it.
            Access::Role(any) => {
                visitor.is_member && visitor.roles.iter().any(|role| role == OWNER || any.contains(role))
            }
            Access::Deny => false,
        };
        if self.0.iter().all(satisfied) { Verdict::Pass } else { Verdict::Forbidden }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn row(path: &str, methods: &[&str], access: Access) -> Row {
        Row { path: path.to_owned(), methods: methods.iter().map(|m| (*m).to_owned()).collect(), access }
    }

    fn rule(path: &str, methods: &[&str], access: Access) -> Rule {
        row(path, methods, access).into()
    }

    #[test]
    fn an_owner_passes_where_any_role_is_asked_for_and_nowhere_else() {
        let judge = |access, roles: &[&str], is_member| {
            let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            Needs(vec![access]).judge(Some(Visitor { is_member, roles: &roles }))
        };
        let admin = Access::Role(vec!["admin".to_owned()]);
        assert_eq!(judge(admin.clone(), &["owner"], true), Verdict::Pass);
        assert_eq!(judge(admin.clone(), &["owner"], false), Verdict::Forbidden);
        assert_eq!(judge(admin, &["member"], true), Verdict::Forbidden);
        assert_eq!(judge(Access::Deny, &["owner"], true), Verdict::Forbidden);
    }

    fn rules() -> Vec<Rule> {
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

    #[test]
    fn a_rule_holds_for_its_path_in_every_spelling_of_either() {
        let spellings = [
            "/admin",
            "/Admin",
            "/ADMIN",
            "/%61dmin",
            "/%41dmin",
            "/adm%69n/",
            "/admin/",
            "//admin",
            "/x/../admin",
            "/admin.;x",
            "/%2561dmin",
            "/%u0061dmin",
        ];
        let admin = || Access::Role(vec!["admin".to_owned()]);
        for written in ["/admin", "/Admin", "/ADMIN", "/%61dmin", "/%41DMIN", "/aDmi%6e/"] {
            for written in [written.to_owned(), format!("{}/*", written.trim_end_matches('/'))] {
                for (access, nobody) in [(Access::Deny, Verdict::Forbidden), (admin(), Verdict::SignIn)] {
                    let rules = [rule(&written, &[], access)];
                    for path in spellings {
                        let verdict = needs(&rules, &Access::Public, "GET", path).judge(None);
                        assert_eq!(verdict, nobody, "{path} by a rule {written}");
                    }
                    assert_eq!(needs(&rules, &Access::Public, "GET", "/administer").judge(None), Verdict::Pass);
                }
            }
        }
    }

    #[test]
    fn what_a_rule_opens_is_open_as_it_is_written_and_no_further() {
        let rules = [rule("/Public/*", &[], Access::Public), rule("/caf%C3%A9/a%20b", &[], Access::Public)];
        for path in ["/Public", "/Public/x", "/Public/X.css", "/%50ublic/x", "/café/a b", "/caf%c3%a9/a%20b"] {
            assert_eq!(needs(&rules, &Access::SignedIn, "GET", path).judge(None), Verdict::Pass, "{path}");
        }
        // To an origin that tells them apart it is another path.
        for path in ["/public/x", "/PUBLIC/x", "/Public/../x", "/Public%2fx", "/CAFÉ/a b", "/café%2fa b"] {
            assert_eq!(needs(&rules, &Access::SignedIn, "GET", path).judge(None), Verdict::SignIn, "{path}");
        }
    }

    #[test]
    fn an_earlier_rule_in_capitals_does_not_weaken_a_later_one() {
        let admin = Access::Role(vec!["admin".to_owned()]);
        let rules = [rule("/Admin/*", &[], admin), rule("/admin/*", &[], Access::Deny)];
        let held = ["admin".to_owned()];
        let visitor = Some(Visitor { is_member: true, roles: &held });
        assert_eq!(needs(&rules, &Access::SignedIn, "GET", "/admin/x").judge(visitor), Verdict::Forbidden);
        assert_eq!(needs(&rules, &Access::SignedIn, "GET", "/Admin/x").judge(visitor), Verdict::Pass);
    }

    #[test]
    fn methods_are_compared_in_capitals() {
        for written in ["post", "Post", "POST"] {
            let rules = [rule("/x", &[written], Access::Deny)];
            for method in ["post", "POST"] {
                assert_eq!(needs(&rules, &Access::Public, method, "/x").judge(None), Verdict::Forbidden, "{written}");
            }
            assert_eq!(needs(&rules, &Access::Public, "GET", "/x").judge(None), Verdict::Pass);
        }
    }

    #[test]
    fn a_rule_that_cannot_be_understood_opens_nothing_and_closes_all_that_it_may_be_about() {
        let everybody = ["admin".to_owned()];
        let visitor = Some(Visitor { is_member: true, roles: &everybody });
        for (written, method, path) in [
            ("/x*", "GET", "/xy/z"),
            ("/a/*/b", "GET", "/a/1/b"),
            ("/*.png", "GET", "/a.png"),
            ("/a//b", "GET", "/a/b"),
            ("/a/../b", "GET", "/b"),
            ("/a?x=1", "GET", "/a"),
            ("/a;b", "GET", "/a"),
            ("/a%2fb", "GET", "/a/b"),
            ("/a/**", "GET", "/a/b/c"),
            ("a/b", "GET", "/a/b"),
            ("/%25252561", "GET", "/whatever"),
        ] {
            for access in [Access::Deny, Access::Role(everybody.to_vec()), Access::SignedIn] {
                let rules = [rule(written, &[], access)];
                let verdict = needs(&rules, &Access::Public, method, path).judge(visitor);
                assert_eq!(verdict, Verdict::Forbidden, "{path} by a rule {written}");
            }
            let rules = [rule(written, &[], Access::Public)];
            assert_eq!(needs(&rules, &Access::SignedIn, method, path).judge(None), Verdict::SignIn, "{written}");
        }
        let rules = [rule("/x", &["GET,POST"], Access::SignedIn)];
        assert_eq!(needs(&rules, &Access::Public, "POST", "/x").judge(visitor), Verdict::Forbidden);
        let rules = [rule("/x", &["*"], Access::Public)];
        assert_eq!(needs(&rules, &Access::SignedIn, "GET", "/x").judge(None), Verdict::SignIn);
    }

    #[test]
    fn a_rule_that_does_not_say_what_it_means_is_refused_before_it_is_written() {
        let known = ["admin".to_owned()];
        for path in ["/", "/*", "/a", "/a/*", "/Admin/x-y_z.css", "/café/*", "/caf%C3%A9", "/a%20b/*", "/~user/@x/(1)"]
        {
            assert_eq!(row(path, &[], Access::Deny).check(&known), Ok(()), "{path}");
        }
        for (path, problem) in [
            ("", Problem::NotAbsolute),
            ("admin/*", Problem::NotAbsolute),
            ("*", Problem::NotAbsolute),
            ("/x*", Problem::Wildcard),
            ("/a/*/b", Problem::Wildcard),
            ("/a/**", Problem::Wildcard),
            ("/a%2A", Problem::Path),
            ("/a//b", Problem::Path),
            ("/a/../b", Problem::Path),
            ("/a/./b", Problem::Path),
            ("/a/%2e%2e/b", Problem::Path),
            ("/a?x", Problem::Path),
            ("/a#x", Problem::Path),
            ("/a;b", Problem::Path),
            ("/a\\b", Problem::Path),
            ("/a%2fb", Problem::Path),
            ("/a%5cb", Problem::Path),
            ("/a%25b", Problem::Path),
            ("/a%00", Problem::Path),
            ("/a ", Problem::Path),
            ("/a.", Problem::Path),
            ("/a%ff", Problem::Path),
            ("/cafe\u{301}", Problem::Path),
            ("/\u{ff41}dmin", Problem::Path),
        ] {
            assert_eq!(row(path, &[], Access::Deny).check(&known), Err(problem), "{path}");
        }
        for method in ["get", "Get", "GET ", "", "*", "GET,POST"] {
            let problem = Problem::Method(method.to_owned());
            assert_eq!(row("/a", &["GET", method], Access::Deny).check(&known), Err(problem));
        }
        assert_eq!(row("/a", &["GET", "M-SEARCH"], Access::SignedIn).check(&known), Ok(()));
        let roles = |names: &[&str]| Access::Role(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(row("/a", &[], roles(&["admin"])).check(&known), Ok(()));
        assert_eq!(row("/a", &[], roles(&[])).check(&known), Err(Problem::Roles));
        let unknown = Problem::UnknownRole("Admin".to_owned());
        assert_eq!(row("/a", &[], roles(&["admin", "Admin"])).check(&known), Err(unknown));
    }
}
