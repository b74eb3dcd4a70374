//! `member`: who belongs to a tenant, and with which roles.

use serde::Deserialize;
use serde_json::json;

use crate::access::action::Permit;
use crate::context::Context;
use crate::id::{Id, Member, Millis, Role, Tenant, User};
use crate::store::access::{given_roles, signs_in};
use crate::store::database::{Statement, sql};

/// A member, as the others see them.
#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    /// `member.id`.
    pub id: Id<Member>,
    /// Whose membership.
    pub user_id: Id<User>,
    /// Roles that were given to them.
    pub roles: Vec<String>,
    /// Since when.
    pub created_at: Millis,
    /// Name.
    pub name: String,
    /// Address.
    pub email: String,
    /// Picture URL.
    pub image: Option<String>,
}

macro_rules! listed_json {
    () => {
        concat!(
            "json_object('id', m.id, 'user_id', m.user_id, 'roles', ",
            given_roles!("m"),
            ", 'created_at', m.created_at, 'name', u.name, 'email', u.email, 'image', u.image)"
        )
    };
}

/// By what a list of members is narrowed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The one of this user.
    pub user_id: Option<String>,
    /// Those with this role.
    pub role: Option<String>,
    /// Those without it.
    pub not_role: Option<String>,
    /// Since this time or later.
    pub since: Option<Millis>,
    /// Since before this time.
    pub before: Option<Millis>,
}

impl Filter {
    const fn is_none(&self) -> bool {
        self.user_id.is_none()
            && self.role.is_none()
            && self.not_role.is_none()
            && self.since.is_none()
            && self.before.is_none()
    }
}

/// A page of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The most rows.
    pub limit: i64,
    /// Rows left out before.
    pub offset: i64,
    /// Whether the newest comes first.
    pub descends: bool,
}

macro_rules! narrowed {
    () => {
        " m.tenant_id = ?1
          and (?2 is null or m.user_id = ?2)
          and m.created_at >= coalesce(?5, -1) and m.created_at < coalesce(?6, 9e15)
          and (?3 is null or exists (select 1 from member_role mr join role r on r.id = mr.role_id
                                     where mr.member_id = m.id and r.name = ?3))
          and (?4 is null or not exists (select 1 from member_role mr join role r on r.id = mr.role_id
                                         where mr.member_id = m.id and r.name = ?4))"
    };
}

/// A page of a tenant's members, in the order in which they joined.
#[must_use]
pub fn list(tenant: &Id<Tenant>, filter: &Filter, page: Page) -> Statement {
    let text = if page.descends {
        concat!(
            "select ",
            listed_json!(),
            " as row from member m join user u on u.id = m.user_id where",
            narrowed!(),
            " order by m.created_at desc, m.id desc limit ?7 offset ?8"
        )
    } else {
        concat!(
            "select ",
            listed_json!(),
            " as row from member m join user u on u.id = m.user_id where",
            narrowed!(),
            " order by m.created_at, m.id limit ?7 offset ?8"
        )
    };
    narrow(sql(text).bind(tenant), filter).bind(page.limit).bind(page.offset)
}

fn narrow(statement: Statement, filter: &Filter) -> Statement {
    statement
        .bind(filter.user_id.as_ref())
        .bind(filter.role.as_ref())
        .bind(filter.not_role.as_ref())
        .bind(filter.since)
        .bind(filter.before)
}

/// How many members there are. Of all, the tenant knows.
#[must_use]
pub fn count(tenant: &Id<Tenant>, filter: &Filter) -> Statement {
    if filter.is_none() {
        return sql("select json_quote(member_count) as row from tenant where id = ?1").bind(tenant);
    }
    narrow(sql(concat!("select json_quote(count(*)) as row from member m where", narrowed!())).bind(tenant), filter)
}

/// One member.
#[must_use]
pub fn show(tenant: &Id<Tenant>, member: &Id<Member>) -> Statement {
    sql(concat!(
        "select ",
        listed_json!(),
        " as row from member m join user u on u.id = m.user_id where m.tenant_id = ?1 and m.id = ?2"
    ))
    .bind(tenant)
    .bind(member)
}

/// Ids, as the JSON array that a statement takes them in.
fn texts(roles: &[&Id<Role>]) -> String {
    json!(roles.iter().map(|id| id.as_str()).collect::<Vec<_>>()).to_string()
}

macro_rules! added {
    ($conflict:literal) => {
        concat!(
            "insert into member (id, tenant_id, user_id, created_by, created_at, updated_at)
             select ?2, ?1, u.id, ?4, ?5, ?5 from user u join tenant t on t.id = ?1
             where u.id = ?3 and u.deleted_at is null and u.tenant_id is iif(t.user_pool = 'isolated', t.id, null)",
            $conflict
        )
    };
}

/// Makes a user a member; conflicts if they are.
#[must_use]
pub fn add(context: &Context, permit: &Permit, id: &Id<Member>, user: &Id<User>) -> Statement {
    sql(added!("")).bind(permit.tenant()).bind(id).bind(user).bind(permit.actor()).bind(context.now)
}

/// Makes a user a member unless they are.
#[must_use]
pub fn add_unless(context: &Context, permit: &Permit, id: &Id<Member>, user: &Id<User>) -> Statement {
    let statement = sql(added!(" on conflict (tenant_id, user_id) do nothing"));
    statement.bind(permit.tenant()).bind(id).bind(user).bind(permit.actor()).bind(context.now)
}

/// Gives a user who is a member these roles, and takes all others away. The last statement changes a row if they are one.
#[must_use]
pub fn set_roles(context: &Context, permit: &Permit, user: &Id<User>, roles: &[&Id<Role>]) -> [Statement; 3] {
    let ids = texts(roles);
    [
        sql("delete from member_role
             where member_id = (select id from member where tenant_id = ?1 and user_id = ?2)
               and role_id not in (select value from json_each(?3))")
        .bind(permit.tenant())
        .bind(user)
        .bind(ids.as_str()),
        sql("insert into member_role (member_id, role_id, created_by, created_at)
             select m.id, r.id, ?4, ?5 from member m join role r on r.id in (select value from json_each(?3))
             where m.tenant_id = ?1 and m.user_id = ?2 and (r.tenant_id is null or r.tenant_id = ?1) and r.is_active = 1
         on conflict do nothing")
        .bind(permit.tenant())
        .bind(user)
        .bind(ids.as_str())
        .bind(permit.actor())
        .bind(context.now),
        sql("update member set updated_at = ?3 where tenant_id = ?1 and user_id = ?2")
            .bind(permit.tenant())
            .bind(user)
            .bind(context.now),
    ]
}

/// Ends a membership, and with it those of the tenant's groups.
#[must_use]
pub fn remove(permit: &Permit, member: &Id<Member>) -> Statement {
    sql("delete from member where tenant_id = ?1 and id = ?2").bind(permit.tenant()).bind(member)
}

/// Sessions that work in a tenant of which their user is no member any more do so no longer.
#[must_use]
pub fn forget_active(tenant: &Id<Tenant>, user: &Id<User>) -> Statement {
    sql("update session set active_tenant_id = null, active_group_id = null where active_tenant_id = ?1 and user_id = ?2")
        .bind(tenant)
        .bind(user)
}

/// What [`keeps_owner`] and [`leaves_none_ownerless`] break with.
pub const WITHOUT_OWNER: &str = "without_owner";

/// Whether nobody else than the member under `m`, whose role `owner` is `r`, is an owner of their tenant who can act.
macro_rules! no_other_owner {
    () => {
        concat!(
            "not exists (select 1 from member_role mo join member o on o.id = mo.member_id and o.status = 'active'
                         join user ou on ou.id = o.user_id and ",
            signs_in!("ou"),
            " where mo.role_id = r.id and o.tenant_id = m.tenant_id and o.user_id <> m.user_id)"
        )
    };
}

/// Fails, and the whole batch with it, if a user is the only owner of a tenant who can act, and would not be with these
/// roles: of two owners who leave at once, one stays. Before the statement that changes them.
#[must_use]
pub fn keeps_owner(tenant: &Id<Tenant>, user: &Id<User>, roles: &[&Id<Role>]) -> Statement {
    sql(concat!(
        "select json_extract('{}', iif(exists (
           select 1 from member m join user u on u.id = m.user_id join member_role mr on mr.member_id = m.id
           join role r on r.id = mr.role_id and r.tenant_id is null and r.name = 'owner'
           where m.tenant_id = ?1 and m.user_id = ?2 and r.id not in (select value from json_each(?3))
             and m.status = 'active' and ",
        signs_in!("u"),
        " and ",
        no_other_owner!(),
        "), 'doorward:broken:without_owner', '$')) as row"
    ))
    .bind(tenant)
    .bind(user)
    .bind(texts(roles))
}

/// Fails, and the whole batch with it, if a tenant that has other members has no other owner who can act: it would be
/// nobody's. Before the statement that deletes them. A ban of theirs counts for nothing: it ends, and a deletion does not.
#[must_use]
pub fn leaves_none_ownerless(user: &Id<User>) -> Statement {
    sql(concat!(
        "select json_extract('{}', iif(exists (
           select 1 from member m join member_role mr on mr.member_id = m.id
           join role r on r.id = mr.role_id and r.tenant_id is null and r.name = 'owner'
           where m.user_id = ?1
             and exists (select 1 from member others where others.tenant_id = m.tenant_id and others.user_id <> ?1) and ",
        no_other_owner!(),
        "), 'doorward:broken:without_owner', '$')) as row"
    ))
    .bind(user)
}
