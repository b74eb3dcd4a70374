//! Members as the login protocol shows them.
//!
//! PURE: no I/O, no clock, no randomness.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::platform::error::Result;
use crate::platform::id::{Id, Tenant};
use crate::platform::time::iso;
use crate::tenants::caller::{ActingMember, role_text};
use crate::tenants::store::member::ListedMember;

/// The most members of a page.
pub const MOST_LISTED: i64 = 100;

/// A member, as the protocol shows them.
#[must_use]
pub fn member_json(tenant: &Id<Tenant>, member: &ListedMember) -> Value {
    json!({
        "id": member.id, "organizationId": tenant, "userId": member.user_id, "role": role_text(&member.roles),
        "createdAt": iso(member.created_at),
        "user": { "id": member.user_id, "name": member.name, "email": member.email, "image": member.image },
    })
}

/// Members of an organization see each other. Of the default tenant everybody is one who ever signed up: only whoever may
/// list users sees them.
///
/// # Errors
/// 403.
pub fn sees_everybody(acting: &ActingMember) -> Result<()> {
    acting.reads("member")?;
    if acting.standing.tenant.slug == "default" {
        acting.permit(Action::ListUsers)?;
    }
    Ok(())
}
