//! Which user an upstream identity becomes.

use serde::Deserialize;

use crate::federation::profile::Profile;
use crate::id::{Account, Id, Millis, User};
use crate::session::user_is_active;

/// What the issuer is allowed.
#[derive(Clone, Debug)]
pub struct IssuerRules {
    /// Domains whose people may come; none is all.
    pub allowed_domains: Vec<String>,
    /// Whether its word on an address is believed.
    pub trust_email: bool,
    /// Whether strangers may become users.
    pub sign_up_open: bool,
}

/// A user whom the identity may be.
#[derive(Clone, Debug, Deserialize)]
pub struct Known {
    /// `user.id`.
    pub user_id: Id<User>,
    /// The account already linked to this identity, if this is how the user was found.
    pub account_id: Option<Id<Account>>,
    /// `account.is_active`, and confirmed if it must be.
    pub account_usable: bool,
    /// `user.email_verified`.
    pub email_verified: bool,
    /// `user.status`.
    pub status: String,
    /// `user.suspended_until`.
    pub suspended_until: Option<Millis>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Sign in the user whose account this is.
    SignIn(Id<User>, Id<Account>),
    /// Link the identity to this user, and sign in.
    Link(Id<User>),
    /// Create a user; whether its address counts as proven.
    Create {
        /// The address.
        email: String,
        /// Whether it counts as proven.
        email_verified: bool,
    },
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The issuer names no valid address, and nobody is linked.
    EmailNotFound,
    /// The address is not of an allowed domain, or not proven where domains are restricted.
    DomainNotAllowed,
    /// A user has this address, and this issuer's word does not suffice to be them.
    AccountNotLinked,
    /// The link was switched off, or waits for its confirmation.
    AccountNotUsable,
    /// The user is suspended, inactive or deleted.
    UserNotActive,
    /// Sign-up is closed.
    SignUpDisabled,
}

impl Refusal {
    /// The `error` that the visitor's page is told.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::EmailNotFound => "email_not_found",
            Self::DomainNotAllowed => "domain_not_allowed",
            Self::AccountNotLinked => "account_not_linked",
            Self::AccountNotUsable => "account_not_usable",
            Self::UserNotActive => "user_not_active",
            Self::SignUpDisabled => "signup_disabled",
        }
    }
}

fn domain_is_allowed(profile: &Profile, rules: &IssuerRules) -> bool {
    if rules.allowed_domains.is_empty() {
        return true;
    }
    let domain = profile.email.as_deref().and_then(|email| email.rsplit_once('@')).map(|(_, domain)| domain);
    // An address that the issuer did not prove says nothing about where its user belongs.
    profile.email_verified && rules.allowed_domains.iter().any(|allowed| Some(allowed.as_str()) == domain)
}

/// Decides.
///
/// # Errors
/// The refusal.
pub fn decide(
    profile: &Profile,
    rules: &IssuerRules,
    linked: Option<&Known>,
    same_email: Option<&Known>,
    now: Millis,
) -> Result<Decision, Refusal> {
    if !domain_is_allowed(profile, rules) {
        return Err(Refusal::DomainNotAllowed);
    }
    let active = |known: &Known| user_is_active(&known.status, known.suspended_until, now);
    if let Some(known) = linked {
        let account = known.account_id.clone().filter(|_| known.account_usable);
        let account = account.ok_or(Refusal::AccountNotUsable)?;
        if !active(known) {
            return Err(Refusal::UserNotActive);
        }
        return Ok(Decision::SignIn(known.user_id.clone(), account));
    }
    let email = profile.email.clone().ok_or(Refusal::EmailNotFound)?;
    // An issuer that is not trusted can call any address proven.
    let proven = profile.email_verified && rules.trust_email;
    if let Some(known) = same_email {
        // Both sides must be proven. Upstream: or whoever writes an address into a profile takes the account over.
        // Ours: or whoever signed up with the victim's address before them keeps a password to their account.
        if !proven || !known.email_verified {
            return Err(Refusal::AccountNotLinked);
        }
        if !active(known) {
            return Err(Refusal::UserNotActive);
        }
        return Ok(Decision::Link(known.user_id.clone()));
    }
    if !rules.sign_up_open {
        return Err(Refusal::SignUpDisabled);
    }
    Ok(Decision::Create { email, email_verified: proven })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(email: Option<&str>, verified: bool) -> Profile {
        Profile { email: email.map(str::to_owned), email_verified: verified, ..Profile::default() }
    }

    fn rules(trust: bool, domains: &[&str]) -> IssuerRules {
        IssuerRules {
            allowed_domains: domains.iter().map(|d| (*d).to_owned()).collect(),
            trust_email: trust,
            sign_up_open: true,
        }
    }

    fn known(account: bool, verified: bool, status: &str) -> Known {
        Known {
            user_id: Id::trusted("u".to_owned()),
            account_id: account.then(|| Id::trusted("a".to_owned())),
            account_usable: true,
            email_verified: verified,
            status: status.to_owned(),
            suspended_until: None,
        }
    }

    #[test]
    fn the_table_of_links() {
        let mail = Some("a@x.co");
        let user = Id::trusted("u".to_owned());
        let linked = known(true, false, "active");
        let sign_in = Ok(Decision::SignIn(user.clone(), Id::trusted("a".to_owned())));
        let create = |email_verified| Ok(Decision::Create { email: "a@x.co".to_owned(), email_verified });
        let table = [
            (profile(None, false), rules(false, &[]), Some(linked.clone()), None, sign_in.clone()),
            (profile(mail, true), rules(true, &[]), Some(linked.clone()), Some(known(false, true, "active")), sign_in),
            (
                profile(None, false),
                rules(false, &[]),
                Some(known(true, true, "suspended")),
                None,
                Err(Refusal::UserNotActive),
            ),
            (profile(None, false), rules(true, &[]), None, None, Err(Refusal::EmailNotFound)),
            (profile(mail, true), rules(true, &[]), None, None, create(true)),
            (profile(mail, true), rules(false, &[]), None, None, create(false)),
            (profile(mail, false), rules(true, &[]), None, None, create(false)),
            (profile(mail, true), rules(true, &[]), None, Some(known(false, true, "active")), Ok(Decision::Link(user))),
            (
                profile(mail, false),
                rules(true, &[]),
                None,
                Some(known(false, true, "active")),
                Err(Refusal::AccountNotLinked),
            ),
            (
                profile(mail, true),
                rules(false, &[]),
                None,
                Some(known(false, true, "active")),
                Err(Refusal::AccountNotLinked),
            ),
            (
                profile(mail, true),
                rules(true, &[]),
                None,
                Some(known(false, false, "active")),
                Err(Refusal::AccountNotLinked),
            ),
            (
                profile(mail, true),
                rules(true, &[]),
                None,
                Some(known(false, true, "inactive")),
                Err(Refusal::UserNotActive),
            ),
            (profile(mail, true), rules(true, &["x.co"]), None, None, create(true)),
            (profile(mail, false), rules(true, &["x.co"]), None, None, Err(Refusal::DomainNotAllowed)),
            (profile(mail, true), rules(true, &["co"]), None, None, Err(Refusal::DomainNotAllowed)),
            (profile(None, false), rules(true, &["x.co"]), Some(linked), None, Err(Refusal::DomainNotAllowed)),
        ];
        for (row, (profile, rules, linked, same, expected)) in table.into_iter().enumerate() {
            assert_eq!(decide(&profile, &rules, linked.as_ref(), same.as_ref(), 0), expected, "row {row}");
        }
    }

    #[test]
    fn closed_sign_up_and_unusable_links() {
        let closed = IssuerRules { sign_up_open: false, ..rules(true, &[]) };
        assert_eq!(decide(&profile(Some("a@x.co"), true), &closed, None, None, 0), Err(Refusal::SignUpDisabled));
        let off = Known { account_usable: false, ..known(true, true, "active") };
        let decision = decide(&profile(None, false), &rules(true, &[]), Some(&off), None, 0);
        assert_eq!(decision, Err(Refusal::AccountNotUsable));
    }
}
