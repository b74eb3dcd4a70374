//! `invitation`: who was asked to join.

use serde::Deserialize;
use serde_json::json;

use crate::access::action::Permit;
use crate::platform::d1::Statement;
use crate::platform::id::{Group, Id, Invitation, Member, Millis, Role, Tenant, User};
use crate::platform::secret::{Invited, TokenHash};
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::session::store::permission::{gives, may, signs_in};

/// An invitation.
#[derive(Clone, Debug, Deserialize)]
pub struct InvitationRecord {
    /// Id.
    pub id: Id<Invitation>,
    /// To which tenant.
    pub tenant_id: Id<Tenant>,
    /// Its name.
    pub tenant_name: String,
    /// Its slug.
    pub tenant_slug: String,
    /// Whom.
    pub email: String,
    /// `pending`, `accepted`, `rejected`, `expired` or `cancelled`.
    pub status: String,
    /// Roles that whoever accepts is given.
    pub roles: Vec<String>,
    /// Groups that they come into.
    pub groups: Vec<Id<Group>>,
    /// Who invited.
    pub inviter_id: Option<Id<User>>,
    /// Their address.
    pub inviter_email: Option<String>,
    /// End.
    pub expires_at: Millis,
    /// Creation.
    pub created_at: Millis,
}

macro_rules! record_json {
    () => {
        concat!(
            "json_object('id', i.id, 'tenant_id', i.tenant_id, 'tenant_name', t.name, 'tenant_slug', t.slug, 'email', i.email,
           'status', i.status,
           'roles', (select json_group_array(name) from (select r.name from invitation_role ir join role r on r.id = ir.role_id and r.is_active = 1
                     where ir.invitation_id = i.id order by r.tenant_id is not null, r.id)),
           'groups', (select json_group_array(ig.user_group_id) from invitation_group ig join user_group g on g.id = ig.user_group_id
                      where ig.invitation_id = i.id and g.deleted_at is null and g.is_active = 1),
           'inviter_id', i.invited_by, 'inviter_email', u.email, 'expires_at', i.expires_at, 'created_at', i.created_at)"
        )
    };
}

macro_rules! selected {
    ($condition:literal) => {
        concat!(
            "select ",
            record_json!(),
            " as row from invitation i join tenant t on t.id = i.tenant_id left join user u on u.id = i.invited_by where ",
            $condition
        )
    };
}

/// A tenant's invitations, the newest first.
#[must_use]
pub fn list(tenant: &Id<Tenant>) -> Statement {
    sql!(selected!("i.tenant_id = :tenant order by i.created_at desc, i.id desc limit 1000"), tenant)
}

/// One of a tenant's invitations.
#[must_use]
pub fn find(tenant: &Id<Tenant>, id: &Id<Invitation>) -> Statement {
    sql!(selected!("i.tenant_id = :tenant and i.id = :id"), tenant, id)
}

/// The invitation of this id that whoever is signed in here may answer: to a tenant of their pool.
#[must_use]
pub fn find_for_anybody(context: &Context, id: &Id<Invitation>) -> Statement {
    sql!(
        selected!("i.id = :id and t.status = 'active' and iif(t.user_pool = 'isolated', t.id, null) is :pool"),
        pool = context.tenant().pool(),
        id
    )
}

/// The same, by what was mailed.
#[must_use]
pub fn find_by_token(context: &Context, hash: &TokenHash<Invited>) -> Statement {
    sql!(
        selected!(
            "i.token_hash = :hash and t.status = 'active' and iif(t.user_pool = 'isolated', t.id, null) is :pool"
        ),
        pool = context.tenant().pool(),
        hash
    )
}

/// Fails, and its batch with it, unless an invitation of an address is open: what is done by it depends on that.
#[must_use]
pub fn must_be_open(context: &Context, hash: &TokenHash<Invited>, email: &str) -> Statement {
    sql!(
        "select json_extract('{}', iif(exists (
           select 1 from invitation i join tenant t on t.id = i.tenant_id
           where i.token_hash = :hash and i.email = :email and i.status = 'pending' and i.expires_at > :now and t.status = 'active'
             and iif(t.user_pool = 'isolated', t.id, null) is :pool), '$', 'doorward:unchanged')) as row",
        pool = context.tenant().pool(),
        hash,
        email,
        now = context.now
    )
}

/// The open invitations of an address, to tenants of the pool that was asked.
#[must_use]
pub fn of_email(context: &Context, email: &str) -> Statement {
    sql!(
        selected!(
            "i.email = :email and i.status = 'pending' and i.expires_at > :now and t.status = 'active'
         and iif(t.user_pool = 'isolated', t.id, null) is :pool order by i.created_at desc limit 100"
        ),
        pool = context.tenant().pool(),
        email,
        now = context.now
    )
}

/// The open invitation of an address to a tenant.
#[must_use]
pub fn pending(tenant: &Id<Tenant>, email: &str) -> Statement {
    sql!(selected!("i.tenant_id = :tenant and i.email = :email and i.status = 'pending'"), tenant, email)
}

/// An invitation to be sent.
pub struct NewInvitation<'a> {
    /// Id.
    pub id: &'a Id<Invitation>,
    /// What is mailed, hashed.
    pub hash: &'a TokenHash<Invited>,
    /// Whom.
    pub email: &'a str,
    /// Roles that whoever accepts is given.
    pub roles: &'a [&'a Id<Role>],
    /// Groups that they come into.
    pub groups: &'a [&'a Id<Group>],
    /// End.
    pub expires_at: Millis,
}

/// Invites. An earlier invitation of the address that ran out makes room; one that is open conflicts.
#[must_use]
pub fn create(context: &Context, permit: &Permit, new: &NewInvitation<'_>) -> [Statement; 4] {
    let roles: Vec<&str> = new.roles.iter().map(|id| id.as_str()).collect();
    let groups: Vec<&str> = new.groups.iter().map(|id| id.as_str()).collect();
    [
        sql!(
            "update invitation set status = 'expired', updated_at = :now
             where tenant_id = :tenant and email = :email and status = 'pending' and expires_at <= :now",
            tenant = permit.tenant(),
            email = new.email,
            now = context.now
        ),
        sql!(
            "insert into invitation (id, tenant_id, email, token_hash, expires_at, invited_by, created_at, updated_at)
             values (:id, :tenant, :email, :hash, :expires_at, :actor, :now, :now)",
            tenant = permit.tenant(),
            id = new.id,
            email = new.email,
            hash = new.hash,
            expires_at = new.expires_at,
            actor = permit.actor(),
            now = context.now
        ),
        sql!(
            "insert into invitation_role (invitation_id, role_id)
             select :id, id from role where id in (select value from json_each(:roles)) and (tenant_id is null or tenant_id = :tenant)",
            tenant = permit.tenant(),
            id = new.id,
            roles = json!(roles).to_string()
        ),
        sql!(
            "insert into invitation_group (invitation_id, user_group_id)
             select :id, id from user_group where id in (select value from json_each(:groups)) and tenant_id = :tenant and deleted_at is null",
            tenant = permit.tenant(),
            id = new.id,
            groups = json!(groups).to_string()
        ),
    ]
}

/// What [`inviter_may`] breaks with.
pub const INVITER: &str = "inviter";

/// Fails, and the whole batch with it, if the inviter may not invite any more, or may not give the roles of the
/// invitation and those that its groups carry: when it is sent, and when it is accepted.
#[must_use]
pub fn inviter_may(tenant: &Id<Tenant>, id: &Id<Invitation>) -> Statement {
    sql!(
        concat!(
            "select json_extract('{}', iif(exists (
           select 1 from invitation i
           join member m on m.tenant_id = i.tenant_id and m.user_id = i.invited_by and m.status = 'active'
           join user u on u.id = m.user_id and ",
            signs_in!("u"),
            "
           where i.tenant_id = :tenant and i.id = :id
             and ",
            may!("m", "'invitation:create'"),
            " and ",
            gives!(
            "m",
            "select ir.role_id from invitation_role ir join role given on given.id = ir.role_id and given.is_active = 1
             where ir.invitation_id = i.id
             union all
             select gr.role_id from invitation_group ig
             join user_group g on g.id = ig.user_group_id and g.deleted_at is null and g.is_active = 1
             join user_group_role gr on gr.user_group_id = g.id
             join role given on given.id = gr.role_id and given.is_active = 1
             where ig.invitation_id = i.id"
        ),
            "), '$', 'doorward:broken:inviter')) as row"
        ),
        tenant,
        id
    )
}

/// Sends an invitation again: with another token, for as long as the first time.
#[must_use]
pub fn renew(
    context: &Context,
    permit: &Permit,
    id: &Id<Invitation>,
    hash: &TokenHash<Invited>,
    expires_at: Millis,
) -> Statement {
    sql!(
        "update invitation set token_hash = :hash, expires_at = :expires_at, invited_by = :actor, updated_at = :now
         where tenant_id = :tenant and id = :id and status = 'pending'",
        tenant = permit.tenant(),
        id,
        hash,
        expires_at,
        now = context.now,
        actor = permit.actor()
    )
}

/// Cancels an invitation that nobody has answered.
#[must_use]
pub fn cancel(context: &Context, permit: &Permit, id: &Id<Invitation>) -> Statement {
    sql!(
        "update invitation set status = 'cancelled', cancelled_at = :now, cancelled_by = :actor, updated_at = :now
         where tenant_id = :tenant and id = :id and status = 'pending'",
        tenant = permit.tenant(),
        id,
        now = context.now,
        actor = permit.actor()
    )
}

/// Rejects an invitation.
#[must_use]
pub fn reject(context: &Context, permit: &Permit, id: &Id<Invitation>) -> Statement {
    sql!(
        "update invitation set status = 'rejected', rejected_at = :now, updated_at = :now
         where tenant_id = :tenant and id = :id and status = 'pending' and expires_at > :now",
        tenant = permit.tenant(),
        id,
        now = context.now
    )
}

/// Accepts an invitation: of many at once, one changes the row, and what follows it depends on that. Roles and groups
/// that are no more are not given.
#[must_use]
pub fn accept(context: &Context, permit: &Permit, id: &Id<Invitation>) -> Statement {
    sql!(
        "update invitation set status = 'accepted', accepted_at = :now, accepted_by = :actor, updated_at = :now
         where tenant_id = :tenant and id = :id and status = 'pending' and expires_at > :now",
        tenant = permit.tenant(),
        id,
        now = context.now,
        actor = permit.actor()
    )
}

/// Gives whoever accepted what they were invited to. `member` is their membership.
#[must_use]
pub fn give(context: &Context, permit: &Permit, id: &Id<Invitation>, member: &Id<Member>) -> [Statement; 3] {
    [
        sql!(
            "insert into member_role (member_id, role_id, created_by, created_at)
             select :member, r.id, i.invited_by, :now
             from invitation i join invitation_role ir on ir.invitation_id = i.id join role r on r.id = ir.role_id and r.is_active = 1
             where i.tenant_id = :tenant and i.id = :id
         on conflict do nothing",
            tenant = permit.tenant(),
            id,
            member,
            now = context.now
        ),
        // Nobody is a member without a role: those that the invitation named may be gone.
        sql!(
            "insert into member_role (member_id, role_id, created_at)
             select :member, r.id, :now from role r
             where r.tenant_id is null and r.name = 'member' and exists (select 1 from member where tenant_id = :tenant and id = :member)
               and not exists (select 1 from member_role where member_id = :member)
         on conflict do nothing",
            tenant = permit.tenant(),
            member,
            now = context.now
        ),
        sql!(
            "insert into user_group_member (id, user_group_id, user_id, joined_at, joined_by)
             select lower(hex(randomblob(16))), g.id, :actor, :now, i.invited_by
             from invitation i join invitation_group ig on ig.invitation_id = i.id
             join user_group g on g.id = ig.user_group_id and g.deleted_at is null and g.is_active = 1
             where i.tenant_id = :tenant and i.id = :id
         on conflict do nothing",
            tenant = permit.tenant(),
            id,
            actor = permit.actor(),
            now = context.now
        ),
    ]
}
