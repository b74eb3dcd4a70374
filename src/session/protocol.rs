//! Sessions and users, as the login protocol shows them.
//!
//! PURE: no I/O, no clock, no randomness.

use serde::Serialize;

use crate::platform::id::Id;
use crate::platform::time;
use crate::session::live_session::LiveSession;
use crate::users::person::Person;

impl LiveSession {
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
            expires_at: time::iso(self.expires_at),
            created_at: time::iso(self.created_at),
            updated_at: time::iso(self.updated_at),
            ip_address: self.ip_address.as_deref(),
            user_agent: self.user_agent.as_deref(),
            active_organization_id: self.active_tenant_id.as_ref().map(Id::as_str),
            active_team_id: self.active_group_id.as_ref().map(Id::as_str),
            must_enrol_second_factor: self.must_enrol.then_some(true),
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
    /// The group of it.
    pub active_team_id: Option<&'a str>,
    /// `true` where the tenant lets its user do nothing but set up a second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub must_enrol_second_factor: Option<bool>,
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
    role: String,
    banned: bool,
}

impl<'a> UserJson<'a> {
    /// Nobody who is banned has a session to be seen in.
    #[must_use]
    pub fn new(user: &'a Person, roles: &[String]) -> Self {
        Self {
            id: user.id.as_str(),
            name: &user.name,
            email: &user.email,
            email_verified: user.email_verified,
            image: user.image.as_deref(),
            created_at: time::iso(user.created_at),
            updated_at: time::iso(user.updated_at),
            username: user.username.as_deref(),
            display_username: user.display_username.as_deref(),
            phone_number: user.phone_number.as_deref(),
            phone_number_verified: user.phone_number_verified,
            two_factor_enabled: user.two_factor_enabled,
            is_anonymous: user.is_anonymous,
            role: user_role(roles),
            banned: false,
        }
    }
}

/// A user's roles in the tenant, as the protocol's `user.role` says them: `admin` for whoever administers it, `user` for
/// every other member, and roles of the tenant's own beside it, comma-separated.
#[must_use]
pub fn user_role(roles: &[String]) -> String {
    let is = |name: &str| roles.iter().any(|role| role == name);
    let first = if is("owner") || is("admin") { "admin" } else { "user" };
    let own = roles.iter().map(String::as_str).filter(|role| !matches!(*role, "owner" | "admin" | "member"));
    std::iter::once(first).chain(own).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_said_in_one_text() {
        let said = |roles: &[&str]| user_role(&roles.iter().map(|role| (*role).to_owned()).collect::<Vec<_>>());
        assert_eq!(said(&[]), "user");
        assert_eq!(said(&["member"]), "user");
        assert_eq!(said(&["owner", "member", "support"]), "admin,support");
        assert_eq!(said(&["member", "support", "sales"]), "user,support,sales");
    }
}
