//! The decision about a sign-in with a password.
//!
//! PURE: no I/O, no clock, no randomness.

use serde::Deserialize;

use crate::platform::id::{Id, Millis, User};
use crate::users::person::user_is_active;

/// What the database knows of the one who wants to sign in.
#[derive(Debug, Deserialize)]
pub struct Candidate {
    /// `user.id`.
    pub user_id: Id<User>,
    /// `user.status`.
    pub status: String,
    /// `user.suspended_until`.
    pub suspended_until: Option<Millis>,
    /// `user.locked_until`.
    pub locked_until: Option<Millis>,
    /// `account.password_hash`, if the user has a password.
    pub password_hash: Option<String>,
    /// `user.email`.
    pub email: String,
    /// `user.email_verified`.
    pub email_verified: bool,
    /// Whether the browser is one that the user trusts: a lock against strangers does not hold it up.
    pub is_trusted: bool,
}

/// Why a sign-in was refused. The wire makes no difference between the first four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody has this address here.
    UnknownUser,
    /// The user signs in by other means.
    NoPassword,
    /// The password is not theirs.
    WrongPassword,
    /// Locked after too many failures, whatever the password.
    Locked,
    /// Suspended; said only to whoever knows the password.
    Suspended,
    /// Inactive or deleted; said only to whoever knows the password.
    NotActive,
    /// The address is not proven, and must be; said only to whoever knows the password.
    EmailNotVerified,
}

impl Refusal {
    /// As `login_history.failure_reason` holds it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::NoPassword => "no_password",
            Self::WrongPassword => "wrong_password",
            Self::Locked => "locked",
            Self::Suspended => "suspended",
            Self::NotActive => "not_active",
            Self::EmailNotVerified => "email_not_verified",
        }
    }
}

/// Decides, given whether the password was right. The caller has compared it already, known user or not: the time
/// taken says nothing.
///
/// # Errors
/// The refusal.
pub fn decide_sign_in(
    candidate: Option<&Candidate>,
    password_is_right: bool,
    requires_verified_email: bool,
    now: Millis,
) -> Result<Id<User>, Refusal> {
    let candidate = candidate.ok_or(Refusal::UnknownUser)?;
    // Before the password: a lock that answered differently to the right password would confirm the guess.
    if candidate.locked_until.is_some_and(|until| until > now) && !candidate.is_trusted {
        return Err(Refusal::Locked);
    }
    if candidate.password_hash.is_none() {
        return Err(Refusal::NoPassword);
    }
    if !password_is_right {
        return Err(Refusal::WrongPassword);
    }
    decide_admission(candidate, now)?;
    if requires_verified_email && !candidate.email_verified {
        return Err(Refusal::EmailNotVerified);
    }
    Ok(candidate.user_id.clone())
}

/// Whether a user may be signed in at all, however they prove who they are.
///
/// # Errors
/// [`Refusal::Suspended`], [`Refusal::NotActive`].
pub fn decide_admission(candidate: &Candidate, now: Millis) -> Result<(), Refusal> {
    if user_is_active(&candidate.status, candidate.suspended_until, now) {
        return Ok(());
    }
    Err(if candidate.status == "suspended" { Refusal::Suspended } else { Refusal::NotActive })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_000_000;

    fn candidate() -> Candidate {
        Candidate {
            user_id: Id::trusted("u".to_owned()),
            status: "active".to_owned(),
            suspended_until: None,
            locked_until: None,
            password_hash: Some("x".to_owned()),
            email: "a@x.co".to_owned(),
            email_verified: false,
            is_trusted: false,
        }
    }

    #[test]
    fn the_table_of_decisions() {
        type Spoil = fn(&mut Candidate);
        let table: [(Spoil, bool, Result<(), Refusal>); 13] = [
            (|_| (), true, Ok(())),
            (|_| (), false, Err(Refusal::WrongPassword)),
            (|c| c.password_hash = None, false, Err(Refusal::NoPassword)),
            (|c| c.locked_until = Some(NOW + 1), true, Err(Refusal::Locked)),
            (|c| c.locked_until = Some(NOW + 1), false, Err(Refusal::Locked)),
            (|c| c.locked_until = Some(NOW), true, Ok(())),
            (|c| (c.locked_until, c.is_trusted) = (Some(NOW + 1), true), true, Ok(())),
            (|c| (c.locked_until, c.is_trusted) = (Some(NOW + 1), true), false, Err(Refusal::WrongPassword)),
            (|c| c.status = "suspended".to_owned(), true, Err(Refusal::Suspended)),
            (|c| c.status = "suspended".to_owned(), false, Err(Refusal::WrongPassword)),
            (|c| (c.status, c.suspended_until) = ("suspended".to_owned(), Some(NOW)), true, Ok(())),
            (|c| c.status = "inactive".to_owned(), true, Err(Refusal::NotActive)),
            (|c| c.status = "deleted".to_owned(), true, Err(Refusal::NotActive)),
        ];
        for (row, (spoil, right, expected)) in table.into_iter().enumerate() {
            let mut candidate = candidate();
            spoil(&mut candidate);
            assert_eq!(decide_sign_in(Some(&candidate), right, false, NOW).map(|_| ()), expected, "row {row}");
        }
        assert_eq!(decide_sign_in(None, true, false, NOW), Err(Refusal::UnknownUser));
        let proven = Candidate { email_verified: true, ..candidate() };
        assert_eq!(decide_sign_in(Some(&candidate()), true, true, NOW), Err(Refusal::EmailNotVerified));
        assert_eq!(decide_sign_in(Some(&candidate()), false, true, NOW), Err(Refusal::WrongPassword));
        assert!(decide_sign_in(Some(&proven), true, true, NOW).is_ok());
    }
}
