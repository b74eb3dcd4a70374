//! Loading a group, and who may manage it.

use serde_json::{Value, json};

use crate::access::action::{Action, Permit};
use crate::platform::d1::StoreError;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Group, Id};
use crate::platform::time::iso;
use crate::request::context::Context;
use crate::session::api_key;
use crate::tenants::caller::ActingMember;
use crate::tenants::store::group::{FULL, GroupRecord};
use crate::tenants::{caller, store};

/// A group, as the protocol shows it.
#[must_use]
pub fn group_json(group: &GroupRecord) -> Value {
    json!({
        "id": group.id, "name": group.name, "organizationId": group.tenant_id, "createdAt": iso(group.created_at),
        "updatedAt": iso(group.updated_at), "slug": group.slug, "description": group.description,
        "groupType": group.group_type, "isPublic": group.is_public, "isOpen": group.is_open,
        "isSystem": group.is_system, "isActive": group.is_active, "memberCount": group.member_count,
        "maxMembers": group.max_members, "tags": group.tags, "settings": group.settings, "ownerId": group.owner_id,
        "roles": group.roles,
    })
}

/// For a group that the actor does not see.
#[must_use]
pub fn group_not_found() -> Error {
    Error::refused(Wire::TEAM_NOT_FOUND, "unknown, hidden, or of another organization")
}

/// What a batch about groups fails with.
#[must_use]
pub fn group_refused(error: StoreError) -> Error {
    match error {
        StoreError::Conflict(_) => Error::refused(Wire::TEAM_ALREADY_EXISTS, "its name or slug is taken"),
        StoreError::Broken(name) if name == FULL => Error::refused(Wire::TEAM_FULL, "full"),
        StoreError::Unchanged => group_not_found(),
        other => other.into(),
    }
}

/// A group that the actor sees.
///
/// # Errors
/// 404.
pub async fn load_visible_group(context: &Context, acting: &ActingMember, id: &str) -> Result<GroupRecord> {
    let id: Id<Group> = Id::parse(id).ok_or_else(group_not_found)?;
    let statement = store::group::find(acting.tenant(), &acting.standing.user_id, &id);
    let group: Option<GroupRecord> = context.db()?.first(statement).await?;
    let sees =
        |group: &GroupRecord| group.is_public || group.mine.is_some() || acting.permit(Action::UpdateTeam).is_ok();
    group.filter(sees).ok_or_else(group_not_found)
}

/// The permit to change a group or who is in it: by the organization's roles, or as who looks after the group. Whoever
/// lets somebody into a group gives them the roles that it carries.
///
/// # Errors
/// The action's refusal.
pub fn require_group_management(acting: &ActingMember, group: &GroupRecord, action: Action) -> Result<Permit> {
    let is_person = acting.session().login_method != api_key::METHOD;
    let looks_after = is_person && matches!(group.mine.as_deref(), Some("owner" | "admin"));
    let permit =
        if looks_after && action != Action::DeleteTeam { caller::is_oneself(acting) } else { acting.permit(action)? };
    acting.gives(&group.carried, action.refusal())?;
    Ok(permit)
}

/// Whoever looks after a group for its owner does not depose them, nor makes others what they are.
///
/// # Errors
/// 403.
pub fn require_own_or_permission(acting: &ActingMember, group: &GroupRecord) -> Result<()> {
    if group.mine.as_deref() != Some("owner") {
        acting.permit(Action::UpdateTeam)?;
    }
    Ok(())
}
