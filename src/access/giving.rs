//! Who may give what: one rule for every door by which somebody comes to more than they had. Its double in SQL, which the
//! batch asks once more, is `gives!` in `store/access.rs`.
//!
//! PURE: no I/O, no clock, no randomness.

use serde::Deserialize;

use crate::access::permission::Permissions;

/// The permission of a user who decides about roles, and so gives each that allows no more than they hold.
pub const DECIDES: &str = "ac:update";

/// A role that is to be given.
#[derive(Clone, Debug, Deserialize)]
pub struct Gift {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub permissions: Permissions,
    /// Whether its name means something beside what it allows: it allows nothing here, a website's rule asks for it, or it
    /// spares a second factor.
    pub goes_by_name: bool,
}

/// Somebody who gives: what they hold in the tenant.
#[derive(Clone, Copy, Debug)]
pub struct Giver<'a> {
    /// What they are allowed.
    pub permissions: &'a Permissions,
    /// Names of their roles.
    pub roles: &'a [String],
}

impl Giver<'_> {
    /// Nobody gives what they do not hold: neither a permission, nor the name of a role that means something by itself. Such
    /// a name is given by a user who has the role, or decides about roles.
    ///
    /// # Errors
    /// What they lack, for the log.
    pub fn may_give(self, gift: &Gift) -> Result<(), String> {
        let lacking = self.permissions.lacks(&gift.permissions);
        if !lacking.is_empty() {
            return Err(format!("without {}", lacking.join(" ")));
        }
        let is_theirs = self.roles.contains(&gift.name);
        if gift.goes_by_name && !is_theirs && !self.permissions.allows(DECIDES) {
            return Err(format!("role {:?} is not theirs to give", gift.name));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gives_what_they_do_not_hold() {
        let set = |names: &[&str]| Permissions::of(names.iter().map(|name| (*name).to_owned()));
        let gift = |allowed: &[&str], goes_by_name| Gift {
            name: "finance".to_owned(),
            permissions: set(allowed),
            goes_by_name,
        };
        for (held, roles, gift, expected) in [
            (&[][..], &[][..], gift(&[], false), true),
            (&[], &[], gift(&["a:b"], false), false),
            (&["a:b"], &[], gift(&["a:b"], false), true),
            (&["a:b"], &[], gift(&["a:b", "a:c"], false), false),
            (&["*:*"], &[], gift(&["a:b"], true), true),
            (&["a:b"], &[], gift(&["*:*"], false), false),
            (&[], &[], gift(&[], true), false),
            (&[], &["finance"], gift(&[], true), true),
            (&["ac:update"], &[], gift(&[], true), true),
            (&["a:b"], &[], gift(&["a:b"], true), false),
            (&["a:b"], &["finance"], gift(&["a:b"], true), true),
            (&[], &["finance"], gift(&["a:b"], true), false),
            (&["ac:update"], &["finance"], gift(&["a:b"], true), false),
        ] {
            let roles: Vec<String> = roles.iter().map(|role: &&str| (*role).to_owned()).collect();
            let held = set(held);
            let giver = Giver { permissions: &held, roles: &roles };
            assert_eq!(giver.may_give(&gift).is_ok(), expected, "{held:?} {roles:?} {gift:?}");
        }
    }
}
