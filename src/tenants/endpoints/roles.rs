//! Roles that an organization makes for itself.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::access::permission::Permissions;
use crate::http::fields::Fields;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::Id;
use crate::records::store::audit::Severity;
use crate::session;
use crate::session::call::Call;
use crate::tenants::caller::{ActingMember, NamedTenant, authorize_member};
use crate::tenants::store::role::{NewRole, RoleChanges, RoleRecord};
use crate::tenants::{listing, roles, store};

/// The longest name of a role, in characters.
const LONGEST_NAME: usize = 64;

/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 1000;

/// The refusal of permissions that the actor does not hold, which names them.
fn lacking(call: &Call, acting: &ActingMember, wanted: &Permissions, refusal: Wire) -> Result<Option<Reply>> {
    let missing = acting.standing.permissions.lacks(wanted);
    if missing.is_empty() || wanted.own().is_err() {
        return Ok(None);
    }
    call.context.log(call.request.path(), &Error::refused(refusal, format!("without {}", missing.join(" "))));
    let body = json!({ "message": refusal.message, "code": refusal.code, "missingPermissions": missing });
    Reply::json(refusal.status, &body).map(Some)
}

/// Names that look alike are one name: `Owner ` must not be taken for `owner`.
fn plain(name: &str) -> String {
    name.trim().to_lowercase()
}

/// A name of a role of one's own: without the comma that separates several.
fn check_name(fields: &mut Fields, field: &str, name: &str) {
    if name.contains(',') {
        fields.refuse(field, "Invalid string: must not contain a comma");
    }
}

/// `POST /organization/create-role`.
///
/// # Errors
/// 400 for a name that is taken or a resource that is not there, 401, 403 for what the actor does not hold, 404.
pub async fn create(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::in_fields(&mut fields);
    let name = plain(&fields.line("role", LONGEST_NAME));
    check_name(&mut fields, "role", &name);
    let wanted = roles::permission_field(&mut fields);
    let mut more = fields.nested_optional("additionalFields");
    let description = more.optional_line("description", LONGEST_DESCRIPTION);
    let is_default = more.boolean("isDefault").unwrap_or(false);
    fields.absorb("additionalFields", more);
    fields.finish()?;
    let acting = authorize_member(&call.context, &named).await?;
    let permit = acting.permit(Action::CreateRole)?;
    if let Some(reply) = lacking(call, &acting, &wanted, Wire::NOT_ALLOWED_TO_CREATE_ROLE)? {
        return Ok(reply);
    }
    let own = roles::givable(&acting, &wanted, Wire::NOT_ALLOWED_TO_CREATE_ROLE)?;
    let mut further = Vec::new();
    if is_default {
        // A user who joins is given it: by somebody who may give roles, and this one, whose name may be one that rules of
        // websites ask for.
        further.extend([acting.permit(Action::UpdateMember)?, acting.permit(Action::UpdateRole)?]);
    }
    let context = &call.context;
    let id = context.id()?;
    let new = NewRole { id: &id, name: &name, description: description.as_deref(), is_default };
    let mut statements = vec![
        session::store::permission::holds_still(&permit),
        session::store::permission::holds_all_still(&permit, &wanted),
    ];
    statements.extend(further.iter().map(session::store::permission::holds_still));
    statements.extend(store::role::create(context, &permit, &new));
    statements.extend(store::role::allow(context, &permit, &id, &wanted, &own)?);
    statements.push(acting.audited(
        context,
        "role.created",
        Severity::Medium,
        json!({ "role": name, "permission": wanted.statements() }),
    )?);
    let answers = context.db()?.batch(roles::with_role(statements, &permit, &id)).await;
    let role = roles::read_changed_role(answers)?;
    let body =
        json!({ "success": true, "roleData": roles::role_json(&acting, &role), "statements": wanted.statements() });
    acting.answer(&body)
}

/// What a role is asked for by.
struct RoleFields {
    id: Option<String>,
    name: Option<String>,
}

impl RoleFields {
    fn in_fields(fields: &mut Fields) -> Self {
        let asked = Self { id: fields.optional("roleId", 100), name: fields.optional_line("roleName", LONGEST_NAME) };
        if asked.id.is_none() && asked.name.is_none() {
            fields.refuse("roleName", "Invalid input: expected roleName or roleId");
        }
        asked
    }

    /// The role, of this organization alone.
    async fn find(&self, call: &Call, acting: &ActingMember) -> Result<RoleRecord> {
        let missing = || Error::refused(Wire::ROLE_NOT_FOUND, "unknown, or of another organization");
        let id = match &self.id {
            Some(id) => Some(Id::parse(id).ok_or_else(missing)?),
            None => None,
        };
        let statement = store::role::find(acting.tenant(), id.as_ref(), self.name.as_deref());
        let role: Option<RoleRecord> = call.context.db()?.first(statement).await?;
        role.ok_or_else(missing)
    }
}

/// `GET /organization/list-roles`: those that the organization made.
///
/// # Errors
/// 401, 403, 404.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let acting = authorize_member(&call.context, &NamedTenant::in_query(&call.request)).await?;
    acting.permit(Action::ListRoles)?;
    let roles: Vec<RoleRecord> = call.context.db()?.batch([store::role::list(acting.tenant())]).await?.rows()?;
    let body: Value = roles.iter().map(|role| roles::role_json(&acting, role)).collect();
    acting.answer(&body)
}

/// `GET /organization/get-role`: by name or id.
///
/// # Errors
/// 400 for one that is not there, 401, 403, 404.
pub async fn get(call: &mut Call) -> Result<Reply> {
    let asked = RoleFields { id: call.request.param("roleId"), name: call.request.param("roleName") };
    if asked.id.is_none() && asked.name.is_none() {
        return Err(listing::invalid_parameter("roleName", "roleName or roleId"));
    }
    let acting = authorize_member(&call.context, &NamedTenant::in_query(&call.request)).await?;
    acting.permit(Action::ReadRole)?;
    let role = asked.find(call, &acting).await?;
    let body = roles::role_json(&acting, &role);
    acting.answer(&body)
}

/// `POST /organization/update-role`: its name, and what it allows.
///
/// # Errors
/// 400, 401, 403 for what the actor does not hold, before or after; 404.
pub async fn update(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::in_fields(&mut fields);
    let asked = RoleFields::in_fields(&mut fields);
    let mut data = fields.nested("data");
    let name = data.optional_line("roleName", LONGEST_NAME).map(|name| plain(&name));
    check_name(&mut data, "roleName", name.as_deref().unwrap_or_default());
    let wanted = data.has("permission").then(|| roles::permission_field(&mut data));
    let description = data.optional_line("description", LONGEST_DESCRIPTION);
    let (is_default, is_active) = (data.boolean("isDefault"), data.boolean("isActive"));
    fields.absorb("data", data);
    fields.finish()?;
    let acting = authorize_member(&call.context, &named).await?;
    let permit = acting.permit(Action::UpdateRole)?;
    let role = asked.find(call, &acting).await?;
    let refusal = Wire::NOT_ALLOWED_TO_UPDATE_ROLE;
    acting.holds(&role.permissions, refusal)?;
    let own = wanted.as_ref().map(|wanted| roles::givable(&acting, wanted, refusal)).transpose()?;
    let mut further = Vec::new();
    if is_default == Some(true) || is_active == Some(true) || name.is_some() {
        // Rules of websites go by the name: renaming a role, or letting it count again, gives another role to those who have it.
        further.push(acting.permit(Action::UpdateMember)?);
    }
    let context = &call.context;
    let changes = RoleChanges { name: name.as_deref(), description: description.as_deref(), is_default, is_active };
    let mut statements = vec![
        session::store::permission::holds_still(&permit),
        session::store::permission::holds_all_still(&permit, &role.permissions),
    ];
    statements.extend(wanted.as_ref().map(|wanted| session::store::permission::holds_all_still(&permit, wanted)));
    statements.extend(further.iter().map(session::store::permission::holds_still));
    statements.extend([store::role::update(context, &permit, &role.id, &changes), must_change()]);
    if let (Some(wanted), Some(own)) = (&wanted, &own) {
        statements.extend(store::role::allow(context, &permit, &role.id, wanted, own)?);
    }
    let details = json!({ "role": role.name, "name": name, "before": role.permissions.statements(),
                          "after": wanted.as_ref().map(Permissions::statements) });
    statements.push(acting.audited(context, "role.changed", Severity::High, details)?);
    let role = roles::read_changed_role(context.db()?.batch(roles::with_role(statements, &permit, &role.id)).await)?;
    let body = json!({ "success": true, "roleData": roles::role_json(&acting, &role) });
    acting.answer(&body)
}

/// `POST /organization/delete-role`: one that nobody has.
///
/// # Errors
/// 400 for a system role, one that is given to somebody, or none; 401, 403, 404.
pub async fn delete(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::in_fields(&mut fields);
    let asked = RoleFields::in_fields(&mut fields);
    fields.finish()?;
    let acting = authorize_member(&call.context, &named).await?;
    let permit = acting.permit(Action::DeleteRole)?;
    if matches!(asked.name.as_deref(), Some("owner" | "admin" | "member")) {
        return Err(Error::refused(Wire::PREDEFINED_ROLE, "a system role"));
    }
    let role = asked.find(call, &acting).await?;
    acting.holds(&role.permissions, Wire::NOT_ALLOWED_TO_DELETE_ROLE)?;
    let context = &call.context;
    let statements = [
        session::store::permission::holds_still(&permit),
        session::store::permission::holds_all_still(&permit, &role.permissions),
        store::role::delete(&permit, &role.id),
        must_change(),
        acting.audited(context, "role.deleted", Severity::High, json!({ "role": role.name }))?,
    ];
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Err(Error::refused(Wire::ROLE_IS_ASSIGNED, "somebody has it")),
        other => drop(other?),
    }
    acting.answer(&json!({ "success": true }))
}
