//! Reading permissions from a request.

use serde_json::{Value, json};

use crate::access::action::Permit;
use crate::access::permission::Permissions;
use crate::http::fields::Fields;
use crate::platform::d1::StoreError;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::Id;
use crate::platform::time::iso;
use crate::platform::{d1, id};
use crate::tenants::caller::ActingMember;
use crate::tenants::store;
use crate::tenants::store::role::RoleRecord;

/// Reads `permissions`, or `permission` as the protocol calls it as well.
pub fn permission_field(fields: &mut Fields) -> Permissions {
    let (name, value) = match (fields.take("permissions"), fields.take("permission")) {
        (Some(_), Some(_)) => {
            fields.refuse("permission", "Sent beside permissions");
            return Permissions::default();
        }
        (Some(value), None) => ("permissions", value),
        (None, Some(value)) => ("permission", value),
        (None, None) => {
            fields.refuse("permissions", "Invalid input: expected object, received undefined");
            return Permissions::default();
        }
    };
    Permissions::parse(&value).unwrap_or_else(|problem| {
        fields.refuse(name, &problem.0);
        Permissions::default()
    })
}

pub(crate) fn role_json(acting: &ActingMember, role: &RoleRecord) -> Value {
    json!({
        "id": role.id, "organizationId": acting.tenant(), "role": role.name, "permission": role.permissions.statements(),
        "description": role.description, "isDefault": role.is_default, "isActive": role.is_active,
        "createdAt": iso(role.created_at), "updatedAt": iso(role.updated_at),
    })
}

/// Whether these permissions may be given in the organization: the server's own as they are, others as it likes, and
/// none that the actor does not hold.
///
/// # Errors
/// `refusal` for a permission that they do not hold.
pub fn givable<'a>(acting: &ActingMember, wanted: &'a Permissions, refusal: Wire) -> Result<Vec<&'a str>> {
    let own = wanted.own().map_err(|name| Error::refused(Wire::INVALID_RESOURCE, name))?;
    acting.holds(wanted, refusal)?;
    Ok(own)
}

pub(crate) fn with_role(mut statements: Vec<d1::Statement>, permit: &Permit, id: &Id<id::Role>) -> Vec<d1::Statement> {
    statements.push(store::role::find(permit.tenant(), Some(id), None));
    statements
}

/// The role that [`with_role`] read last.
///
/// # Errors
/// 400 for a name that is taken, or a role that is gone.
pub fn read_changed_role(answers: d1::Stored<d1::Answers>) -> Result<RoleRecord> {
    let answers = match answers {
        Err(StoreError::Conflict(_)) => return Err(Error::refused(Wire::ROLE_NAME_TAKEN, "the name is taken")),
        Err(StoreError::Unchanged) => {
            return Err(Error::refused(Wire::ROLE_NAME_TAKEN, "a system role's name, too many roles, or gone"));
        }
        other => other?,
    };
    let role: Option<RoleRecord> = answers.last()?;
    role.ok_or_else(|| Error::refused(Wire::ROLE_NOT_FOUND, "gone meanwhile"))
}
