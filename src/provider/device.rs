//! Device authorization (RFC 8628): the code that a user types, and how a poll fares.
//!
//! PURE: no I/O, no clock, no randomness.

use serde::Deserialize;

use crate::platform::id::{Id, Millis, OauthClient, Session, User};
use crate::platform::problem::{Code, Problem};
use crate::provider::client::Client;
use crate::users::person::user_is_active;

/// How long a device waits between two polls, in seconds (section 3.2).
pub const INTERVAL: i64 = 5;

/// Letters that no word is made of, and none of which is read as another (section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// What a user types: eight of twenty letters, some 2^34 of them, for ten minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCode(String);

impl UserCode {
    /// A code from random bytes. 240 is the last multiple of twenty below 256: what is above would make the first letters
    /// likelier, so such a byte takes its neighbour's remainder with another's.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        let letter = |pair: &[u8]| {
            let number = u16::from_be_bytes([pair[0], pair[1]]);
            char::from(LETTERS[usize::from(number % 20)])
        };
        Self(random.chunks_exact(2).map(letter).collect())
    }

    /// A code as it was typed: in either case, whatever stands between (section 6.1). An editor makes a long dash of a short one.
    #[must_use]
    pub fn parse(typed: &str) -> Option<Self> {
        let letters = typed.chars().map(|c| c.to_ascii_uppercase());
        let is_letter = |c: &char| u8::try_from(*c).is_ok_and(|b| LETTERS.contains(&b));
        let letters: String = letters.filter(is_letter).collect();
        (letters.len() == 8).then_some(Self(letters))
    }

    /// Its letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it is shown: in two halves.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{}-{}", &self.0[..4], &self.0[4..])
    }
}

/// A device that polls, as it is kept.
#[derive(Debug, Deserialize)]
pub struct StoredDevice {
    /// `oauth_grant.id`.
    pub id: String,
    /// Whose device.
    pub client_id: Id<OauthClient>,
    /// `pending`, `allowed` or `denied`.
    pub status: String,
    /// Who allowed it.
    pub user_id: Option<Id<User>>,
    /// In which session.
    pub session_id: Option<Id<Session>>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Resources.
    pub resources: Vec<String>,
    /// When they proved who they are.
    pub authenticated_at: Option<Millis>,
    /// How.
    pub amr: Vec<String>,
    /// The poll before this one.
    pub polled_at: Option<Millis>,
    /// Its end.
    pub expires_at: Millis,
    /// When it was redeemed.
    pub used_at: Option<Millis>,
    /// `user.status`.
    pub user_status: Option<String>,
    /// `user.suspended_until`.
    pub suspended_until: Option<Millis>,
}

/// How a poll fares (section 3.5): who allowed it.
///
/// # Errors
/// `authorization_pending`, `slow_down`, `access_denied`, `expired_token`, `invalid_grant`.
pub fn judge_poll<'a>(stored: &'a StoredDevice, client: &Client, now: Millis) -> Result<&'a Id<User>, Problem> {
    let invalid = |reason: &str| {
        Problem::new(Code::InvalidGrant, "the code or token is not good, or another client's").because(reason)
    };
    if stored.client_id != client.id {
        return Err(invalid("another client's code"));
    }
    if stored.used_at.is_some() {
        return Err(invalid("redeemed before"));
    }
    if stored.expires_at <= now {
        return Err(Problem::new(Code::ExpiredToken, "nobody agreed in time"));
    }
    if stored.status == "denied" {
        return Err(Problem::new(Code::AccessDenied, "the user said no"));
    }
    if stored.polled_at.is_some_and(|at| now < at + INTERVAL * 1000 - 500) {
        return Err(Problem::new(Code::SlowDown, "the device polls too often"));
    }
    let pending = || Problem::new(Code::AuthorizationPending, "nobody has agreed yet");
    let user = stored.user_id.as_ref().filter(|_| stored.status == "allowed").ok_or_else(pending)?;
    if !user_is_active(stored.user_status.as_deref().unwrap_or_default(), stored.suspended_until, now) {
        return Err(invalid("the user is not active"));
    }
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::authorization::tests::client;

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = UserCode::new([7; 16]);
        for typed in
            [code.shown(), code.shown().to_lowercase(), code.as_str().to_owned(), format!(" {} ", code.shown())]
        {
            assert_eq!(UserCode::parse(&typed), Some(code.clone()), "{typed}");
        }
        for between in ["\u{2013}", "\u{2014}", ".", "\u{a0}", " - ", "_", "\u{200b}"] {
            let typed = code.shown().replace('-', between);
            assert_eq!(UserCode::parse(&typed), Some(code.clone()), "{typed}");
        }
        for bad in ["", "AAAA-AAAA", "BCDF-GHJ", "BCDF-GHJKL", "BCDF-GHJ1"] {
            assert_eq!(UserCode::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_table_of_polls() {
        type Spoil = fn(&mut StoredDevice);
        let now = 1_000_000;
        let good = || StoredDevice {
            id: "g".to_owned(),
            client_id: Id::trusted("c".to_owned()),
            status: "allowed".to_owned(),
            user_id: Some(Id::trusted("u".to_owned())),
            session_id: None,
            scopes: Vec::new(),
            resources: Vec::new(),
            authenticated_at: None,
            amr: Vec::new(),
            polled_at: None,
            expires_at: now + 1,
            used_at: None,
            user_status: Some("active".to_owned()),
            suspended_until: None,
        };
        assert!(judge_poll(&good(), &client(), now).is_ok());
        let spoilt: [(Spoil, Code); 7] = [
            (|stored| stored.client_id = Id::trusted("other".to_owned()), Code::InvalidGrant),
            (|stored| stored.used_at = Some(1), Code::InvalidGrant),
            (|stored| stored.expires_at = 1_000_000, Code::ExpiredToken),
            (|stored| stored.status = "denied".to_owned(), Code::AccessDenied),
            (|stored| stored.polled_at = Some(998_000), Code::SlowDown),
            (|stored| stored.status = "pending".to_owned(), Code::AuthorizationPending),
            (|stored| stored.user_status = Some("suspended".to_owned()), Code::InvalidGrant),
        ];
        for (row, (spoil, code)) in spoilt.into_iter().enumerate() {
            let mut stored = good();
            spoil(&mut stored);
            assert_eq!(
                judge_poll(&stored, &client(), now).map_err(|problem| problem.code).err(),
                Some(code),
                "row {row}"
            );
        }
    }
}
