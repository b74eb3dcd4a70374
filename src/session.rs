//! Sessions, PURE: what the database says of one, whether it still holds, and the signed snapshot of it.
//!
//! A cookie holds a random token. The token's hash finds the session in three layers: a signed snapshot in a second
//! cookie, KV, and D1, which is the truth. [`LiveSession::checked_at`] says when D1 last agreed, in every layer, so
//! that what was revoked ends everywhere within `SESSION_RECHECK_SECONDS`.

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::id::{App, Id, Millis, Session, Tenant, User};
use crate::secret::{Keyring, Purpose, SessionToken, Token, TokenHash};

/// The user of a session, as far as a client is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the protocol's own fields")]
pub struct Person {
    /// Id.
    pub id: Id<User>,
    /// Display name.
    pub name: String,
    /// Lower-case address.
    pub email: String,
    /// Whether the address was proven.
    pub email_verified: bool,
    /// Picture URL.
    pub image: Option<String>,
    /// Lower-case user name.
    pub username: Option<String>,
    /// The user name as its owner writes it.
    pub display_username: Option<String>,
    /// Phone number.
    pub phone_number: Option<String>,
    /// Whether the number was proven.
    pub phone_number_verified: bool,
    /// Whether a second factor is asked for.
    pub two_factor_enabled: bool,
    /// Whether this is a guest without credentials.
    pub is_anonymous: bool,
    /// Creation.
    pub created_at: Millis,
    /// Last change.
    pub updated_at: Millis,
}

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
pub struct Record {
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
}

/// Why a session does not hold. Exact for the log; the wire says "Unauthorized".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The cookie's value is not one that we made, or is presented twice.
    Malformed,
    /// No such session in this tenant.
    Unknown,
    /// Revoked, itself or the one it hangs on.
    Revoked,
    /// Past its end.
    Expired,
    /// The user is inactive, suspended or deleted.
    UserNotActive,
    /// The tenant is suspended or about to be deleted.
    TenantNotActive,
    /// A protected host's session, presented elsewhere.
    WrongHost,
}

impl Record {
    /// Whether the session holds at `now`, for the app whose host presented it.
    ///
    /// # Errors
    /// The first reason why it does not.
    pub fn judge(mut self, app: Option<&Id<App>>, now: Millis) -> Result<(LiveSession, Millis), Rejection> {
        if self.revoked_at.is_some() {
            return Err(Rejection::Revoked);
        }
        if self.session.expires_at <= now {
            return Err(Rejection::Expired);
        }
        if !user_is_active(&self.user_status, self.suspended_until, now) {
            return Err(Rejection::UserNotActive);
        }
        if self.tenant_status != "active" {
            return Err(Rejection::TenantNotActive);
        }
        if self.session.app_id.as_ref() != app {
            return Err(Rejection::WrongHost);
        }
        self.session.checked_at = now;
        Ok((self.session, self.last_activity_at))
    }
}

/// Whether a user with this status may be signed in. A suspension ends by itself when it has a time.
#[must_use]
pub fn user_is_active(status: &str, suspended_until: Option<Millis>, now: Millis) -> bool {
    match status {
        "active" => true,
        "suspended" => suspended_until.is_some_and(|until| until <= now),
        _ => false,
    }
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

    /// Whether it may be prolonged: used, and older than `SESSION_UPDATE_SECONDS` since the last time.
    #[must_use]
    pub fn is_due_for_prolonging(&self, config: &Config, now: Millis) -> bool {
        let began = self.expires_at - config.session_seconds * 1000;
        began + config.session_update_seconds * 1000 <= now
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

    /// The `user` of the login protocol.
    #[must_use]
    pub fn user_json(&self) -> UserJson<'_> {
        UserJson::new(&self.user, &self.roles)
    }

    /// The `session` of the login protocol.
    #[must_use]
    pub fn session_json(&self) -> SessionJson<'_> {
        SessionJson {
            id: self.id.as_str(),
            token: self.id.as_str(),
            user_id: self.user.id.as_str(),
            expires_at: iso(self.expires_at),
            created_at: iso(self.created_at),
            updated_at: iso(self.updated_at),
            ip_address: self.ip_address.as_deref(),
            user_agent: self.user_agent.as_deref(),
            active_organization_id: self.active_tenant_id.as_ref().map(Id::as_str),
            impersonated_by: self.impersonated_by.as_ref().map(Id::as_str),
        }
    }
}

/// The `session` of the login protocol. `token` is a handle: the secret stays in its cookie.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionJson<'a> {
    /// Id.
    pub id: &'a str,
    /// The handle that `revoke-session` takes.
    pub token: &'a str,
    /// Whose.
    pub user_id: &'a str,
    /// End.
    pub expires_at: String,
    /// Opening.
    pub created_at: String,
    /// Last prolongation.
    pub updated_at: String,
    /// The address it was opened from.
    pub ip_address: Option<&'a str>,
    /// The browser it was opened in.
    pub user_agent: Option<&'a str>,
    /// The organization that the client works in.
    pub active_organization_id: Option<&'a str>,
    /// The administrator behind an impersonation.
    pub impersonated_by: Option<&'a str>,
}

/// The `user` of the login protocol.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the protocol's own fields")]
pub struct UserJson<'a> {
    id: &'a str,
    name: &'a str,
    email: &'a str,
    email_verified: bool,
    image: Option<&'a str>,
    created_at: String,
    updated_at: String,
    username: Option<&'a str>,
    display_username: Option<&'a str>,
    phone_number: Option<&'a str>,
    phone_number_verified: bool,
    two_factor_enabled: bool,
    is_anonymous: bool,
    role: &'static str,
    banned: bool,
}

impl<'a> UserJson<'a> {
    /// `role` is `admin` for whoever administers the tenant. Nobody who is banned has a session to be seen in.
    #[must_use]
    pub fn new(user: &'a Person, roles: &[String]) -> Self {
        let administers = roles.iter().any(|role| role == "owner" || role == "admin");
        Self {
            id: user.id.as_str(),
            name: &user.name,
            email: &user.email,
            email_verified: user.email_verified,
            image: user.image.as_deref(),
            created_at: iso(user.created_at),
            updated_at: iso(user.updated_at),
            username: user.username.as_deref(),
            display_username: user.display_username.as_deref(),
            phone_number: user.phone_number.as_deref(),
            phone_number_verified: user.phone_number_verified,
            two_factor_enabled: user.two_factor_enabled,
            is_anonymous: user.is_anonymous,
            role: if administers { "admin" } else { "user" },
            banned: false,
        }
    }
}

/// ISO 8601 with milliseconds and `Z`, as the protocol writes times.
#[must_use]
pub fn iso(time: Millis) -> String {
    DateTime::from_timestamp_millis(time).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::tests::with;
    use serde_json::json;

    const NOW: Millis = 4_200_000_000_000;

    pub(crate) fn record() -> Record {
        let session = json!({
            "id": "s", "parent_id": null, "app_id": null, "tenant_id": "t", "tenant_slug": "default",
            "is_member": true, "roles": ["member"], "login_method": "password", "amr": ["pwd"],
            "user": {"id": "u", "name": "A", "email": "a@x.co", "email_verified": true, "image": null,
                     "username": null, "display_username": null, "phone_number": null, "phone_number_verified": false,
                     "two_factor_enabled": false, "is_anonymous": false, "created_at": 1, "updated_at": 2},
            "authenticated_at": NOW, "is_remembered": true, "ip_address": null, "user_agent": null,
            "impersonated_by": null, "active_tenant_id": null, "created_at": NOW, "updated_at": NOW,
            "expires_at": NOW + 604_800_000, "checked_at": 0
        });
        serde_json::from_value(json!({
            "session": session, "revoked_at": null, "last_activity_at": NOW,
            "user_status": "active", "suspended_until": null, "tenant_status": "active"
        }))
        .expect("a record")
    }

    #[test]
    fn each_reason_ends_a_session() {
        type Spoil = fn(&mut Record);
        let cases: [(Spoil, Rejection); 7] = [
            (|r| r.revoked_at = Some(1), Rejection::Revoked),
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
            assert_eq!(spoilt.judge(None, NOW).err(), Some(rejection));
        }
        assert_eq!(record().judge(None, NOW).expect("holds").0.checked_at, NOW);
        assert_eq!(record().judge(Some(&Id::trusted("a".to_owned())), NOW).err(), Some(Rejection::WrongHost));
    }

    #[test]
    fn a_suspension_ends_by_itself() {
        assert!(!user_is_active("suspended", Some(NOW + 1), NOW));
        assert!(user_is_active("suspended", Some(NOW), NOW));
        assert!(!user_is_active("inactive", Some(NOW), NOW));
    }

    #[test]
    fn a_snapshot_answers_for_its_token_app_and_time_only() {
        let config = with(&[]).expect("config");
        let (live, _) = record().judge(None, NOW).expect("holds");
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
        let (live, _) = record().judge(None, NOW).expect("holds");
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
        let (live, _) = record().judge(None, NOW).expect("holds");
        assert!(!live.is_due_for_prolonging(&config, NOW + 86_399_999));
        assert!(live.is_due_for_prolonging(&config, NOW + 86_400_000));
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

    #[test]
    fn times_are_written_as_the_protocol_does() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(4_102_444_800_123), "2100-01-01T00:00:00.123Z");
    }
}
