//! Who is who in a tenant: roles, whether given or carried by a group, and what they allow.

use serde::Deserialize;
use serde_json::json;

use crate::access::action::Permit;
use crate::access::permission::Permissions;
use crate::platform::d1::Statement;
use crate::platform::id::{Group, Id, Member, Millis, Role, Tenant, User};
use crate::platform::secret::{SessionToken, TokenHash};
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::session::store::organization::Organization;

/// Whether the user under an alias may be signed in: active, or suspended for a time that is over.
macro_rules! signs_in {
    ($u:literal) => {
        concat!(
            "(",
            $u,
            ".status = 'active' or (",
            $u,
            ".status = 'suspended' and ",
            $u,
            ".suspended_until <= unixepoch() * 1000))"
        )
    };
}

pub(crate) use signs_in;

/// The ids of the roles of the member under an alias: given to them, and carried by their groups.
macro_rules! role_ids {
    ($m:literal) => {
        concat!(
            "select role_id from member_role where member_id = ",
            $m,
            ".id
             union all
             select gr.role_id from user_group_member gm
             join user_group g on g.id = gm.user_group_id and g.deleted_at is null and g.is_active = 1
             join user_group_role gr on gr.user_group_id = g.id
             where gm.user_id = ",
            $m,
            ".user_id and gm.is_active = 1 and g.tenant_id = ",
            $m,
            ".tenant_id"
        )
    };
}

pub(crate) use role_ids;

/// The names of those roles, the system's first, as a JSON array.
macro_rules! role_names {
    ($m:literal) => {
        concat!(
            "(select json_group_array(name) from (select name from role where is_active = 1 and id in (",
            $crate::session::store::permission::role_ids!($m),
            ") order by tenant_id is not null, id))"
        )
    };
}

pub(crate) use role_names;

/// The names of the roles that were given to the member under an alias, as a JSON array.
macro_rules! given_roles {
    ($m:literal) => {
        concat!(
            "(select json_group_array(name) from (select name from role where is_active = 1
               and id in (select role_id from member_role where member_id = ",
            $m,
            ".id) order by tenant_id is not null, id))"
        )
    };
}

pub(crate) use given_roles;

/// The names of a user's roles in a tenant, as a JSON array.
macro_rules! roles_of {
    ($tenant:literal, $user:literal) => {
        concat!(
            "json(coalesce((select ",
            $crate::session::store::permission::role_names!("m"),
            " from member m where m.tenant_id = ",
            $tenant,
            " and m.user_id = ",
            $user,
            " and m.status = 'active'), '[]'))"
        )
    };
}

pub(crate) use roles_of;

/// The slugs of the groups of a tenant that a user is in, as a JSON array.
macro_rules! group_slugs {
    ($tenant:literal, $user:literal) => {
        concat!(
            "(select json_group_array(slug) from (
               select ug.slug from user_group_member gm
               join user_group ug on ug.id = gm.user_group_id and ug.deleted_at is null and ug.is_active = 1
               where gm.user_id = ",
            $user,
            " and gm.is_active = 1 and ug.tenant_id = ",
            $tenant,
            " order by ug.created_at, ug.id limit 200))"
        )
    };
}

pub(crate) use group_slugs;

/// What those roles allow, as a JSON array of `resource:action`.
macro_rules! permissions {
    ($m:literal) => {
        concat!(
            "(select json_group_array(distinct p.resource || ':' || p.action)
              from role r join role_permission rp on rp.role_id = r.id join permission p on p.id = rp.permission_id
              where r.is_active = 1 and r.id in (",
            $crate::session::store::permission::role_ids!($m),
            "))"
        )
    };
}

pub(crate) use permissions;

/// Whether the member under an alias holds a permission, which is an expression.
macro_rules! may {
    ($m:literal, $permission:literal) => {
        concat!(
            "exists (select 1 from role r join role_permission rp on rp.role_id = r.id join permission p on p.id = rp.permission_id
                     where r.is_active = 1 and (p.resource || ':' || p.action) in ('*:*', ",
            $permission,
            ") and r.id in (",
            $crate::session::store::permission::role_ids!($m),
            "))"
        )
    };
}

pub(crate) use may;

/// Whether the member under an alias holds all that the roles allow whose ids a query names.
macro_rules! covers {
    ($m:literal, $roles:expr) => {
        concat!(
            "(",
            $crate::session::store::permission::may!($m, "'*:*'"),
            " or not exists (
                select 1 from role_permission wanted
                where wanted.role_id in (",
            $roles,
            ") and wanted.permission_id not in (
                  select rp.permission_id from role r join role_permission rp on rp.role_id = r.id
                  where r.is_active = 1 and r.id in (",
            $crate::session::store::permission::role_ids!($m),
            "))))"
        )
    };
}

pub(crate) use covers;

/// Whether the name of the role under an alias means something beside what it allows: it allows nothing here, a website's
/// rule asks for it, or it spares a second factor. What the system's roles mean is what they allow.
macro_rules! goes_by_name {
    ($r:literal) => {
        concat!(
            "(",
            $r,
            ".tenant_id is not null and (
               not exists (select 1 from role_permission said where said.role_id = ",
            $r,
            ".id)
               or exists (select 1 from proxied_app pa join access_rule ar on ar.proxied_app_id = pa.id, json_each(ar.roles) said
                          where pa.tenant_id = ",
            $r,
            ".tenant_id and said.value = ",
            $r,
            ".name)
               or exists (select 1 from tenant pt, json_each(pt.security_policy, '$.twoFactor.exemptRoles') said
                          where pt.id = ",
            $r,
            ".tenant_id and said.value = ",
            $r,
            ".name)))"
        )
    };
}

pub(crate) use goes_by_name;

/// Whether the member under an alias may give the roles whose ids a query names: the double of
/// [`Giver::may_give`](crate::access::giving::Giver::may_give).
macro_rules! gives {
    ($m:literal, $roles:expr) => {
        concat!(
            $crate::session::store::permission::covers!($m, $roles),
            " and (",
            $crate::session::store::permission::may!($m, "'ac:update'"),
            " or not exists (
                select 1 from role named
                where named.id in (",
            $roles,
            ") and ",
            $crate::session::store::permission::goes_by_name!("named"),
            " and named.id not in (select r.id from role r where r.is_active = 1 and r.id in (",
            $crate::session::store::permission::role_ids!($m),
            "))))"
        )
    };
}

pub(crate) use gives;

/// Somebody in a tenant, and what they may do there.
#[derive(Clone, Debug, Deserialize)]
pub struct Standing {
    /// The tenant.
    pub tenant: Organization,
    /// `member.id`.
    pub member_id: Id<Member>,
    /// `member.user_id`.
    pub user_id: Id<User>,
    /// `member.created_at`.
    pub joined_at: Millis,
    /// Whether they have a passkey that verifies them.
    pub has_passkey: bool,
    /// `member.second_factor_required_at`.
    pub second_factor_required_at: Option<Millis>,
    /// `member.second_factor_grace_logins`.
    pub grace_logins: i64,
    /// Roles that were given to them.
    pub given: Vec<String>,
    /// Roles, those of their groups included.
    pub roles: Vec<String>,
    /// What they allow.
    pub permissions: Permissions,
    /// The same before a key's scope cut it.
    #[serde(skip)]
    pub uncut: Option<Permissions>,
}

macro_rules! standing_json {
    () => {
        concat!(
            "json_object('tenant', ",
            $crate::session::store::organization::organization_json!("t"),
            ", 'member_id', m.id, 'user_id', m.user_id, 'joined_at', m.created_at,
             'has_passkey', json(iif(exists (select 1 from passkey where user_id = m.user_id and uv_initialized = 1), 'true', 'false')),
             'second_factor_required_at', m.second_factor_required_at, 'grace_logins', m.second_factor_grace_logins, 'given', ",
            $crate::session::store::permission::given_roles!("m"),
            ", 'roles', ",
            $crate::session::store::permission::role_names!("m"),
            ", 'permissions', ",
            $crate::session::store::permission::permissions!("m"),
            ")"
        )
    };
}

/// Which tenant is meant.
#[derive(Clone, Copy, Debug)]
pub enum WhichTenant<'a> {
    /// By id.
    Id(&'a Id<Tenant>),
    /// By slug.
    Slug(&'a str),
    /// The one that the session works in; on a tenant's own host, that tenant where there is none.
    Active,
}

/// The standing of a session's user in a tenant; no row for whoever is no active member there.
#[must_use]
pub fn standing(context: &Context, hash: &TokenHash<SessionToken>, which: WhichTenant<'_>) -> Statement {
    let (id, slug) = match which {
        WhichTenant::Id(id) => (Some(id), None),
        WhichTenant::Slug(slug) => (None, Some(slug)),
        WhichTenant::Active => (None, None),
    };
    let here = context.tenant();
    let fallback = (!here.is_default()).then_some(&here.id);
    sql!(
        concat!(
            "select ",
            standing_json!(),
            " as row
         from session s
         join tenant t on t.id = case when :id_3 is not null then :id_3
                                      when :slug is not null then (select id from tenant where slug = :slug)
                                      else coalesce(s.active_tenant_id, :fallback) end
         join member m on m.tenant_id = t.id and m.user_id = s.user_id and m.status = 'active'
         where s.tenant_id = :id and s.token_hash = :hash"
        ),
        id = &here.id,
        hash,
        id_3 = id,
        slug,
        fallback
    )
}

/// The standings of a session's user in every active tenant where they are in a group.
#[must_use]
pub fn standings_with_groups(context: &Context, hash: &TokenHash<SessionToken>) -> Statement {
    sql!(
        concat!(
        "select ",
        standing_json!(),
        " as row
         from session s
         join member m on m.user_id = s.user_id and m.status = 'active'
         join tenant t on t.id = m.tenant_id and t.status = 'active'
         where s.tenant_id = :tenant and s.token_hash = :hash
           and exists (select 1 from user_group_member gm join user_group g on g.id = gm.user_group_id and g.deleted_at is null
                       where gm.user_id = s.user_id and gm.is_active = 1 and g.tenant_id = t.id)
         order by t.id limit 200"
    ),
        tenant = &context.tenant().id,
        hash
    )
}

/// Fails, and the whole batch with it, if whoever was given the permit has lost what it stands for: first in a batch of
/// privileged writes, so that nobody undoes a demotion with requests that were on their way.
#[must_use]
pub fn holds_still(permit: &Permit) -> Statement {
    sql!(
        concat!(
            "select json_extract('{}', iif(exists (
           select 1 from member m
           join user u on u.id = m.user_id and ",
            signs_in!("u"),
            "
           where m.tenant_id = :tenant and m.user_id = :actor and m.status = 'active'
             and (:needs is null or ",
            may!("m", ":needs"),
            ")), '$', 'doorward:broken:permit')) as row"
        ),
        tenant = permit.tenant(),
        actor = permit.actor(),
        needs = permit.needs()
    )
}

/// Fails, and the whole batch with it, if the holder of the permit may not give these roles, or does not hold all that a
/// user does upon whom they act: as [`holds_still`], about what they grant and take away.
#[must_use]
pub fn covers_still(permit: &Permit, roles: &[&Id<Role>], upon: Option<&Id<User>>) -> Statement {
    let ids: Vec<&str> = roles.iter().map(|id| id.as_str()).collect();
    sql!(
        concat!(
            "select json_extract('{}', iif(exists (
           select 1 from member m
           where m.tenant_id = :tenant and m.user_id = :actor and m.status = 'active'
             and ",
            gives!("m", "select value from json_each(:ids)"),
            "
             and ",
            covers!(
                "m",
                concat!(
                    "select theirs.id from member t join role theirs on theirs.is_active = 1 and theirs.id in (",
                    role_ids!("t"),
                    ") where t.tenant_id = :tenant and t.user_id = :upon"
                )
            ),
            "), '$', 'doorward:broken:permit')) as row"
        ),
        tenant = permit.tenant(),
        actor = permit.actor(),
        ids = json!(ids).to_string(),
        upon
    )
}

/// Fails, and the whole batch with it, if whoever was given the permit does not look after a group any more, whether by the
/// tenant's roles or as what they are in it, or may not give the roles that it carries.
#[must_use]
pub fn manages_still(permit: &Permit, group: &Id<Group>) -> Statement {
    sql!(
        concat!(
        "select json_extract('{}', iif(exists (
           select 1 from member m
           where m.tenant_id = :tenant and m.user_id = :actor and m.status = 'active'
             and (",
        may!("m", "'team:update'"),
        " or exists (select 1 from user_group_member gm where gm.user_group_id = :group and gm.user_id = :actor and gm.is_active = 1
                         and gm.role_in_group in ('owner', 'admin')))
             and ",
        gives!("m", "select role_id from user_group_role where user_group_id = :group"),
        "), '$', 'doorward:broken:permit')) as row"
    ),
        tenant = permit.tenant(),
        actor = permit.actor(),
        group
    )
}

/// Fails, and the whole batch with it, if the holder of the permit may not give the roles that a group carries: as
/// [`manages_still`], for what takes a permission of its own.
#[must_use]
pub fn gives_still(permit: &Permit, group: &Id<Group>) -> Statement {
    sql!(
        concat!(
            "select json_extract('{}', iif(exists (
           select 1 from member m
           where m.tenant_id = :tenant and m.user_id = :actor and m.status = 'active' and ",
            gives!("m", "select role_id from user_group_role where user_group_id = :group"),
            "), '$', 'doorward:broken:permit')) as row"
        ),
        tenant = permit.tenant(),
        actor = permit.actor(),
        group
    )
}

/// Fails, and the whole batch with it, if whoever was given the permit does not hold these permissions: as
/// [`covers_still`], about what is named one by one.
#[must_use]
pub fn holds_all_still(permit: &Permit, wanted: &Permissions) -> Statement {
    let names: Vec<&str> = wanted.iter().collect();
    sql!(
        concat!(
            "select json_extract('{}', iif(exists (
           select 1 from member m
           where m.tenant_id = :tenant and m.user_id = :actor and m.status = 'active'
             and (",
            may!("m", "'*:*'"),
            " or not exists (
                select 1 from json_each(:names) wanted
                where wanted.value not in (
                  select p.resource || ':' || p.action
                  from role r join role_permission rp on rp.role_id = r.id join permission p on p.id = rp.permission_id
                  where r.is_active = 1 and r.id in (",
            role_ids!("m"),
            "))))), '$', 'doorward:broken:permit')) as row"
        ),
        tenant = permit.tenant(),
        actor = permit.actor(),
        names = json!(names).to_string()
    )
}

/// The standing of a user in a tenant.
#[must_use]
pub fn standing_of(tenant: &Id<Tenant>, user: &Id<User>) -> Statement {
    sql!(
        concat!(
            "select ",
            standing_json!(),
            " as row from member m join tenant t on t.id = m.tenant_id
         where m.tenant_id = :tenant and m.user_id = :user and m.status = 'active'"
        ),
        tenant,
        user
    )
}

/// The same, by the id of the membership.
#[must_use]
pub fn standing_of_member(tenant: &Id<Tenant>, member: &Id<Member>) -> Statement {
    sql!(
        concat!(
            "select ",
            standing_json!(),
            " as row from member m join tenant t on t.id = m.tenant_id
         where m.tenant_id = :tenant and m.id = :member"
        ),
        tenant,
        member
    )
}

/// The same, by the user's address.
#[must_use]
pub fn standing_of_email(tenant: &Id<Tenant>, email: &str) -> Statement {
    sql!(
        concat!(
        "select ",
        standing_json!(),
        " as row from user u join member m on m.user_id = u.id and m.tenant_id = :tenant join tenant t on t.id = m.tenant_id
         where u.deleted_at is null
           and u.id in (select id from user where tenant_id is null and email = :email and deleted_at is null
                        union all
                        select id from user where tenant_id = :tenant and tenant_id is not null and email = :email and deleted_at is null)"
    ),
        tenant,
        email
    )
}
