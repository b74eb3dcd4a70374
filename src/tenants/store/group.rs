//! `user_group`: what the protocol calls a team.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::action::Permit;
use crate::access::giving::Gift;
use crate::platform::d1::{Statement, must_change};
use crate::platform::id::{Group, Id, Millis, Role, Tenant, User};
use crate::platform::secret::{SessionToken, TokenHash};
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::session::store::permission::goes_by_name;

/// A group, as members of its tenant see it.
#[derive(Clone, Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the columns of users-module's groups")]
pub struct GroupRecord {
    /// Id.
    pub id: Id<Group>,
    /// Whose.
    pub tenant_id: Id<Tenant>,
    /// Name.
    pub name: String,
    /// Slug.
    pub slug: String,
    /// What it is for.
    pub description: Option<String>,
    /// A word of the tenant's own: `team`, `department` …
    pub group_type: String,
    /// Seen by every member of the tenant.
    pub is_public: bool,
    /// Joined by whoever sees it.
    pub is_open: bool,
    /// Not to be deleted or renamed.
    pub is_system: bool,
    /// Whether it counts.
    pub is_active: bool,
    /// How many are in it.
    pub member_count: i64,
    /// How many may be.
    pub max_members: Option<i64>,
    /// Words to find it by.
    pub tags: Value,
    /// Whatever the tenant keeps there.
    pub settings: Value,
    /// Whose it is.
    pub owner_id: Option<Id<User>>,
    /// Names of the roles that it carries.
    pub roles: Vec<String>,
    /// What a user who comes into it is given.
    pub carried: Vec<Gift>,
    /// What the asking user is in it; none if they are not.
    pub mine: Option<String>,
    /// Creation.
    pub created_at: Millis,
    /// Last change.
    pub updated_at: Millis,
}

macro_rules! record_json {
    () => {
        concat!("json_object('id', g.id, 'tenant_id', g.tenant_id, 'name', g.name, 'slug', g.slug, 'description', g.description,
           'group_type', g.group_type,
           'is_public', json(iif(g.is_public, 'true', 'false')), 'is_open', json(iif(g.is_open, 'true', 'false')),
           'is_system', json(iif(g.is_system, 'true', 'false')), 'is_active', json(iif(g.is_active, 'true', 'false')),
           'member_count', g.member_count, 'max_members', g.max_members, 'tags', json(g.tags), 'settings', json(g.settings),
           'owner_id', g.owner_id,
           'roles', (select json_group_array(r.name) from user_group_role gr join role r on r.id = gr.role_id
                     where gr.user_group_id = g.id),
           'carried', (select json_group_array(json_object(
                                'name', r.name, 'goes_by_name', json(iif(", goes_by_name!("r"), ", 'true', 'false')),
                                'permissions', (select json_group_array(p.resource || ':' || p.action)
                                                from role_permission rp join permission p on p.id = rp.permission_id
                                                where rp.role_id = r.id)))
                       from user_group_role gr join role r on r.id = gr.role_id where gr.user_group_id = g.id),
           'mine', (select role_in_group from user_group_member where user_group_id = g.id and user_id = :user and is_active = 1),
           'created_at', g.created_at, 'updated_at', g.updated_at)")
    };
}

/// A tenant's groups, the oldest first: those that `user` sees, or with `all` every one.
#[must_use]
pub fn list(tenant: &Id<Tenant>, user: &Id<User>, all: bool) -> Statement {
    sql!(
        concat!(
        "select ",
        record_json!(),
        " as row from user_group g
         where g.tenant_id = :tenant and g.deleted_at is null
           and (:all or g.is_public = 1
                or exists (select 1 from user_group_member where user_group_id = g.id and user_id = :user and is_active = 1))
         order by g.created_at, g.id limit 1000"
    ),
        tenant,
        user,
        all
    )
}

/// One group of a tenant; what the user under `user` is in it comes along.
#[must_use]
pub fn find(tenant: &Id<Tenant>, user: &Id<User>, group: &Id<Group>) -> Statement {
    sql!(
        concat!(
            "select ",
            record_json!(),
            " as row from user_group g where g.tenant_id = :tenant and g.id = :group and g.deleted_at is null"
        ),
        tenant,
        user,
        group
    )
}

/// The groups of a tenant that a user is in.
#[must_use]
pub fn of_user(tenant: &Id<Tenant>, user: &Id<User>) -> Statement {
    sql!(
        concat!(
            "select ",
            record_json!(),
            " as row from user_group g
         where g.tenant_id = :tenant and g.deleted_at is null
           and g.id in (select user_group_id from user_group_member where user_id = :user and is_active = 1)
         order by g.created_at, g.id limit 1000"
        ),
        tenant,
        user
    )
}

/// The groups that a session's user is in, of whatever tenant; what they are in each is not looked up.
#[must_use]
pub fn of_session(tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>) -> Statement {
    sql!(
        concat!(
            "select ",
            record_json!(),
            " as row from session s join user_group_member gm on gm.user_id = s.user_id and gm.is_active = 1
         join user_group g on g.id = gm.user_group_id and g.deleted_at is null
         where s.tenant_id = :tenant and s.token_hash = :user
         order by g.created_at, g.id limit 1000"
        ),
        tenant,
        user = hash
    )
}

/// The tenant of a group, if the session's user is a member there.
#[must_use]
pub fn tenant_of(tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>, group: &str) -> Statement {
    sql!(
        "select json_quote(g.tenant_id) as row from user_group g
         join session s on s.tenant_id = :tenant and s.token_hash = :hash
         join member m on m.tenant_id = g.tenant_id and m.user_id = s.user_id and m.status = 'active'
         where g.id = :group and g.deleted_at is null",
        tenant,
        hash,
        group
    )
}

/// What is said of a group; `None` keeps what is stored, where something is.
#[derive(Clone, Debug, Default)]
pub struct GroupDraft {
    /// Name.
    pub name: Option<String>,
    /// Slug.
    pub slug: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// A word of the tenant's own.
    pub group_type: Option<String>,
    /// Seen by every member of the tenant.
    pub is_public: Option<bool>,
    /// Joined by whoever sees it.
    pub is_open: Option<bool>,
    /// Not to be deleted or renamed.
    pub is_system: Option<bool>,
    /// Whether it counts.
    pub is_active: Option<bool>,
    /// How many may be in it; `Some(None)` is without end.
    pub max_members: Option<Option<i64>>,
    /// Words to find it by.
    pub tags: Option<Vec<String>>,
    /// Whatever the tenant keeps there, a JSON object.
    pub settings: Option<String>,
}

/// Makes a group of the actor's.
#[must_use]
pub fn create(context: &Context, permit: &Permit, id: &Id<Group>, draft: &GroupDraft) -> Statement {
    sql!(
        "insert into user_group (id, tenant_id, name, slug, description, group_type, is_public, is_open, is_system,
                                 max_members, tags, settings, owner_id, created_by, created_at, updated_at)
         values (:id, :tenant, :name, :slug, :description, coalesce(:group_type, 'team'), coalesce(:is_public, 1), coalesce(:is_open, 0), coalesce(:is_system, 0), :flatten,
                 coalesce(:tags, '[]'), coalesce(:settings, '{}'), :actor, :actor, :now, :now)",
        tenant = permit.tenant(),
        id,
        name = draft.name.as_ref(),
        slug = draft.slug.as_ref(),
        description = draft.description.as_ref(),
        group_type = draft.group_type.as_ref(),
        is_public = draft.is_public,
        is_open = draft.is_open,
        is_system = draft.is_system,
        flatten = draft.max_members.flatten(),
        tags = draft.tags.as_ref().map(|tags| json!(tags).to_string()),
        settings = draft.settings.as_ref(),
        actor = permit.actor(),
        now = context.now
    )
}

/// Changes a group. Its name stays where it is a system's.
#[must_use]
pub fn update(context: &Context, permit: &Permit, group: &Id<Group>, draft: &GroupDraft) -> Statement {
    sql!(
        "update user_group set
           name = iif(is_system, name, coalesce(:name, name)), slug = iif(is_system, slug, coalesce(:slug, slug)),
           description = coalesce(:description, description), group_type = coalesce(:group_type, group_type),
           is_public = coalesce(:is_public, is_public), is_open = coalesce(:is_open, is_open), is_active = coalesce(:is_active, is_active),
           max_members = iif(:is_some, :flatten, max_members), tags = coalesce(:tags, tags), settings = coalesce(:settings, settings), updated_at = :now
         where tenant_id = :tenant and id = :group and deleted_at is null",
        tenant = permit.tenant(),
        group,
        name = draft.name.as_ref(),
        slug = draft.slug.as_ref(),
        description = draft.description.as_ref(),
        group_type = draft.group_type.as_ref(),
        is_public = draft.is_public,
        is_open = draft.is_open,
        is_active = draft.is_active,
        is_some = draft.max_members.is_some(),
        flatten = draft.max_members.flatten(),
        tags = draft.tags.as_ref().map(|tags| json!(tags).to_string()),
        settings = draft.settings.as_ref(),
        now = context.now
    )
}

/// Lets a group carry these roles and no others.
#[must_use]
pub fn carry(context: &Context, permit: &Permit, group: &Id<Group>, roles: &[&Id<Role>]) -> [Statement; 2] {
    let ids: Vec<&str> = roles.iter().map(|id| id.as_str()).collect();
    let ids = json!(ids).to_string();
    [
        sql!(
            "delete from user_group_role
             where user_group_id = (select id from user_group where tenant_id = :tenant and id = :group)
               and role_id not in (select value from json_each(:ids))",
            tenant = permit.tenant(),
            group,
            ids = ids.as_str()
        ),
        sql!(
            "insert into user_group_role (user_group_id, role_id, created_by, created_at)
             select g.id, r.id, :actor, :now from user_group g join role r on r.id in (select value from json_each(:ids))
             where g.tenant_id = :tenant and g.id = :group and (r.tenant_id is null or r.tenant_id = :tenant)
         on conflict do nothing",
            tenant = permit.tenant(),
            group,
            ids = ids.as_str(),
            actor = permit.actor(),
            now = context.now
        ),
    ]
}

/// Gives a group to another of its members, who looks after it from now on.
#[must_use]
pub fn hand_over(context: &Context, permit: &Permit, group: &Id<Group>, owner: &Id<User>) -> [Statement; 3] {
    let handed = sql!(
        "update user_group set owner_id = :owner, updated_at = :now
         where tenant_id = :tenant and id = :group and deleted_at is null
           and exists (select 1 from user_group_member where user_group_id = :group and user_id = :owner and is_active = 1)",
        tenant = permit.tenant(),
        group,
        owner,
        now = context.now
    );
    let roles = sql!(
        "update user_group_member set role_in_group = iif(user_id = :owner, 'owner', 'member')
         where user_group_id = (select id from user_group where tenant_id = :tenant and id = :group)
           and (user_id = :owner or role_in_group = 'owner')",
        tenant = permit.tenant(),
        group,
        owner
    );
    [handed, must_change(), roles]
}

/// Deletes a group softly: its name is free, its roles are nobody's by it. Not a system's, and not the last.
#[must_use]
pub fn delete(context: &Context, permit: &Permit, group: &Id<Group>) -> Statement {
    sql!(
        "update user_group set deleted_at = :now, deleted_by = :actor, updated_at = :now
         where tenant_id = :tenant and id = :group and deleted_at is null and is_system = 0
           and (select count(*) from user_group where tenant_id = :tenant and deleted_at is null) > 1",
        tenant = permit.tenant(),
        group,
        now = context.now,
        actor = permit.actor()
    )
}

/// What fails when a group is full: the name of the CHECK constraint.
pub const FULL: &str = "user_group_max_members";

/// Puts a member of the tenant into a group. Nothing changes for whoever is in it already, is no member of the tenant, or
/// was set aside and would put themselves back, or, with `only_open`, where the group is not open; the batch fails as
/// [`FULL`] where it is full.
#[must_use]
pub fn join(
    context: &Context,
    permit: &Permit,
    group: &Id<Group>,
    user: &Id<User>,
    (id, role): (&str, &str),
    only_open: bool,
) -> Statement {
    sql!(
        "insert into user_group_member (id, user_group_id, user_id, role_in_group, joined_at, joined_by)
         select :id, g.id, m.user_id, :role, :now, :actor
         from user_group g join member m on m.tenant_id = g.tenant_id and m.user_id = :user and m.status = 'active'
         where g.tenant_id = :tenant and g.id = :group and g.deleted_at is null and g.is_active = 1 and (not :only_open or g.is_open = 1)
         on conflict (user_group_id, user_id) do update
           set is_active = 1, role_in_group = excluded.role_in_group, joined_at = excluded.joined_at, joined_by = excluded.joined_by
           where is_active = 0 and user_id <> :actor",
        tenant = permit.tenant(),
        group,
        user,
        actor = permit.actor(),
        id,
        role,
        now = context.now,
        only_open
    )
}

/// Takes somebody out of a group. Whoever was set aside does not take themselves out: they could come back as if nothing
/// had been.
#[must_use]
pub fn leave(permit: &Permit, group: &Id<Group>, user: &Id<User>, by_themselves: bool) -> Statement {
    sql!(
        "delete from user_group_member
         where user_group_id = (select id from user_group where tenant_id = :tenant and id = :group) and user_id = :user and (not :by_themselves or is_active = 1)",
        tenant = permit.tenant(),
        group,
        user,
        by_themselves
    )
}

/// Sessions of a user that work in a group that they left do so no longer.
#[must_use]
pub fn forget_active(tenant: &Id<Tenant>, group: &Id<Group>, user: Option<&Id<User>>) -> Statement {
    sql!(
        "update session set active_group_id = null
         where active_group_id = :group and active_tenant_id = :tenant and (:user is null or user_id = :user)",
        tenant,
        group,
        user
    )
}

/// Changes what somebody is in a group, or sets them aside without taking them out.
#[must_use]
pub fn update_member(
    permit: &Permit,
    group: &Id<Group>,
    user: &Id<User>,
    role: Option<&str>,
    is_active: Option<bool>,
) -> Statement {
    sql!(
        "update user_group_member set role_in_group = coalesce(:role, role_in_group), is_active = coalesce(:is_active, is_active)
         where user_group_id = (select id from user_group where tenant_id = :tenant and id = :group and deleted_at is null) and user_id = :user",
        tenant = permit.tenant(),
        group,
        user,
        role,
        is_active
    )
}

/// Somebody in a group.
#[derive(Clone, Debug, Deserialize)]
pub struct InGroup {
    /// `user_group_member.id`.
    pub id: String,
    /// Which group.
    pub group_id: Id<Group>,
    /// Who.
    pub user_id: Id<User>,
    /// What they are in it: `owner`, `admin`, `member`.
    pub role: String,
    /// Whether they count.
    pub is_active: bool,
    /// Since when.
    pub joined_at: Millis,
    /// Who let them in.
    pub joined_by: Option<Id<User>>,
}

macro_rules! in_group_json {
    () => {
        "json_object('id', gm.id, 'group_id', gm.user_group_id, 'user_id', gm.user_id, 'role', gm.role_in_group,
                     'is_active', json(iif(gm.is_active, 'true', 'false')), 'joined_at', gm.joined_at, 'joined_by', gm.joined_by)"
    };
}

/// Who is in a group.
#[must_use]
pub fn members(tenant: &Id<Tenant>, group: &Id<Group>) -> Statement {
    sql!(
        concat!(
        "select ",
        in_group_json!(),
        " as row from user_group g join user_group_member gm on gm.user_group_id = g.id
         where g.tenant_id = :tenant and g.id = :group and g.deleted_at is null order by gm.joined_at, gm.id limit 1000"
    ),
        tenant,
        group
    )
}

/// One of them.
#[must_use]
pub fn member(tenant: &Id<Tenant>, group: &Id<Group>, user: &Id<User>) -> Statement {
    sql!(
        concat!(
            "select ",
            in_group_json!(),
            " as row from user_group g join user_group_member gm on gm.user_group_id = g.id
         where g.tenant_id = :tenant and g.id = :group and g.deleted_at is null and gm.user_id = :user"
        ),
        tenant,
        group,
        user
    )
}
