//! What each action needs, in one table; and the permit that a privileged write takes.
//!
//! PURE: no I/O, no clock, no randomness.

use crate::access::permission::Permissions;
use crate::platform::error::{Error, Wire};
use crate::platform::id::{Id, Tenant, User};

/// Declares actions: the permission that each needs, and how it is refused.
macro_rules! actions {
    ($($name:ident $permission:literal $refusal:ident;)*) => {
        /// Something that not everybody may do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $(#[doc = concat!("Needs `", $permission, "`.")] $name,)*
        }

        impl Action {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The permission that it needs.
            #[must_use]
            pub const fn needs(self) -> &'static str {
                match self { $(Self::$name => $permission,)* }
            }

            /// What whoever may not is told.
            #[must_use]
            pub const fn refusal(self) -> Wire {
                match self { $(Self::$name => Wire::$refusal,)* }
            }
        }
    };
}

actions! {
    UpdateOrganization "organization:update" NOT_ALLOWED_TO_UPDATE_ORGANIZATION;
    DeleteOrganization "organization:delete" NOT_ALLOWED_TO_DELETE_ORGANIZATION;
    AddMember "member:create" NOT_ALLOWED_TO_ADD_MEMBER;
    UpdateMember "member:update" NOT_ALLOWED_TO_UPDATE_MEMBER;
    RemoveMember "member:delete" NOT_ALLOWED_TO_DELETE_MEMBER;
    Invite "invitation:create" NOT_ALLOWED_TO_INVITE;
    CancelInvitation "invitation:cancel" NOT_ALLOWED_TO_CANCEL_INVITATION;
    CreateTeam "team:create" NOT_ALLOWED_TO_CREATE_TEAM;
    UpdateTeam "team:update" NOT_ALLOWED_TO_UPDATE_TEAM;
    DeleteTeam "team:delete" NOT_ALLOWED_TO_DELETE_TEAM;
    AddTeamMember "team:update" NOT_ALLOWED_TO_ADD_TEAM_MEMBER;
    RemoveTeamMember "team:update" NOT_ALLOWED_TO_REMOVE_TEAM_MEMBER;
    CreateRole "ac:create" NOT_ALLOWED_TO_CREATE_ROLE;
    ListRoles "ac:read" NOT_ALLOWED_TO_LIST_ROLES;
    ReadRole "ac:read" NOT_ALLOWED_TO_READ_ROLE;
    UpdateRole "ac:update" NOT_ALLOWED_TO_UPDATE_ROLE;
    DeleteRole "ac:delete" NOT_ALLOWED_TO_DELETE_ROLE;
    ReadPolicy "policy:read" FORBIDDEN;
    UpdatePolicy "policy:update" FORBIDDEN;
    CreateKey "apiKey:create" KEY_PERMISSION;
    ReadKey "apiKey:read" KEY_PERMISSION;
    UpdateKey "apiKey:update" KEY_PERMISSION;
    DeleteKey "apiKey:delete" KEY_PERMISSION;
    CreateUser "user:create" NOT_ALLOWED_TO_CREATE_USERS;
    ListUsers "user:list" NOT_ALLOWED_TO_LIST_USERS;
    GetUser "user:get" NOT_ALLOWED_TO_GET_USER;
    UpdateUser "user:update" NOT_ALLOWED_TO_UPDATE_USERS;
    SetUserEmail "user:set-email" NOT_ALLOWED_TO_SET_USERS_EMAIL;
    SetUserRole "user:set-role" NOT_ALLOWED_TO_CHANGE_USERS_ROLE;
    SetUserPassword "user:set-password" NOT_ALLOWED_TO_SET_USERS_PASSWORD;
    BanUser "user:ban" NOT_ALLOWED_TO_BAN_USERS;
    ImpersonateUser "user:impersonate" NOT_ALLOWED_TO_IMPERSONATE_USERS;
    ImpersonateAdministrator "user:impersonate-admins" CANNOT_IMPERSONATE_ADMINS;
    RemoveUser "user:delete" NOT_ALLOWED_TO_DELETE_USERS;
    ListUserSessions "session:list" NOT_ALLOWED_TO_LIST_USERS_SESSIONS;
    RevokeUserSessions "session:revoke" NOT_ALLOWED_TO_REVOKE_USERS_SESSIONS;
    ManageTenants "tenant:manage" FORBIDDEN;
    ManageIssuers "issuer:manage" FORBIDDEN;
    ManageClients "client:manage" FORBIDDEN;
}

/// Somebody was found to be allowed something in a tenant. Nothing else makes one, and privileged writes take one.
#[derive(Clone, Debug)]
pub struct Permit {
    tenant: Id<Tenant>,
    actor: Id<User>,
    needs: Option<&'static str>,
}

impl Permit {
    /// A permit, if `held` allows the action.
    ///
    /// # Errors
    /// The action's refusal.
    pub fn of(held: &Permissions, action: Action, tenant: &Id<Tenant>, actor: &Id<User>) -> Result<Self, Error> {
        if held.allows(action.needs()) {
            return Ok(Self { tenant: tenant.clone(), actor: actor.clone(), needs: Some(action.needs()) });
        }
        Err(Error::refused(action.refusal(), format!("without {}", action.needs())))
    }

    /// For what anybody may do with what is their own: leave, accept, make a tenant.
    #[must_use]
    pub fn for_oneself(tenant: &Id<Tenant>, actor: &Id<User>) -> Self {
        Self { tenant: tenant.clone(), actor: actor.clone(), needs: None }
    }

    /// The permission that it stands for; none of what anybody may do with what is their own.
    #[must_use]
    pub const fn needs(&self) -> Option<&'static str> {
        self.needs
    }

    /// In which tenant.
    #[must_use]
    pub const fn tenant(&self) -> &Id<Tenant> {
        &self.tenant
    }

    /// Who.
    #[must_use]
    pub const fn actor(&self) -> &Id<User> {
        &self.actor
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::access::permission::{EVERYTHING, SYSTEM};

    /// What the system roles hold, as the migrations say it: tests/workerd/permissions.test.mjs holds the database to the
    /// same file.
    fn roles() -> [(&'static str, Permissions); 4] {
        let all = SYSTEM
            .iter()
            .flat_map(|(resource, actions)| actions.iter().map(move |action| format!("{resource}:{action}")));
        let beyond = ["organization:delete", "user:impersonate-admins"];
        let admin = all.filter(|name| !beyond.contains(&name.as_str()));
        [
            ("owner", Permissions::of([EVERYTHING.to_owned()])),
            ("admin", Permissions::of(admin)),
            ("member", Permissions::of(["ac:read".to_owned()])),
            ("nobody", Permissions::default()),
        ]
    }

    #[test]
    fn the_policy_is_the_golden_table() {
        let roles = roles();
        let mut table =
            String::from("# action                  permission               owner  admin  member nobody\n");
        for &action in Action::ALL {
            let (name, tenant, actor) =
                (format!("{action:?}"), Id::trusted("t".to_owned()), Id::trusted("u".to_owned()));
            let _ = write!(table, "{name:<25} {:<24}", action.needs());
            for (_, held) in &roles {
                let may = Permit::of(held, action, &tenant, &actor).is_ok();
                let _ = write!(table, " {:<6}", if may { "yes" } else { "-" });
            }
            while table.ends_with(' ') {
                table.pop();
            }
            table.push('\n');
        }
        let golden = include_str!("../../tests/golden/permissions.txt");
        assert_eq!(table, golden, "tests/golden/permissions.txt should read:\n{table}");
    }

    #[test]
    fn every_action_needs_a_permission_that_there_is() {
        for action in Action::ALL {
            let (resource, verb) = action.needs().split_once(':').expect("a permission");
            let known = SYSTEM.iter().any(|(system, actions)| *system == resource && actions.contains(&verb));
            assert!(known, "{action:?}");
            assert!(matches!(action.refusal().status, 403), "{action:?}");
        }
    }
}
