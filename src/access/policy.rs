//! `tenant.security_policy`: what a tenant asks of its users' sessions, second factors and addresses.
//!
//! A policy is an object of three, all optional: `session`, `twoFactor` and `ipRestrictions`. It is read exactly: a key
//! misspelt (`twoFactor.graceLogin`) would be a restriction that its author believes in and nobody enforces.
//!
//! PURE: no I/O, no clock, no randomness.

use std::fmt;
use std::ops::RangeInclusive;

use chrono::DateTime;
use serde_json::{Map, Value, json};

use crate::access::network;
use crate::access::network::{IpRefusal, IpRestrictions, Network};
use crate::platform::id::Millis;
use crate::platform::time::iso;

const DAY: Millis = 86_400_000;

/// 9999-12-31T23:59:59.999Z: later times have no ISO 8601 of four-digit years.
const LAST: Millis = 253_402_300_799_999;

/// The most entries of each list of addresses: all of them are compared at every sign-in.
const MOST_NETWORKS: usize = 1000;

/// The most roles exempt.
const MOST_ROLES: usize = 100;

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// Where: `ipRestrictions.allowedRanges[2]`; empty for the policy itself.
    pub path: String,
    /// What.
    pub text: String,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.path, self.text)
    }
}

impl std::error::Error for PolicyProblem {}

/// A policy that was read. It has no `Default`, on purpose: `parse(…).unwrap_or_default()` would let everybody in by a
/// policy that is broken. The one that restricts nothing is that of `{}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityPolicy {
    session: SessionTerms,
    two_factor: TwoFactorTerms,
    ip: IpRestrictions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SessionTerms {
    most: Option<i64>,
    seconds: Option<i64>,
    extends: bool,
    requires_mfa: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TwoFactorTerms {
    is_required: bool,
    enforced_at: Option<Millis>,
    grace_logins: i64,
    grace_days: i64,
    allows_backup_codes: bool,
    allows_trusted_devices: bool,
    exempt_roles: Vec<String>,
}

/// Who signs in, or has a session, as far as a second factor is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Whether they can give one: enrolled, or with a passkey that verifies its user.
    pub has_second_factor: bool,
    /// Whether this session was begun with more than one factor, or such a passkey.
    pub satisfied: bool,
    /// Their roles in the tenant.
    pub roles: &'a [String],
    /// How often they signed in since it is asked of them, this time included.
    pub logins_since_enforcement: i64,
    /// When it was first asked of them; `None` is the enforcement date. With a policy that has no such date, whoever
    /// is asked for the first time needs `Some(now)` here, and that it be kept: see [`SecurityPolicy::second_factor`].
    pub first_required_at: Option<Millis>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing.
    NotRequired,
    /// A second factor, which was given.
    Satisfied,
    /// The second factor that they have.
    AskFactor,
    /// They have none, and may go without for now: so many times after this one, and until then. `None` sets no bound.
    Grace {
        /// Sign-ins left.
        logins_left: Option<i64>,
        /// The first moment when it is over.
        until: Option<Millis>,
    },
    /// They have none, and may do nothing but set one up.
    Enrol,
}

impl SecurityPolicy {
    /// Reads a policy. Lists are sets: they are sorted, and what is in them twice counts once.
    ///
    /// A stored policy that is not read must never be taken for none: it is an internal error, and nobody gets in.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(policy: &Value) -> Result<Self, Vec<PolicyProblem>> {
        let mut problems = Vec::new();
        let mut root = Section::new(String::new(), policy, &mut problems);
        let [session, two_factor, ip] = ["session", "twoFactor", "ipRestrictions"].map(|name| root.get(name));
        root.close();
        let policy = Self {
            session: SessionTerms::read(Section::of("session", session, &mut problems)),
            two_factor: TwoFactorTerms::read(Section::of("twoFactor", two_factor, &mut problems)),
            ip: read_restrictions(Section::of("ipRestrictions", ip, &mut problems)),
        };
        if problems.is_empty() { Ok(policy) } else { Err(problems) }
    }

    /// Its canonical form, every key of it, that [`SecurityPolicy::parse`] reads as the same policy.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Self { session, two_factor, ip } = self;
        let texts = |texts: &mut dyn Iterator<Item = String>| texts.map(Value::String).collect::<Vec<Value>>();
        json!({
            "session": {
                "maxConcurrentSessions": session.most,
                "sessionTimeout": session.seconds,
                "extendOnActivity": session.extends,
                "requireMFA": session.requires_mfa,
            },
            "twoFactor": {
                "required": two_factor.is_required,
                "enforcementDate": two_factor.enforced_at.map(iso),
                "graceLogins": two_factor.grace_logins,
                "gracePeriodDays": two_factor.grace_days,
                "allowBackupCodes": two_factor.allows_backup_codes,
                "allowRememberDevice": two_factor.allows_trusted_devices,
                "exemptRoles": two_factor.exempt_roles,
            },
            "ipRestrictions": {
                "enabled": ip.enabled,
                "allowedIPs": texts(&mut ip.allowed_ips.iter().map(ToString::to_string)),
                "allowedRanges": texts(&mut ip.allowed_ranges.iter().map(ToString::to_string)),
                "blockList": texts(&mut ip.block_list.iter().map(Network::shortest)),
            },
        })
    }

    /// Decides about the second factor.
    ///
    /// `session.requireMFA` asks for it of everybody, at once. `twoFactor.required` asks for it from `enforcementDate`
    /// on (without one: since ever) of whoever has no role that is exempt, and leaves those who have none a grace: so
    /// many logins, or so many days, whichever ends first. The days count from the enforcement date, or from
    /// [`Facts::first_required_at`] where that is later: who joins later has as many. Where neither is known they are
    /// over: to begin them anew at each question would be grace without an end.
    #[must_use]
    pub fn second_factor(&self, facts: &Facts<'_>, now: Millis) -> Requirement {
        let by_role = self.two_factor.is_asked(facts.roles, now);
        if !self.session.requires_mfa && !by_role {
            return Requirement::NotRequired;
        }
        if facts.satisfied {
            return Requirement::Satisfied;
        }
        if facts.has_second_factor {
            return Requirement::AskFactor;
        }
        if self.session.requires_mfa {
            return Requirement::Enrol;
        }
        self.two_factor.grace(facts, now).unwrap_or(Requirement::Enrol)
    }

    /// Whether an address may sign in and go on; `None` is unknown.
    ///
    /// # Errors
    /// The refusal.
    pub fn admits(&self, ip: Option<&str>) -> Result<(), IpRefusal> {
        self.ip.admits(ip)
    }

    /// How long a session lives, in seconds.
    #[must_use]
    pub fn session_seconds(&self, default: i64) -> i64 {
        self.session.seconds.unwrap_or(default)
    }

    /// Whether a session that is used lives on.
    #[must_use]
    pub const fn extends(&self) -> bool {
        self.session.extends
    }

    /// How many sessions a user may have at once.
    #[must_use]
    pub const fn max_sessions(&self) -> Option<i64> {
        self.session.most
    }

    /// Whether a backup code is a second factor, required or not.
    #[must_use]
    pub const fn allows_backup_codes(&self) -> bool {
        self.two_factor.allows_backup_codes
    }

    /// Whether a browser may be remembered, and spared the second factor.
    #[must_use]
    pub const fn allows_trusted_devices(&self) -> bool {
        self.two_factor.allows_trusted_devices
    }

    /// Whether it changes nothing, whoever comes and whenever.
    #[must_use]
    pub fn is_trivial(&self) -> bool {
        let SessionTerms { most, seconds, extends, requires_mfa } = &self.session;
        let plain_session = most.is_none() && seconds.is_none() && *extends && !requires_mfa;
        // Enabled without any list it still refuses unknown addresses.
        let open = !self.two_factor.is_required && !self.ip.enabled;
        plain_session && open && self.allows_backup_codes() && self.allows_trusted_devices()
    }
}

impl SessionTerms {
    fn read(mut section: Section<'_, '_>) -> Self {
        let terms = Self {
            most: section.integer_or_null("maxConcurrentSessions", 1..=1000),
            seconds: section.integer_or_null("sessionTimeout", 60..=31_536_000),
            extends: section.flag("extendOnActivity", true),
            requires_mfa: section.flag("requireMFA", false),
        };
        section.close();
        terms
    }
}

impl TwoFactorTerms {
    fn read(mut section: Section<'_, '_>) -> Self {
        let terms = Self {
            is_required: section.flag("required", false),
            enforced_at: section.read("enforcementDate", None, |value| match value {
                Value::Null => Ok(None),
                value => moment(value).map(Some),
            }),
            grace_logins: section.read("graceLogins", 0, |value| integer(value, 0..=1000)),
            grace_days: section.read("gracePeriodDays", 0, |value| integer(value, 0..=365)),
            allows_backup_codes: section.flag("allowBackupCodes", true),
            allows_trusted_devices: section.flag("allowRememberDevice", true),
            exempt_roles: section.set("exemptRoles", MOST_ROLES, role),
        };
        section.close();
        terms
    }

    fn is_asked(&self, roles: &[String], now: Millis) -> bool {
        let is_exempt = roles.iter().any(|role| self.exempt_roles.contains(role));
        self.is_required && !is_exempt && self.enforced_at.is_none_or(|date| date <= now)
    }

    /// What is left of the grace, if any is.
    fn grace(&self, facts: &Facts<'_>, now: Millis) -> Option<Requirement> {
        if self.grace_logins == 0 && self.grace_days == 0 {
            return None;
        }
        let logins_left = match self.grace_logins {
            0 => None,
            // This one is a login, whatever was counted.
            logins => Some(logins.saturating_sub(facts.logins_since_enforcement.max(1))),
        };
        let until = match self.grace_days {
            0 => None,
            days => {
                // A first time that is yet to come is none: it would put off the end.
                let first = facts.first_required_at.filter(|first| *first <= now);
                // `max` takes the one that is there, or the later one: the date may have been put off meanwhile.
                Some(first.max(self.enforced_at)?.saturating_add(days.saturating_mul(DAY)))
            }
        };
        let is_left = logins_left.is_none_or(|left| left >= 0) && until.is_none_or(|until| now < until);
        is_left.then_some(Requirement::Grace { logins_left, until })
    }
}

fn read_restrictions(mut section: Section<'_, '_>) -> IpRestrictions {
    let why = |malformed: network::Malformed, text: &str| format!("{malformed}: {}", shown(text));
    let restrictions = IpRestrictions {
        enabled: section.flag("enabled", false),
        allowed_ips: section
            .set("allowedIPs", MOST_NETWORKS, |text| network::address(text).map_err(|bad| why(bad, text))),
        allowed_ranges: section
            .set("allowedRanges", MOST_NETWORKS, |text| Network::range(text).map_err(|bad| why(bad, text))),
        block_list: section.set("blockList", MOST_NETWORKS, |text| Network::parse(text).map_err(|bad| why(bad, text))),
    };
    section.close();
    restrictions
}

/// An object whose keys are read one by one; those that nobody asked for are unknown.
struct Section<'a, 'p> {
    path: String,
    entries: Option<&'a Map<String, Value>>,
    asked: Vec<&'static str>,
    problems: &'p mut Vec<PolicyProblem>,
}

impl<'a, 'p> Section<'a, 'p> {
    fn new(path: String, value: &'a Value, problems: &'p mut Vec<PolicyProblem>) -> Self {
        let entries = value.as_object();
        if entries.is_none() {
            problems.push(PolicyProblem { path: path.clone(), text: "not an object".to_owned() });
        }
        Self { path, entries, asked: Vec::new(), problems }
    }

    /// A section that may be missing: then all of its keys are.
    fn of(name: &str, value: Option<&'a Value>, problems: &'p mut Vec<PolicyProblem>) -> Self {
        match value {
            Some(value) => Self::new(name.to_owned(), value, problems),
            None => Self { path: name.to_owned(), entries: None, asked: Vec::new(), problems },
        }
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        self.entries?.get(key)
    }

    fn problem(&mut self, key: &str, text: String) {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.problems.push(PolicyProblem { path: format!("{}{dot}{key}", self.path), text });
    }

    /// A key's value; where it is wrong that is noted, and the policy refused in the end.
    fn read<T>(&mut self, key: &'static str, default: T, read: impl Fn(&Value) -> Result<T, String>) -> T {
        match self.get(key).map(read) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(text)) => {
                self.problem(key, text);
                default
            }
        }
    }

    fn integer_or_null(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        self.read(key, None, |value| match value {
            Value::Null => Ok(None),
            value => integer(value, range.clone()).map(Some),
        })
    }

    fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, default, |value| value.as_bool().ok_or_else(|| "neither true nor false".to_owned()))
    }

    fn set<T: Ord>(&mut self, key: &'static str, most: usize, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let Some(list) = value.as_array() else {
            self.problem(key, "not a list".to_owned());
            return Vec::new();
        };
        if list.len() > most {
            self.problem(key, format!("more than {most} entries"));
            return Vec::new();
        }
        let mut set = Vec::with_capacity(list.len());
        for (index, entry) in list.iter().enumerate() {
            match entry.as_str().ok_or_else(|| "not a text".to_owned()).and_then(&read) {
                Ok(entry) => set.push(entry),
                Err(text) => self.problem(&format!("{key}[{index}]"), text),
            }
        }
        set.sort_unstable();
        set.dedup();
        set
    }

    fn close(mut self) {
        for key in self.entries.into_iter().flat_map(Map::keys) {
            if !self.asked.contains(&key.as_str()) {
                // Quoted where it reads like a path: of `{"twoFactor.required": true}`, the key is what is wrong.
                let is_name = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
                let key = if is_name { shown(key) } else { format!("\"{}\"", shown(key)) };
                self.problem(&key, "unknown key".to_owned());
            }
        }
    }
}

/// What somebody wrote, short and without control characters: it goes into logs and answers.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(64).collect();
    format!("{}{}", cut.escape_debug(), if cut.len() < text.len() { "…" } else { "" })
}

fn integer(value: &Value, range: RangeInclusive<i64>) -> Result<i64, String> {
    let number = value.as_i64().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("not a whole number from {} to {}", range.start(), range.end()))
}

fn role(text: &str) -> Result<String, String> {
    let is_name = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if is_name { Ok(text.to_owned()) } else { Err("not a role's name of 1 to 64 characters".to_owned()) }
}

fn moment(value: &Value) -> Result<Millis, String> {
    let time = match value {
        Value::String(text) => iso_8601(text),
        value => value.as_i64(),
    };
    let time = time.filter(|time| (0..=LAST).contains(time));
    time.ok_or_else(|| "not a date, date and time (2026-01-31T00:00:00Z), or Unix time in milliseconds".to_owned())
}

/// `2026-01-31`, or that with `T12:00:00`, a fraction, and `Z` or an offset; UTC without one. chrono alone would also
/// read blanks, signs and single digits.
fn iso_8601(text: &str) -> Option<Millis> {
    let (date, time) = text.split_at_checked("2026-01-31".len())?;
    let is_date = date.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if !is_date || !time.bytes().all(|byte| byte.is_ascii_digit() || b"T:.Z+-".contains(&byte)) {
        return None;
    }
    let time = if time.is_empty() { "T00:00:00" } else { time };
    let zone = if time.contains(['Z', '+', '-']) { "" } else { "Z" };
    DateTime::parse_from_rfc3339(&format!("{date}{time}{zone}")).ok().map(|time| time.timestamp_millis())
}

#[cfg(test)]
mod tests;
