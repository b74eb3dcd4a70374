//! `tenant`: what the protocol calls an organization.

use crate::access::action::Permit;
use crate::http::fields::Change;
use crate::platform::d1::{Statement, must_change};
use crate::platform::id::{Group, Id, Member, Tenant, User};
use crate::platform::secret::{SessionToken, TokenHash};
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::session::store::organization::organization_json;

/// A tenant of the shared pool, to be made by one of its users.
pub struct NewOrganization<'a> {
    /// Id.
    pub id: &'a Id<Tenant>,
    /// Name.
    pub name: &'a str,
    /// Slug.
    pub slug: &'a str,
    /// Picture URL.
    pub logo: Option<&'a str>,
    /// A JSON object.
    pub metadata: &'a str,
    /// The owner's membership.
    pub member_id: &'a Id<Member>,
    /// The first group.
    pub group_id: &'a Id<Group>,
    /// The owner's place in it.
    pub group_member_id: &'a str,
}

/// How many tenants a user may own.
const MOST_OWNED: i64 = 100;

/// Makes a tenant, with its owner and a first group. Fails unchanged for whoever owns too many.
#[must_use]
pub fn create(context: &Context, owner: &Id<User>, new: &NewOrganization<'_>) -> Vec<Statement> {
    let now = context.now;
    vec![
        sql!(
            "insert into tenant (id, name, slug, logo, metadata, created_at, updated_at)
             select :id, :name, :slug, :logo, :metadata, :now, :now
             where (select count(*) from member m join member_role mr on mr.member_id = m.id
                    join role r on r.id = mr.role_id and r.tenant_id is null and r.name = 'owner'
                    where m.user_id = :owner) < :most_owned",
            id = new.id,
            name = new.name,
            slug = new.slug,
            logo = new.logo,
            metadata = new.metadata,
            now,
            owner,
            most_owned = MOST_OWNED
        ),
        must_change(),
        sql!(
            "insert into member (id, tenant_id, user_id, created_by, created_at, updated_at) values (:member_id, :id, :owner, :owner, :now, :now)",
            id = new.id,
            member_id = new.member_id,
            owner,
            now
        ),
        sql!(
            "insert into member_role (member_id, role_id, created_by, created_at)
             select :member_id, id, :owner, :now from role where tenant_id is null and name = 'owner'",
            member_id = new.member_id,
            owner,
            now
        ),
        sql!(
            "insert into user_group (id, tenant_id, name, slug, owner_id, created_by, created_at, updated_at)
             values (:group_id, :id, :name, :slug, :owner, :owner, :now, :now)",
            id = new.id,
            group_id = new.group_id,
            name = new.name,
            slug = new.slug,
            owner,
            now
        ),
        sql!(
            "insert into user_group_member (id, user_group_id, user_id, role_in_group, joined_at, joined_by)
             values (:group_member_id, :group_id, :owner, 'owner', :now, :owner)",
            group_member_id = new.group_member_id,
            group_id = new.group_id,
            owner,
            now
        ),
    ]
}

/// The tenants that a session's user is a member of, the default one left out: it is the server's own.
#[must_use]
pub fn list(tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>) -> Statement {
    sql!(
        concat!(
        "select ",
        organization_json!("t"),
        " as row
         from session s join member m on m.user_id = s.user_id and m.status = 'active' join tenant t on t.id = m.tenant_id
         where s.tenant_id = :tenant and s.token_hash = :hash and t.status = 'active' and t.slug <> 'default'
         order by t.created_at, t.id limit 1000"
    ),
        tenant,
        hash
    )
}

/// A tenant, as it is now.
#[must_use]
pub fn show(tenant: &Id<Tenant>) -> Statement {
    sql!(concat!("select ", organization_json!("t"), " as row from tenant t where t.id = :tenant"), tenant)
}

/// Whether a slug is somebody's.
#[must_use]
pub fn slug_is_taken(slug: &str) -> Statement {
    sql!("select 'true' as row from tenant where slug = :slug", slug)
}

/// Changes of a tenant by its own people.
pub struct OrganizationChanges {
    /// Name; none keeps it.
    pub name: Option<String>,
    /// Slug; none keeps it.
    pub slug: Option<String>,
    /// Picture URL.
    pub logo: Change,
    /// A JSON object; none keeps it.
    pub metadata: Option<String>,
}

/// Changes a tenant.
#[must_use]
pub fn update(context: &Context, permit: &Permit, changes: &OrganizationChanges) -> Statement {
    let (sets_logo, logo) = match &changes.logo {
        Change::Keep => (false, None),
        Change::Clear => (true, None),
        Change::Set(text) => (true, Some(text)),
    };
    sql!(
        "update tenant set name = coalesce(:name, name), slug = coalesce(:slug, slug), logo = iif(:sets_logo, :logo, logo),
                           metadata = coalesce(:metadata, metadata), updated_at = :now
         where id = :tenant and status = 'active'",
        tenant = permit.tenant(),
        name = changes.name.as_ref(),
        slug = changes.slug.as_ref(),
        sets_logo,
        logo,
        metadata = changes.metadata.as_ref(),
        now = context.now
    )
}

/// Replaces the security policy.
#[must_use]
pub fn set_policy(context: &Context, permit: &Permit, policy: &str) -> Statement {
    sql!(
        "update tenant set security_policy = :policy, updated_at = :now where id = :tenant and status = 'active'",
        tenant = permit.tenant(),
        policy,
        now = context.now
    )
}

/// Schedules a tenant's deletion for the end of its grace period. Nobody signs in to it from now on.
#[must_use]
pub fn schedule_deletion(context: &Context, permit: &Permit, reason: Option<&str>) -> Statement {
    sql!(
        "update tenant set status = 'pending_deletion', deletion_requested_at = :now,
                           deletion_scheduled_at = :now + grace_period_days * 86400000,
                           status_reason = :reason, status_changed_at = :now, status_changed_by = :actor, updated_at = :now
         where id = :tenant and status = 'active' and slug <> 'default'",
        tenant = permit.tenant(),
        now = context.now,
        actor = permit.actor(),
        reason
    )
}

/// Undoes a deletion that one of its own people scheduled, within its grace period. What the server's administrators
/// scheduled is theirs to undo.
#[must_use]
pub fn restore(context: &Context, permit: &Permit) -> Statement {
    sql!(
        "update tenant set status = 'active', deletion_requested_at = null, deletion_scheduled_at = null,
                           status_reason = null, status_changed_at = :now, status_changed_by = :actor, updated_at = :now
         where id = :tenant and status = 'pending_deletion' and deletion_scheduled_at > :now
           and exists (select 1 from member where tenant_id = :tenant and user_id = status_changed_by)",
        tenant = permit.tenant(),
        now = context.now,
        actor = permit.actor()
    )
}

/// A session that works in a tenant does so no longer.
#[must_use]
pub fn leave_active(context: &Context, hash: &TokenHash<SessionToken>, left: &Id<Tenant>) -> Statement {
    sql!(
        "update session set active_tenant_id = null, active_group_id = null
         where tenant_id = :tenant and token_hash = :hash and active_tenant_id = :left",
        tenant = &context.tenant().id,
        hash,
        left
    )
}

/// The tenant, and within it the group, that a session works in.
#[must_use]
pub fn set_active(
    context: &Context,
    hash: &TokenHash<SessionToken>,
    active: Option<&Id<Tenant>>,
    group: Option<&Id<Group>>,
) -> Statement {
    sql!(
        "update session set active_tenant_id = :active, active_group_id = :group where tenant_id = :tenant and token_hash = :hash",
        tenant = &context.tenant().id,
        hash,
        active,
        group
    )
}
