//! `role`, `permission`: what there is to be given, and what it allows.

use serde::Deserialize;
use serde_json::json;

use crate::access::action::Permit;
use crate::access::giving::Gift;
use crate::access::permission::Permissions;
use crate::platform::d1::{Statement, must_change};
use crate::platform::error;
use crate::platform::id::{Id, Millis, Role, Tenant};
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::session::store::permission::goes_by_name;

/// A role and what it allows.
#[derive(Clone, Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "columns")]
pub struct RoleRecord {
    /// Id.
    pub id: Id<Role>,
    /// Name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it is the server's own: every tenant has it, and nobody changes it.
    pub is_system: bool,
    /// Given to whoever joins.
    pub is_default: bool,
    /// Whether it counts.
    pub is_active: bool,
    /// What it allows.
    pub permissions: Permissions,
    /// Whether its name means something beside that.
    pub goes_by_name: bool,
    /// Creation.
    pub created_at: Millis,
    /// Last change.
    pub updated_at: Millis,
}

impl RoleRecord {
    /// What is given with it.
    #[must_use]
    pub fn gift(&self) -> Gift {
        Gift { name: self.name.clone(), permissions: self.permissions.clone(), goes_by_name: self.goes_by_name }
    }
}

macro_rules! record_json {
    () => {
        concat!(
            "json_object('id', r.id, 'name', r.name, 'description', r.description,
                     'is_system', json(iif(r.tenant_id is null, 'true', 'false')),
                     'is_default', json(iif(r.is_default, 'true', 'false')),
                     'is_active', json(iif(r.is_active, 'true', 'false')),
                     'permissions', (select json_group_array(p.resource || ':' || p.action)
                                     from role_permission rp join permission p on p.id = rp.permission_id
                                     where rp.role_id = r.id),
                     'goes_by_name', json(iif(",
            goes_by_name!("r"),
            ", 'true', 'false')),
                     'created_at', r.created_at, 'updated_at', r.updated_at)"
        )
    };
}

/// The roles of these names that a tenant's members may have.
#[must_use]
pub fn named(tenant: &Id<Tenant>, names: &[String]) -> Statement {
    sql!(
        concat!(
        "select ",
        record_json!(),
        " as row from role r
         where r.id in (select id from role where tenant_id = :tenant and is_active = 1 and name in (select value from json_each(:names))
                        union all
                        select id from role where tenant_id is null and is_active = 1 and name in (select value from json_each(:names)))"
    ),
        tenant,
        names = json!(names).to_string()
    )
}

/// A tenant's own roles, the oldest first.
#[must_use]
pub fn list(tenant: &Id<Tenant>) -> Statement {
    sql!(
        concat!(
            "select ",
            record_json!(),
            " as row from role r where r.tenant_id = :tenant order by r.created_at, r.id limit 1000"
        ),
        tenant
    )
}

/// One of a tenant's own roles, by id or by name.
#[must_use]
pub fn find(tenant: &Id<Tenant>, id: Option<&Id<Role>>, name: Option<&str>) -> Statement {
    sql!(
        concat!(
        "select ",
        record_json!(),
        " as row from role r where r.tenant_id = :tenant and (:id is null or r.id = :id) and (:name is null or r.name = :name)
           and coalesce(:id, :name) is not null"
    ),
        tenant,
        id,
        name
    )
}

/// How many roles a tenant may have.
const MOST_ROLES: i64 = 1000;

/// A role to be made.
pub struct NewRole<'a> {
    /// Id.
    pub id: &'a Id<Role>,
    /// Name.
    pub name: &'a str,
    /// What it is for.
    pub description: Option<&'a str>,
    /// Whether whoever joins is given it.
    pub is_default: bool,
}

/// Makes a role; fails unchanged where there are too many.
#[must_use]
pub fn create(context: &Context, permit: &Permit, new: &NewRole<'_>) -> [Statement; 2] {
    [
        sql!(
            "insert into role (id, tenant_id, name, description, is_default, created_at, updated_at)
             select :id, :tenant, :name, :description, :is_default, :now, :now
             where (select count(*) from role where tenant_id = :tenant) < :most_roles
               and not exists (select 1 from role where tenant_id is null and name = :name)",
            tenant = permit.tenant(),
            id = new.id,
            name = new.name,
            description = new.description,
            is_default = new.is_default,
            now = context.now,
            most_roles = MOST_ROLES
        ),
        must_change(),
    ]
}

/// Lets a role allow this and nothing else. `own` are those of `allowed` that the tenant makes up.
///
/// # Errors
/// If the platform has no randomness.
pub fn allow(
    context: &Context,
    permit: &Permit,
    role: &Id<Role>,
    allowed: &Permissions,
    own: &[&str],
) -> error::Result<Vec<Statement>> {
    let mut made = Vec::new();
    for name in own {
        let (resource, action) = name.split_once(':').unwrap_or((name, ""));
        made.push(json!([context.row_id()?, resource, action]));
    }
    let names: Vec<&str> = allowed.iter().collect();
    Ok(vec![
        sql!(
            "insert into permission (id, tenant_id, name, resource, action, created_at, updated_at)
             select value ->> 0, :tenant, (value ->> 1) || ':' || (value ->> 2), value ->> 1, value ->> 2, :now, :now from json_each(:made) where true
         on conflict do nothing",
            tenant = permit.tenant(),
            made = json!(made).to_string(),
            now = context.now
        ),
        sql!(
            "delete from role_permission where role_id = (select id from role where tenant_id = :tenant and id = :role)",
            tenant = permit.tenant(),
            role
        ),
        sql!(
            "insert into role_permission (role_id, permission_id, created_at)
             select r.id, p.id, :now
             from role r join json_each(:names) n
             join permission p on p.id in (
               select id from permission where tenant_id = :tenant
                 and resource = substr(n.value, 1, instr(n.value, ':') - 1) and action = substr(n.value, instr(n.value, ':') + 1)
               union all
               select id from permission where tenant_id is null
                 and resource = substr(n.value, 1, instr(n.value, ':') - 1) and action = substr(n.value, instr(n.value, ':') + 1))
             where r.tenant_id = :tenant and r.id = :role",
            tenant = permit.tenant(),
            role,
            names = json!(names).to_string(),
            now = context.now
        ),
        sql!(
            "delete from permission where tenant_id = :tenant and id not in (
               select rp.permission_id from role_permission rp join permission p on p.id = rp.permission_id where p.tenant_id = :tenant)",
            tenant = permit.tenant()
        ),
    ])
}

/// Changes of a role beside what it allows; `None` keeps.
pub struct RoleChanges<'a> {
    /// Name.
    pub name: Option<&'a str>,
    /// What it is for.
    pub description: Option<&'a str>,
    /// Whether whoever joins is given it.
    pub is_default: Option<bool>,
    /// Whether it counts.
    pub is_active: Option<bool>,
}

/// Changes a role.
#[must_use]
pub fn update(context: &Context, permit: &Permit, role: &Id<Role>, changes: &RoleChanges<'_>) -> Statement {
    sql!(
        "update role set name = coalesce(:name, name), description = coalesce(:description, description),
                         is_default = coalesce(:is_default, is_default), is_active = coalesce(:is_active, is_active), updated_at = :now
         where tenant_id = :tenant and id = :role and is_system = 0
           and (:name is null or not exists (select 1 from role where tenant_id is null and name = :name))",
        tenant = permit.tenant(),
        role,
        name = changes.name,
        description = changes.description,
        is_default = changes.is_default,
        is_active = changes.is_active,
        now = context.now
    )
}

/// Deletes a role that nobody has.
#[must_use]
pub fn delete(permit: &Permit, role: &Id<Role>) -> Statement {
    sql!(
        "delete from role
         where tenant_id = :tenant and id = :role and is_system = 0
           and not exists (select 1 from member_role where role_id = :role)
           and not exists (select 1 from user_group_role gr join user_group g on g.id = gr.user_group_id and g.deleted_at is null
                           where gr.role_id = :role)",
        tenant = permit.tenant(),
        role
    )
}
