//! Which user an upstream identity becomes.
//!
//! PURE: no I/O, no clock, no randomness.

use serde::Deserialize;

use crate::federation::profile::Profile;
use crate::platform::id::{Account, Id, Millis, User};
use crate::users::person::user_is_active;

/// What the issuer is allowed.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "settings")]
pub struct IssuerRules {
    /// Whether the domain of the address is one whose people may come.
    pub domain_is_allowed: bool,
    /// Whether its word on an address is believed.
    pub trust_email: bool,
    /// Whether a new link waits until its owner has confirmed it by mail.
    pub require_confirmation: bool,
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
    /// `account.is_active`.
    pub account_is_active: bool,
    /// Whether `account.confirmed_at` is set.
    pub account_is_confirmed: bool,
    /// `user.email`.
    pub email: String,
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
    /// Ask the owner of this account, which waits, once more, at their address.
    Confirm(Id<User>, Id<Account>, String),
    /// Link the identity to this user, and sign in.
    Link(Id<User>),
    /// The same for a user whose address was never proven, and is proven by this: the person who made the account loses it.
    Reclaim(Id<User>, String),
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
    /// The link was switched off.
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

/// Whether a domain, in ASCII, is in a list: `example.org` stands for itself, `*.example.org` for what is below it. An empty
/// list is all.
#[must_use]
pub fn domain_is_listed(domain: Option<&str>, allowed: &[String]) -> bool {
    let below = |domain: &str, parent: &str| domain.strip_suffix(parent).is_some_and(|head| head.ends_with('.'));
    allowed.is_empty()
        || domain.is_some_and(|domain| {
            allowed.iter().any(|entry| match entry.strip_prefix("*.") {
                Some(parent) => below(domain, parent),
                None => domain == entry,
            })
        })
}

/// Decides.
///
/// # Errors
/// The refusal.
pub fn decide_linking(
    profile: &Profile,
    rules: &IssuerRules,
    linked: Option<&Known>,
    same_email: Option<&Known>,
    now: Millis,
) -> Result<Decision, Refusal> {
    if !rules.domain_is_allowed {
        return Err(Refusal::DomainNotAllowed);
    }
    let active = |known: &Known| user_is_active(&known.status, known.suspended_until, now);
    if let Some(known) = linked {
        let account = known.account_id.clone().filter(|_| known.account_is_active);
        let account = account.ok_or(Refusal::AccountNotUsable)?;
        if !active(known) {
            return Err(Refusal::UserNotActive);
        }
        if !known.account_is_confirmed {
            return Ok(Decision::Confirm(known.user_id.clone(), account, known.email.clone()));
        }
        return Ok(Decision::SignIn(known.user_id.clone(), account));
    }
    let email = profile.email.clone().ok_or(Refusal::EmailNotFound)?;
    // An issuer that is not trusted can call any address proven.
    let proven = profile.email_verified && rules.trust_email;
    if let Some(known) = same_email {
        // Both sides must be proven. Upstream: or whoever writes an address into a profile takes the account over.
        // Ours: or a stranger who signed up with the user's address before them keeps a password to their account. Where the address
        // was never proven, upstream's proof is the first, and ends all that was set up before it.
        // Where the owner is asked by mail, their answer is what upstream's proof would be.
        let reclaims = proven && !rules.require_confirmation && !known.email_verified;
        if !reclaims && (!(proven || rules.require_confirmation) || !known.email_verified) {
            return Err(Refusal::AccountNotLinked);
        }
        if !active(known) {
            return Err(Refusal::UserNotActive);
        }
        if reclaims {
            return Ok(Decision::Reclaim(known.user_id.clone(), known.email.clone()));
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

    fn rules(trust: bool) -> IssuerRules {
        IssuerRules { domain_is_allowed: true, trust_email: trust, require_confirmation: false, sign_up_open: true }
    }

    fn known(account: bool, verified: bool, status: &str) -> Known {
        Known {
            user_id: Id::trusted("u".to_owned()),
            account_id: account.then(|| Id::trusted("a".to_owned())),
            account_is_active: true,
            account_is_confirmed: true,
            email: "a@x.co".to_owned(),
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
        let elsewhere = IssuerRules { domain_is_allowed: false, ..rules(true) };
        let asking = IssuerRules { require_confirmation: true, ..rules(false) };
        let waiting = Known { account_is_confirmed: false, ..linked.clone() };
        let table = [
            (profile(None, false), rules(false), Some(linked.clone()), None, sign_in.clone()),
            (profile(mail, true), rules(true), Some(linked.clone()), Some(known(false, true, "active")), sign_in),
            (
                profile(None, false),
                rules(false),
                Some(known(true, true, "suspended")),
                None,
                Err(Refusal::UserNotActive),
            ),
            (profile(None, false), rules(true), None, None, Err(Refusal::EmailNotFound)),
            (profile(mail, true), rules(true), None, None, create(true)),
            (profile(mail, true), rules(false), None, None, create(false)),
            (profile(mail, false), rules(true), None, None, create(false)),
            (
                profile(mail, true),
                rules(true),
                None,
                Some(known(false, true, "active")),
                Ok(Decision::Link(user.clone())),
            ),
            (
                profile(mail, false),
                rules(true),
                None,
                Some(known(false, true, "active")),
                Err(Refusal::AccountNotLinked),
            ),
            (
                profile(mail, true),
                rules(false),
                None,
                Some(known(false, true, "active")),
                Err(Refusal::AccountNotLinked),
            ),
            (
                profile(mail, true),
                rules(true),
                None,
                Some(known(false, false, "active")),
                Ok(Decision::Reclaim(user.clone(), "a@x.co".to_owned())),
            ),
            (
                profile(mail, true),
                rules(false),
                None,
                Some(known(false, false, "active")),
                Err(Refusal::AccountNotLinked),
            ),
            (
                profile(mail, true),
                rules(true),
                None,
                Some(known(false, false, "suspended")),
                Err(Refusal::UserNotActive),
            ),
            (profile(mail, true), rules(true), None, Some(known(false, true, "inactive")), Err(Refusal::UserNotActive)),
            (profile(mail, true), elsewhere.clone(), None, None, Err(Refusal::DomainNotAllowed)),
            (profile(None, false), elsewhere, Some(linked), None, Err(Refusal::DomainNotAllowed)),
            (
                profile(None, false),
                rules(false),
                Some(waiting),
                None,
                Ok(Decision::Confirm(user.clone(), Id::trusted("a".to_owned()), "a@x.co".to_owned())),
            ),
            (profile(mail, false), asking.clone(), None, Some(known(false, true, "active")), Ok(Decision::Link(user))),
            (profile(mail, true), asking, None, Some(known(false, false, "active")), Err(Refusal::AccountNotLinked)),
        ];
        for (row, (profile, rules, linked, same, expected)) in table.into_iter().enumerate() {
            assert_eq!(decide_linking(&profile, &rules, linked.as_ref(), same.as_ref(), 0), expected, "row {row}");
        }
    }

    #[test]
    fn closed_sign_up_and_unusable_links() {
        let closed = IssuerRules { sign_up_open: false, ..rules(true) };
        assert_eq!(
            decide_linking(&profile(Some("a@x.co"), true), &closed, None, None, 0),
            Err(Refusal::SignUpDisabled)
        );
        let off = Known { account_is_active: false, ..known(true, true, "active") };
        let decision = decide_linking(&profile(None, false), &rules(true), Some(&off), None, 0);
        assert_eq!(decision, Err(Refusal::AccountNotUsable));
    }

    #[test]
    fn the_table_of_domains() {
        let list = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>();
        for (domain, allowed, expected) in [
            (None, &[][..], true),
            (Some("any.example"), &[], true),
            (None, &["x.co"], false),
            (Some("x.co"), &["y.co", "x.co"], true),
            (Some("sub.x.co"), &["x.co"], false),
            (Some("sub.x.co"), &["*.x.co"], true),
            (Some("a.b.x.co"), &["*.x.co"], true),
            (Some("x.co"), &["*.x.co"], false),
            (Some("evilx.co"), &["*.x.co", "x.co"], false),
            (Some("x.co.evil"), &["x.co", "*.x.co"], false),
            (Some("xn--bcher-kva.example"), &["xn--bcher-kva.example"], true),
        ] {
            assert_eq!(domain_is_listed(domain, &list(allowed)), expected, "{domain:?} {allowed:?}");
        }
    }
}
