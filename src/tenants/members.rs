//! Members as the login protocol shows them.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::platform::d1::{Statement, StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Tenant};
use crate::platform::time::iso;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session;
use crate::session::store::deed::Deed;
use crate::session::store::permission::Standing;
use crate::tenants::caller::{ActingMember, NamedTenant, authorize_member, load_grantable_roles, role_text};
use crate::tenants::store;
use crate::tenants::store::member::{ListedMember, WITHOUT_OWNER};

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

/// Loads the member whom a statement finds.
///
/// # Errors
/// 400 for somebody who is no member; 503.
pub async fn load_member_standing(context: &Context, statement: Statement) -> Result<Standing> {
    let found: Option<Standing> = context.db()?.first(statement).await?;
    found.ok_or_else(|| Error::refused(Wire::MEMBER_NOT_FOUND, "unknown, or of another organization"))
}

/// What a batch that would leave an organization without owner is refused with.
#[must_use]
pub fn refuse_ownerless(error: StoreError, wire: Wire) -> Error {
    match error {
        StoreError::Broken(name) if name == WITHOUT_OWNER => Error::refused(wire, "the last owner"),
        StoreError::Unchanged => Error::refused(Wire::MEMBER_NOT_FOUND, "gone meanwhile"),
        other => other.into(),
    }
}

/// A member whose roles were changed.
pub struct ChangedMember {
    /// Who changed them.
    pub acting: ActingMember,
    /// The member.
    pub member: ListedMember,
}

/// Gives a member of the organization that is named these roles, and takes all others away.
///
/// # Errors
/// 400 for a role that is not there, a member who is not, and an organization that would have no owner; 401; 403; 404.
pub async fn change_member_roles(
    context: &Context,
    named: &NamedTenant,
    member: &str,
    roles: &[String],
) -> Result<ChangedMember> {
    let acting = authorize_member(context, named).await?;
    let permit = acting.permit(Action::UpdateMember)?;
    let missing = || Error::refused(Wire::MEMBER_NOT_FOUND, "no id");
    let member = Id::parse(member).ok_or_else(missing)?;
    let target =
        load_member_standing(context, session::store::permission::standing_of_member(acting.tenant(), &member)).await?;
    let refusal = Wire::NOT_ALLOWED_TO_UPDATE_MEMBER;
    // What they lose by it counts as well: whoever has less must not demote whoever has more.
    acting.outranks(&target.permissions, refusal)?;
    let granted = load_grantable_roles(context, &acting, roles, (Wire::ROLE_NOT_FOUND, refusal)).await?;
    let ids: Vec<_> = granted.iter().map(|role| &role.id).collect();
    let deed = Deed {
        event: "member.roles_changed",
        severity: Severity::High,
        subject: Some(&target.user_id),
        details: json!({ "before": target.given, "after": roles }),
    };
    let mut statements = vec![
        session::store::permission::holds_still(&permit),
        session::store::permission::covers_still(&permit, &ids, Some(&target.user_id)),
        store::member::keeps_owner(acting.tenant(), &target.user_id, &ids),
    ];
    statements.extend(store::member::set_roles(context, &permit, &target.user_id, &ids));
    statements.push(must_change());
    statements.push(acting.audited_of(context, &deed)?);
    if target.user_id != acting.standing.user_id {
        let message = format!("Your role in {} is {} now.", acting.standing.tenant.name, role_text(roles));
        statements.push(acting.tells(context, &target.user_id, deed.event, &message)?);
    }
    statements.push(store::member::show(acting.tenant(), &member));
    let last = statements.len() - 1;
    let answers = context.db()?.batch(statements).await;
    let shown: Option<ListedMember> =
        answers.map_err(|error| refuse_ownerless(error, Wire::WITHOUT_AN_OWNER))?.skip(last).row()?;
    let shown = shown.ok_or_else(missing)?;
    Ok(ChangedMember { acting, member: shown })
}
