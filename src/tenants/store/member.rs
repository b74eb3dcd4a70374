//! `member`: who belongs to a tenant, and with which roles.

use serde::Deserialize;
use serde_json::json;

use crate::access::action::Permit;
use crate::platform::d1::Statement;
use crate::platform::id::{Id, Member, Millis, Role, Tenant, User};
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::session::store::permission::{given_roles, signs_in};
use crate::tenants::listing::Where;

/// A member, as the others see them.
#[derive(Clone, Debug, Deserialize)]
pub struct ListedMember {
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

/// By what a list of members is narrowed: one field, and what it is compared with.
#[derive(Clone, Debug, Default)]
pub struct MemberFilter {
    /// `role`, `user_id`, `id` or `created_at`; of roles, one that fits is enough.
    pub field: Option<&'static str>,
    /// One of these values, as a JSON array, or with `false` none of them.
    pub one_of: Option<(String, bool)>,
    /// A text, and where it is.
    pub like: Option<(String, Where)>,
    /// At least this, and less than that.
    pub range: (Option<Millis>, Option<Millis>),
}

impl MemberFilter {
    /// The member who is this user.
    #[must_use]
    pub fn of_user(user: &Id<User>) -> Self {
        Self { field: Some("user_id"), one_of: Some((json!([user]).to_string(), true)), ..Self::default() }
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

macro_rules! has_role {
    ($fits:literal) => {
        concat!(
            "exists (select 1 from member_role mr join role r on r.id = mr.role_id where mr.member_id = m.id and ",
            $fits,
            ")"
        )
    };
}

macro_rules! found {
    ($text:literal) => {
        concat!(
            "case :like_at when 'contains' then instr(lower(",
            $text,
            "), lower(:like)) > 0 when 'begins' then substr(lower(",
            $text,
            "), 1, length(:like)) = lower(:like) else substr(lower(",
            $text,
            "), -length(:like)) = lower(:like) end"
        )
    };
}

macro_rules! narrowed {
    () => {
        concat!(
            " m.tenant_id = :tenant
              and m.created_at >= coalesce(:from, -1) and m.created_at < coalesce(:before, 9e15)
              and (:one_of is null or :one_is = iif(:field = 'role', ",
            has_role!("r.name in (select value from json_each(:one_of))"),
            ", case :field when 'user_id' then m.user_id when 'id' then m.id else m.created_at end in (select value from json_each(:one_of))))
              and (:like is null or iif(:field = 'role', exists (select 1 from member_role mr join role r on r.id = mr.role_id
                                                          where mr.member_id = m.id and ",
            found!("r.name"),
            "), ",
            found!("iif(:field = 'id', m.id, m.user_id)"),
            "))"
        )
    };
}

/// A statement with [`narrowed!`] in it, and further parameters.
macro_rules! narrowed_sql {
    (match $on:tt $arms:tt, $filter:ident $(, $name:ident $(= $value:expr)?)*) => {
        sql!(
            match $on $arms,
            field = $filter.field,
            one_of = $filter.one_of.as_ref().map(|(list, _)| list),
            one_is = $filter.one_of.as_ref().is_none_or(|(_, is)| *is),
            like = $filter.like.as_ref().map(|(text, _)| text),
            like_at = $filter.like.as_ref().map(|(_, at)| at.as_str()),
            from = $filter.range.0,
            before = $filter.range.1
            $(, $name $(= $value)?)*
        )
    };
}

/// A page of a tenant's members, in the order in which they joined.
#[must_use]
pub fn list(tenant: &Id<Tenant>, filter: &MemberFilter, page: Page) -> Statement {
    narrowed_sql!(
        match (page.descends) {
            true => concat!(
                "select ",
                listed_json!(),
                " as row from member m join user u on u.id = m.user_id where",
                narrowed!(),
                " order by m.created_at desc, m.id desc limit :limit offset :offset"
            ),
            false => concat!(
                "select ",
                listed_json!(),
                " as row from member m join user u on u.id = m.user_id where",
                narrowed!(),
                " order by m.created_at, m.id limit :limit offset :offset"
            ),
        },
        filter,
        tenant,
        limit = page.limit,
        offset = page.offset
    )
}

/// How many members there are. Of all, the tenant knows.
#[must_use]
pub fn count(tenant: &Id<Tenant>, filter: &MemberFilter) -> Statement {
    if filter.field.is_none() {
        return sql!("select json_quote(member_count) as row from tenant where id = :tenant", tenant);
    }
    narrowed_sql!(
        match () {
            () => concat!("select json_quote(count(*)) as row from member m where", narrowed!()),
        },
        filter,
        tenant
    )
}

/// One member.
#[must_use]
pub fn show(tenant: &Id<Tenant>, member: &Id<Member>) -> Statement {
    sql!(
        concat!(
            "select ",
            listed_json!(),
            " as row from member m join user u on u.id = m.user_id where m.tenant_id = :tenant and m.id = :member"
        ),
        tenant,
        member
    )
}

/// Ids, as the JSON array that a statement takes them in.
fn texts(roles: &[&Id<Role>]) -> String {
    json!(roles.iter().map(|id| id.as_str()).collect::<Vec<_>>()).to_string()
}

macro_rules! added {
    ($conflict:literal) => {
        concat!(
            "insert into member (id, tenant_id, user_id, created_by, created_at, updated_at)
             select :id, :tenant, u.id, :actor, :now, :now from user u join tenant t on t.id = :tenant
             where u.id = :user and u.deleted_at is null and u.tenant_id is iif(t.user_pool = 'isolated', t.id, null)",
            $conflict
        )
    };
}

/// Makes a user a member; conflicts if they are.
#[must_use]
pub fn add(context: &Context, permit: &Permit, id: &Id<Member>, user: &Id<User>) -> Statement {
    sql!(added!(""), tenant = permit.tenant(), id, user, actor = permit.actor(), now = context.now)
}

/// Makes a user a member unless they are.
#[must_use]
pub fn add_unless(context: &Context, permit: &Permit, id: &Id<Member>, user: &Id<User>) -> Statement {
    sql!(
        added!(" on conflict (tenant_id, user_id) do nothing"),
        tenant = permit.tenant(),
        id,
        user,
        actor = permit.actor(),
        now = context.now
    )
}

/// Gives a user who is a member these roles, and takes all others away. The last statement changes a row if they are one.
#[must_use]
pub fn set_roles(context: &Context, permit: &Permit, user: &Id<User>, roles: &[&Id<Role>]) -> [Statement; 3] {
    let ids = texts(roles);
    [
        sql!(
            "delete from member_role
             where member_id = (select id from member where tenant_id = :tenant and user_id = :user)
               and role_id not in (select value from json_each(:ids))",
            tenant = permit.tenant(),
            user,
            ids = ids.as_str()
        ),
        sql!(
            "insert into member_role (member_id, role_id, created_by, created_at)
             select m.id, r.id, :actor, :now from member m join role r on r.id in (select value from json_each(:ids))
             where m.tenant_id = :tenant and m.user_id = :user and (r.tenant_id is null or r.tenant_id = :tenant) and r.is_active = 1
         on conflict do nothing",
            tenant = permit.tenant(),
            user,
            ids = ids.as_str(),
            actor = permit.actor(),
            now = context.now
        ),
        sql!(
            "update member set updated_at = :now where tenant_id = :tenant and user_id = :user",
            tenant = permit.tenant(),
            user,
            now = context.now
        ),
    ]
}

/// Ends a membership, and with it those of the tenant's groups.
#[must_use]
pub fn remove(permit: &Permit, member: &Id<Member>) -> Statement {
    sql!("delete from member where tenant_id = :tenant and id = :member", tenant = permit.tenant(), member)
}

/// Sessions that work in a tenant of which their user is no member any more do so no longer.
#[must_use]
pub fn forget_active(tenant: &Id<Tenant>, user: &Id<User>) -> Statement {
    sql!(
        "update session set active_tenant_id = null, active_group_id = null where active_tenant_id = :tenant and user_id = :user",
        tenant,
        user
    )
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
    sql!(
        concat!(
            "select json_extract('{}', iif(exists (
           select 1 from member m join user u on u.id = m.user_id join member_role mr on mr.member_id = m.id
           join role r on r.id = mr.role_id and r.tenant_id is null and r.name = 'owner'
           where m.tenant_id = :tenant and m.user_id = :user and r.id not in (select value from json_each(:roles))
             and m.status = 'active' and ",
            signs_in!("u"),
            " and ",
            no_other_owner!(),
            "), 'doorward:broken:without_owner', '$')) as row"
        ),
        tenant,
        user,
        roles = texts(roles)
    )
}

/// Fails, and the whole batch with it, if a tenant that has other members has no other owner who can act: it would be
/// nobody's. Before the statement that deletes them. A ban of theirs counts for nothing: it ends, and a deletion does not.
#[must_use]
pub fn leaves_none_ownerless(user: &Id<User>) -> Statement {
    sql!(
        concat!(
        "select json_extract('{}', iif(exists (
           select 1 from member m join member_role mr on mr.member_id = m.id
           join role r on r.id = mr.role_id and r.tenant_id is null and r.name = 'owner'
           where m.user_id = :user
             and exists (select 1 from member others where others.tenant_id = m.tenant_id and others.user_id <> :user) and ",
        no_other_owner!(),
        "), 'doorward:broken:without_owner', '$')) as row"
    ),
        user
    )
}
