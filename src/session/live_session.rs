//! Sessions, PURE: what the database says of one, whether it still holds, and the signed snapshot of it.
//!
//! A cookie holds a random token. The token's hash finds the session in three layers: a signed snapshot in a second
//! cookie, KV, and D1, which is the truth. [`LiveSession::checked_at`] says when D1 last agreed, in every layer, so
//! that what was revoked ends everywhere within `SESSION_RECHECK_SECONDS`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::network::IpRefusal;
use crate::access::permission::Permissions;
use crate::access::policy::{Facts, Requirement, SecurityPolicy};
use crate::platform::config::Config;
use crate::platform::id::{App, Group, Id, Millis, Session, Tenant, User};
use crate::platform::secret::{Keyring, Purpose, SessionToken, Token, TokenHash};
use crate::users::person;
use crate::users::person::Person;

/// A session that holds: D1 agreed at `checked_at`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiveSession {
    /// Id; also the handle that clients see as `token`. It opens nothing.
    pub id: Id<Session>,
    /// The session of the auth host that this one, of a protected host, hangs on.
    pub parent_id: Option<Id<Session>>,
    /// The protected app it is for; none on the auth host.
    pub app_id: Option<Id<App>>,
    /// Whose it is.
    pub user: Person,
    /// The tenant it was opened in.
    pub tenant_id: Id<Tenant>,
    /// That tenant's slug.
    pub tenant_slug: String,
    /// Whether the user is an active member of that tenant.
    pub is_member: bool,
    /// The user's roles in that tenant.
    pub roles: Vec<String>,
    /// How the user signed in.
    pub login_method: String,
    /// Authentication Method References (RFC 8176).
    pub amr: Vec<String>,
    /// When the user last proved who they are.
    pub authenticated_at: Millis,
    /// Whether the cookie outlives the browser.
    pub is_remembered: bool,
    /// The address it was opened from.
    pub ip_address: Option<String>,
    /// The browser it was opened in.
    pub user_agent: Option<String>,
    /// The administrator behind an impersonation.
    pub impersonated_by: Option<Id<User>>,
    /// The organization that the client works in.
    pub active_tenant_id: Option<Id<Tenant>>,
    /// The group of it that the client works in.
    pub active_group_id: Option<Id<Group>>,
    /// Whether its user must set up a second factor before anything else: the tenant's policy asks for one.
    #[serde(default)]
    pub must_enrol: bool,
    /// What a program's key is scoped to; none of people, and of keys that may what their user may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_permissions: Option<Permissions>,
    /// Opening.
    pub created_at: Millis,
    /// Last prolongation.
    pub updated_at: Millis,
    /// End, unless prolonged.
    pub expires_at: Millis,
    /// When D1 last agreed.
    pub checked_at: Millis,
}

/// What D1 holds of a session, its user and its tenant.
#[derive(Debug, Deserialize)]
pub struct SessionRecord {
    /// The session, as it would be if it holds.
    pub session: LiveSession,
    /// `session.revoked_at`, or its parent's.
    pub revoked_at: Option<Millis>,
    /// `session.last_activity_at`.
    pub last_activity_at: Millis,
    /// `user.status`.
    pub user_status: String,
    /// `user.suspended_until`.
    pub suspended_until: Option<Millis>,
    /// `tenant.status`.
    pub tenant_status: String,
    /// `tenant.security_policy`, as it was written.
    pub policy: Value,
    /// When it was last prolonged.
    pub prolonged_at: Millis,
    /// The session that it hangs on; none of one of the auth host.
    pub parent: Option<Parent>,
    /// Whether the administrator behind an impersonation may still act as others.
    pub impersonator_may: bool,
    /// Whether its user has a passkey that verifies them, which is two factors in one.
    pub has_passkey: bool,
    /// Whether no second factor was asked for because the browser is trusted, and still is.
    pub is_device_trusted: bool,
    /// `member.second_factor_required_at`.
    pub second_factor_required_at: Option<Millis>,
    /// `member.second_factor_grace_logins`.
    pub grace_logins: i64,
}

/// What D1 holds of the session of the auth host that another hangs on.
#[derive(Debug, Deserialize)]
pub struct Parent {
    /// `session.expires_at`.
    pub expires_at: Millis,
    /// When it was last prolonged.
    pub prolonged_at: Millis,
    /// Its own tenant's `security_policy`, which may be another than the website's.
    pub policy: Value,
}

/// Where and when a session is presented.
#[derive(Clone, Copy, Debug)]
pub struct SessionRequest<'a> {
    /// The protected app whose host it came to; none on the auth host.
    pub app: Option<&'a Id<App>>,
    /// The client's address; empty if unknown.
    pub ip: &'a str,
    /// A session's life without activity where the tenant's policy says nothing, in seconds.
    pub life: i64,
    /// Now.
    pub now: Millis,
}

/// How long a session lives, by its own tenant's policy.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Its end, unless prolonged.
    pub until: Millis,
    /// How long it lives without use, in seconds.
    pub seconds: i64,
    /// Whether use prolongs it.
    pub extends: bool,
}

/// The longest life of a session that is not remembered, in seconds: its browser may be closed and never say so.
pub const UNREMEMBERED_SECONDS: i64 = 86_400;

impl Life {
    fn of(
        policy: &SecurityPolicy,
        (default, is_remembered): (i64, bool),
        (prolonged_at, expires_at): (Millis, Millis),
    ) -> Self {
        let allowed = policy.session_seconds(default);
        let seconds = if is_remembered { allowed } else { allowed.min(UNREMEMBERED_SECONDS) };
        let extends = is_remembered && policy.extends();
        Self { until: expires_at.min(prolonged_at + seconds * 1000), seconds, extends }
    }

    /// Whether it is prolonged by being used now: used, and older than `SESSION_UPDATE_SECONDS` since the last time. Of a
    /// life that is shorter than the default, an eighth is old enough.
    #[must_use]
    pub fn is_due(&self, config: &Config, now: Millis) -> bool {
        let began = self.until - self.seconds * 1000;
        let update =
            if self.seconds < config.session_seconds { self.seconds / 8 } else { config.session_update_seconds };
        self.extends && began + update.min(config.session_update_seconds) * 1000 <= now
    }

    /// Its end once it was used.
    #[must_use]
    pub const fn prolonged(&self, now: Millis) -> Millis {
        if self.extends { now + self.seconds * 1000 } else { self.until }
    }
}

/// A session that holds, and what the tenant asks of it.
#[derive(Debug)]
pub struct JudgedSession {
    /// The session.
    pub session: LiveSession,
    /// Its own life.
    pub life: Life,
    /// The life of the session that it hangs on, without which it is over.
    pub parent: Option<Life>,
    /// `session.last_activity_at`.
    pub last_activity_at: Millis,
    /// The tenant's policy.
    pub policy: SecurityPolicy,
    /// Whether a second factor is asked of its user for the first time: the days of grace begin now.
    pub begins_grace: bool,
}

/// Why a session does not hold. Exact for the log; the wire says "Unauthorized".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The cookie's value is not one that we made, or is presented twice.
    Malformed,
    /// No such session in this tenant.
    Unknown,
    /// Revoked, itself or the one it hangs on; or of an administrator who may not act as others any more.
    Revoked,
    /// Past its end.
    Expired,
    /// The user is inactive, suspended or deleted.
    UserNotActive,
    /// The tenant is suspended or about to be deleted.
    TenantNotActive,
    /// A protected host's session, presented elsewhere.
    WrongHost,
    /// From an address that the tenant's policy does not let in.
    Address(IpRefusal),
    /// The tenant's policy asks for the second factor that its user has, and this session was opened without.
    SecondFactorMissing,
    /// The tenant's policy cannot be read, so that nobody is let in.
    PolicyUnreadable,
}

impl SessionRecord {
    /// Whether the session holds, where and when it is presented. What the tenant's policy says of its life and of the
    /// second factor holds for sessions that were opened before it said so.
    ///
    /// # Errors
    /// The first reason why it does not.
    pub fn judge(mut self, at: &SessionRequest<'_>) -> Result<JudgedSession, Rejection> {
        let now = at.now;
        if self.revoked_at.is_some() || !self.impersonator_may {
            return Err(Rejection::Revoked);
        }
        let policy = SecurityPolicy::parse(&self.policy).map_err(|_| Rejection::PolicyUnreadable)?;
        // A website's session is as remembered as the one that it hangs on.
        let kind = (at.life, self.session.is_remembered);
        let life = Life::of(&policy, kind, (self.prolonged_at, self.session.expires_at));
        // Each lives as long as its own tenant lets it, and a website's never without the one that it hangs on.
        let parent = match &self.parent {
            Some(parent) => {
                let its = SecurityPolicy::parse(&parent.policy).map_err(|_| Rejection::PolicyUnreadable)?;
                Some(Life::of(&its, kind, (parent.prolonged_at, parent.expires_at)))
            }
            None => None,
        };
        self.session.expires_at = parent.map_or(life.until, |parent| parent.until.min(life.until));
        if self.session.expires_at <= now {
            return Err(Rejection::Expired);
        }
        if !person::user_is_active(&self.user_status, self.suspended_until, now) {
            return Err(Rejection::UserNotActive);
        }
        if self.tenant_status != "active" {
            return Err(Rejection::TenantNotActive);
        }
        if self.session.app_id.as_ref() != at.app {
            return Err(Rejection::WrongHost);
        }
        policy.admits(Some(at.ip)).map_err(Rejection::Address)?;
        let mut begins_grace = false;
        // Whoever acts for somebody else has given their own.
        if self.session.impersonated_by.is_none() {
            let first = self.second_factor_required_at;
            let facts = Facts {
                has_second_factor: self.session.user.two_factor_enabled || self.has_passkey,
                satisfied: has_two_factors(&self.session.amr)
                    || (self.is_device_trusted && policy.allows_trusted_devices()),
                roles: &self.session.roles,
                logins_since_enforcement: self.grace_logins,
                first_required_at: Some(first.unwrap_or(now)),
            };
            match policy.second_factor(&facts, now) {
                Requirement::NotRequired | Requirement::Satisfied => (),
                Requirement::AskFactor => return Err(Rejection::SecondFactorMissing),
                Requirement::Grace { .. } => begins_grace = first.is_none(),
                Requirement::Enrol => self.session.must_enrol = true,
            }
        }
        self.session.checked_at = now;
        Ok(JudgedSession {
            session: self.session,
            life,
            parent,
            last_activity_at: self.last_activity_at,
            policy,
            begins_grace,
        })
    }
}

/// Whether a session with these authentication methods was opened with more than one factor (RFC 8176, `mfa`).
#[must_use]
pub fn has_two_factors(amr: &[String]) -> bool {
    amr.iter().any(|method| method == "mfa")
}

/// The snapshot cookie's payload.
#[derive(Serialize, Deserialize)]
struct Snapshot<S> {
    /// Hash of the token it belongs to: a snapshot is worth nothing with another session cookie.
    of: String,
    /// Until when it answers.
    until: Millis,
    session: S,
}

/// The largest snapshot sent, in bytes: browsers keep 4096 of a cookie, attributes included.
const LARGEST_SNAPSHOT: usize = 3800;

impl LiveSession {
    /// Until when this answer may be given without asking D1 again.
    #[must_use]
    pub fn good_until(&self, config: &Config) -> Millis {
        self.expires_at.min(self.checked_at + config.recheck_seconds * 1000)
    }

    /// Whether its owner proved who they are within `SESSION_FRESH_SECONDS`: asked before sensitive changes.
    #[must_use]
    pub fn is_fresh(&self, config: &Config, now: Millis) -> bool {
        config.fresh_seconds == 0 || self.authenticated_at + config.fresh_seconds * 1000 > now
    }

    /// The snapshot cookie's value and its life in seconds; `None` if it would not answer once, or not fit.
    #[must_use]
    pub fn snapshot(&self, config: &Config, hash: &TokenHash<SessionToken>, now: Millis) -> Option<(String, i64)> {
        let until = self.good_until(config).min(now + config.cookie_cache_seconds * 1000);
        if until < now + 1000 {
            return None;
        }
        let snapshot = Snapshot { of: hash.as_str().to_owned(), until, session: self };
        let payload = serde_json::to_vec(&snapshot).ok()?;
        let text = config.keyring.sign_text(Purpose::Snapshot, &payload);
        (text.len() <= LARGEST_SNAPSHOT).then_some((text, (until - now) / 1000))
    }

    /// Reads a snapshot cookie: `None` unless we signed it for this token, tenant and app, and it still answers.
    #[must_use]
    pub fn from_snapshot(
        keyring: &Keyring,
        text: &str,
        hash: &TokenHash<SessionToken>,
        (tenant, app): (&Id<Tenant>, Option<&Id<App>>),
        now: Millis,
    ) -> Option<Self> {
        let payload = keyring.read_text(Purpose::Snapshot, text)?;
        let snapshot: Snapshot<Self> = serde_json::from_slice(&payload).ok()?;
        let ours = snapshot.of == hash.as_str() && snapshot.until > now;
        let session = snapshot.session;
        (ours && session.tenant_id == *tenant && session.app_id.as_ref() == app).then_some(session)
    }
}

/// The session cookie's value: token, dot, signature. The signature lets a forged cookie be refused without I/O.
#[must_use]
pub fn cookie_value(keyring: &Keyring, token: &Token<SessionToken>) -> String {
    let signature = keyring.sign(Purpose::Session, token.expose().as_bytes());
    format!("{}.{signature}", token.expose())
}

/// The token in a session cookie that we signed.
#[must_use]
pub fn read_cookie(keyring: &Keyring, value: &str) -> Option<Token<SessionToken>> {
    let (token, signature) = value.split_once('.')?;
    if !keyring.verify(Purpose::Session, token.as_bytes(), signature) {
        return None;
    }
    Token::parse(token)
}

/// Whether a session cookie that [`read_cookie`] accepts was signed by a key that is no longer the first of `SECRETS`.
#[must_use]
pub fn is_signed_by_former_key(keyring: &Keyring, value: &str) -> bool {
    keyring.former_key_ids().next().is_some()
        && value
            .split_once('.')
            .is_some_and(|(token, signature)| !keyring.verify_with_first(Purpose::Session, token.as_bytes(), signature))
}

/// The references of a first factor, and of a second one after it (RFC 8176, section 2).
pub fn add_second_factor<'a>(first: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut amr: Vec<&str> = first.collect();
    for reference in ["otp", "mfa"] {
        if !amr.contains(&reference) {
            amr.push(reference);
        }
    }
    amr
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::platform::config::tests::with;

    const NOW: Millis = 4_200_000_000_000;

    pub(crate) fn record() -> SessionRecord {
        let session = json!({
            "id": "s", "parent_id": null, "app_id": null, "tenant_id": "t", "tenant_slug": "default",
            "is_member": true, "roles": ["member"], "login_method": "password", "amr": ["pwd"],
            "user": {"id": "u", "name": "A", "email": "a@x.co", "email_verified": true, "image": null,
                     "username": null, "display_username": null, "phone_number": null, "phone_number_verified": false,
                     "two_factor_enabled": false, "is_anonymous": false, "created_at": 1, "updated_at": 2},
            "authenticated_at": NOW, "is_remembered": true, "ip_address": null, "user_agent": null,
            "impersonated_by": null, "active_tenant_id": null, "active_group_id": null, "created_at": NOW, "updated_at": NOW,
            "expires_at": NOW + 604_800_000, "checked_at": 0
        });
        serde_json::from_value(json!({
            "session": session, "revoked_at": null, "last_activity_at": NOW,
            "user_status": "active", "suspended_until": null, "tenant_status": "active", "policy": {},
            "prolonged_at": NOW, "parent": null, "is_device_trusted": false, "has_passkey": false, "impersonator_may": true, "second_factor_required_at": null, "grace_logins": 1
        }))
        .expect("a record")
    }

    const AT: SessionRequest<'static> = SessionRequest { app: None, ip: "192.0.2.7", life: 604_800, now: NOW };

    fn judged(policy: Value, change: impl FnOnce(&mut SessionRecord)) -> Result<JudgedSession, Rejection> {
        let mut record = record();
        record.policy = policy;
        change(&mut record);
        record.judge(&AT)
    }

    #[test]
    fn a_session_that_is_not_remembered_lives_for_a_day_and_is_not_prolonged() {
        let unremembered = |record: &mut SessionRecord| record.session.is_remembered = false;
        let day = NOW + UNREMEMBERED_SECONDS * 1000;
        let judged_now = judged(json!({}), unremembered).expect("holds");
        assert_eq!((judged_now.session.expires_at, judged_now.life.prolonged(NOW + 1)), (day, day));
        assert!(!judged_now.life.extends);
        let config = with(&[]).expect("valid");
        assert!(!judged_now.life.is_due(&config, day - 1));
        // The tenant's policy may shorten it, and not lengthen it.
        let policy = |seconds: i64| json!({ "session": { "sessionTimeout": seconds } });
        let until = |seconds| judged(policy(seconds), unremembered).expect("holds").session.expires_at;
        assert_eq!((until(3600), until(604_800)), (NOW + 3_600_000, day));
        let of_website = judged(json!({}), |record| {
            unremembered(record);
            record.parent =
                Some(Parent { expires_at: NOW + 604_800_000, prolonged_at: NOW - 3_600_000, policy: json!({}) });
        });
        assert_eq!(of_website.expect("holds").session.expires_at, day - 3_600_000, "no longer than its parent");
    }

    #[test]
    fn a_policy_holds_for_sessions_that_were_there_before() {
        let life = json!({"session": {"sessionTimeout": 60}});
        assert_eq!(judged(life.clone(), |_| ()).expect("holds").session.expires_at, NOW + 60_000);
        let old = judged(life, |record| record.prolonged_at = NOW - 60_000);
        assert_eq!(old.err(), Some(Rejection::Expired));
        let networks = |ip: &str| json!({"ipRestrictions": {"enabled": true, "blockList": [ip]}});
        assert!(judged(networks("192.0.2.8"), |_| ()).is_ok());
        assert!(matches!(judged(networks("192.0.2.0/24"), |_| ()).err(), Some(Rejection::Address(_))));
        assert_eq!(judged(json!({"sesion": {}}), |_| ()).err(), Some(Rejection::PolicyUnreadable));
    }

    #[test]
    fn a_session_and_the_one_that_it_hangs_on_each_live_as_their_own_tenant_says() {
        let held = |own: i64, its: i64, since: i64| {
            let judged = judged(json!({"session": {"sessionTimeout": own}}), |record| {
                let policy = json!({"session": {"sessionTimeout": its}});
                record.parent =
                    Some(Parent { expires_at: NOW + 500_000_000, prolonged_at: NOW - since * 1000, policy });
            });
            judged.map(|judged| judged.session.expires_at - NOW)
        };
        assert_eq!(held(800, 604_800, 3600).expect("holds"), 800_000, "an old parent is no older child");
        assert_eq!(held(604_800, 800, 300).expect("holds"), 500_000);
        assert_eq!(held(604_800, 604_800, 0).expect("holds"), 500_000_000);
        assert_eq!(held(604_800, 800, 800).err(), Some(Rejection::Expired));
    }

    #[test]
    fn a_second_factor_is_asked_of_sessions_that_were_there_before() {
        let required = json!({"session": {"requireMFA": true}});
        assert!(judged(required.clone(), |_| ()).expect("holds").session.must_enrol);
        let enrolled = judged(required.clone(), |record| record.session.user.two_factor_enabled = true);
        assert_eq!(enrolled.err(), Some(Rejection::SecondFactorMissing));
        let given = judged(required.clone(), |record| record.session.amr.push("mfa".to_owned())).expect("holds");
        assert!(!given.session.must_enrol);
        let trusted = |policy: Value| {
            judged(policy, |record| {
                record.session.user.two_factor_enabled = true;
                record.is_device_trusted = true;
            })
        };
        assert!(!trusted(required.clone()).expect("holds").session.must_enrol);
        let distrusting = json!({"session": {"requireMFA": true}, "twoFactor": {"allowRememberDevice": false}});
        assert_eq!(trusted(distrusting).err(), Some(Rejection::SecondFactorMissing));
        let acting = judged(required, |record| record.session.impersonated_by = Some(Id::trusted("a".to_owned())));
        assert!(!acting.expect("holds").session.must_enrol);
        let grace = json!({"twoFactor": {"required": true, "gracePeriodDays": 7}});
        let graced = judged(grace.clone(), |_| ()).expect("holds");
        assert!(graced.begins_grace && !graced.session.must_enrol);
        let later =
            judged(grace, |record| record.second_factor_required_at = Some(NOW - 8 * 86_400_000)).expect("holds");
        assert!(!later.begins_grace && later.session.must_enrol);
    }

    #[test]
    fn each_reason_ends_a_session() {
        type Spoil = fn(&mut SessionRecord);
        let cases: [(Spoil, Rejection); 8] = [
            (|r| r.revoked_at = Some(1), Rejection::Revoked),
            (|r| r.impersonator_may = false, Rejection::Revoked),
            (|r| r.session.expires_at = NOW, Rejection::Expired),
            (|r| r.user_status = "suspended".to_owned(), Rejection::UserNotActive),
            (|r| r.user_status = "deleted".to_owned(), Rejection::UserNotActive),
            (|r| r.tenant_status = "suspended".to_owned(), Rejection::TenantNotActive),
            (|r| r.tenant_status = "pending_deletion".to_owned(), Rejection::TenantNotActive),
            (|r| r.session.app_id = Some(Id::trusted("a".to_owned())), Rejection::WrongHost),
        ];
        for (spoil, rejection) in cases {
            let mut spoilt = record();
            spoil(&mut spoilt);
            assert_eq!(spoilt.judge(&AT).err(), Some(rejection));
        }
        assert_eq!(record().judge(&AT).expect("holds").session.checked_at, NOW);
        assert_eq!(
            record().judge(&SessionRequest { app: Some(&Id::trusted("a".to_owned())), ..AT }).err(),
            Some(Rejection::WrongHost)
        );
    }

    #[test]
    fn a_suspension_ends_by_itself() {
        assert!(!person::user_is_active("suspended", Some(NOW + 1), NOW));
        assert!(person::user_is_active("suspended", Some(NOW), NOW));
        assert!(!person::user_is_active("inactive", Some(NOW), NOW));
    }

    #[test]
    fn a_snapshot_answers_for_its_token_app_and_time_only() {
        let config = with(&[]).expect("config");
        let live = record().judge(&AT).expect("holds").session;
        let hash = Token::<SessionToken>::new([1; 32]).hash();
        let other = Token::<SessionToken>::new([2; 32]).hash();
        let (text, seconds) = live.snapshot(&config, &hash, NOW).expect("fits");
        let (tenant, foreign) = (Id::trusted("t".to_owned()), Id::trusted("other".to_owned()));
        let read = |hash, app, now| LiveSession::from_snapshot(&config.keyring, &text, hash, (&tenant, app), now);
        assert!(LiveSession::from_snapshot(&config.keyring, &text, &hash, (&foreign, None), NOW).is_none());
        assert_eq!(seconds, 60);
        assert_eq!(read(&hash, None, NOW + 59_999).expect("answers").user.email, "a@x.co");
        assert!(read(&hash, None, NOW + 60_000).is_none());
        assert!(read(&other, None, NOW).is_none());
        assert!(read(&hash, Some(&Id::trusted("a".to_owned())), NOW).is_none());
    }

    #[test]
    fn a_snapshot_never_outlives_the_recheck() {
        let config = with(&[]).expect("config");
        let live = record().judge(&AT).expect("holds").session;
        let hash = Token::<SessionToken>::new([1; 32]).hash();
        let (_, seconds) = live.snapshot(&config, &hash, NOW + 45_000).expect("fits");
        assert_eq!(seconds, 15);
        assert!(live.snapshot(&config, &hash, NOW + 59_500).is_none());
        let mut wordy = live.clone();
        wordy.user.image = Some("x".repeat(4000));
        assert!(wordy.snapshot(&config, &hash, NOW).is_none());
        let off = with(&[("SESSION_COOKIE_CACHE_SECONDS", "0")]).expect("config");
        assert!(live.snapshot(&off, &hash, NOW).is_none());
    }

    #[test]
    fn a_session_is_prolonged_a_day_after_it_began() {
        let config = with(&[]).expect("config");
        let life = record().judge(&AT).expect("holds").life;
        assert!(!life.is_due(&config, NOW + 86_399_999));
        assert!(life.is_due(&config, NOW + 86_400_000));
        let short = Life { until: NOW + 800_000, seconds: 800, extends: true };
        assert!(!short.is_due(&config, NOW + 99_999));
        assert!(short.is_due(&config, NOW + 100_000));
        assert_eq!(short.prolonged(NOW + 100_000), NOW + 900_000);
        let fixed = Life { extends: false, ..short };
        assert!(!fixed.is_due(&config, NOW + 700_000));
        assert_eq!(fixed.prolonged(NOW + 700_000), NOW + 800_000);
    }

    #[test]
    fn only_our_cookies_are_read() {
        let config = with(&[]).expect("config");
        let token = Token::new([3; 32]);
        let value = cookie_value(&config.keyring, &token);
        assert_eq!(read_cookie(&config.keyring, &value).expect("ours").expose(), token.expose());
        for bad in [token.expose(), "", ".", &value[1..], &format!("{value}A")] {
            assert!(read_cookie(&config.keyring, bad).is_none(), "{bad}");
        }
    }
}
