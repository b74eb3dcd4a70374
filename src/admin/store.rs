//! `user`, as those see and change them who look after a pool.

use serde::Deserialize;
use serde_json::Value;

use crate::access::action::Permit;
use crate::access::permission::Permissions;
use crate::http::fields::Change;
use crate::platform::d1::{Parameter, Statement, sql};
use crate::platform::id::{Id, Millis, Session, Tenant, User};
use crate::platform::secret;
use crate::request::context::Context;
use crate::session::store::permission::{given_roles, permissions, role_ids, role_names};
use crate::tenants::listing::Where;
use crate::users::person::Person;
use crate::users::profile::{LONGEST_KEPT, Patches};
use crate::users::store::person::person_json;

/// A user and what became of them.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    /// As clients are told.
    pub person: Person,
    /// `active`, `inactive`, `suspended`.
    pub status: String,
    /// Why.
    pub status_reason: Option<String>,
    /// Since when.
    pub status_changed_at: Option<Millis>,
    /// When a suspension ends by itself.
    pub suspended_until: Option<Millis>,
    /// Last sign-in.
    pub last_login_at: Option<Millis>,
    /// Sign-ins.
    pub login_count: i64,
    /// Roles that were given to them in the tenant.
    pub given: Vec<String>,
    /// Roles there, those of groups included.
    pub roles: Vec<String>,
    /// What they allow.
    pub permissions: Permissions,
    /// Whether they are a member of it.
    pub is_member: bool,
    /// `profile`.
    pub profile: Value,
    /// `preferences`.
    pub preferences: Value,
    /// `email_preferences`.
    pub email_preferences: Value,
    /// `metadata`.
    pub metadata: Value,
}

macro_rules! record_json {
    () => {
        concat!(
            "json_object('person', ",
            person_json!("u"),
            ", 'status', u.status, 'status_reason', u.status_reason, 'status_changed_at', u.status_changed_at,
             'suspended_until', u.suspended_until, 'last_login_at', u.last_login_at, 'login_count', u.login_count,
             'given', ",
            given_roles!("m"),
            ", 'roles', ",
            role_names!("m"),
            ", 'permissions', ",
            permissions!("m"),
            ", 'is_member', json(iif(m.id is null, 'false', 'true')), 'profile', json(u.profile),
             'preferences', json(u.preferences), 'email_preferences', json(u.email_preferences), 'metadata', json(u.metadata))"
        )
    };
}

macro_rules! of_pool {
    ($pool:literal, $condition:expr) => {
        concat!(
            "select ",
            record_json!(),
            " as row from user u left join member m on m.tenant_id = ?2 and m.user_id = u.id
             where u.deleted_at is null and ",
            $pool,
            $condition
        )
    };
}

/// One user of the pool that was asked.
#[must_use]
pub fn find(context: &Context, user: &Id<User>) -> Statement {
    let tenant = context.tenant();
    sql(of_pool!("u.tenant_id is ?1", " and u.id = ?3")).bind(tenant.pool()).bind(&tenant.id).bind(user)
}

/// Whose session it is, if it is one of the pool's users.
#[must_use]
pub fn find_by_session(context: &Context, session: &Id<Session>) -> Statement {
    let tenant = context.tenant();
    sql(of_pool!("u.tenant_id is ?1", " and u.id = (select user_id from session where id = ?3 and tenant_id = ?2)"))
        .bind(tenant.pool())
        .bind(&tenant.id)
        .bind(session)
}

/// By what a list of users is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Creation: an index.
    CreatedAt,
    /// Another column, named as the statement knows it.
    By(&'static str),
}

/// What is asked of users. Texts are compared in any case, of ASCII's letters.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// A text, where it is, and whether it is about the name instead of the address.
    pub search: Option<(String, Where, bool)>,
    /// The column that the next three are about, named as the statement knows it.
    pub column: Option<&'static str>,
    /// One of these values, as a JSON array, or with `false` none of them.
    pub one_of: Option<(String, bool)>,
    /// A text, and where it is; of the column `role`, in the name of any of theirs.
    pub like: Option<(String, Where)>,
    /// At least this, and less than that.
    pub range: (Option<Millis>, Option<Millis>),
    /// With one of these roles, as a JSON array, or with `false` with none of them; `admin` is a user who administers, `user`
    /// everybody else.
    pub role: Option<(String, bool)>,
}

impl Wanted {
    /// Whether everybody is.
    #[must_use]
    pub const fn is_everybody(&self) -> bool {
        self.search.is_none()
            && self.one_of.is_none()
            && self.like.is_none()
            && self.range.0.is_none()
            && self.range.1.is_none()
            && self.role.is_none()
    }

    fn bind(&self, statement: Statement) -> Statement {
        let (pattern, at, is_name) =
            self.search.as_ref().map_or((None, None, false), |(text, at, name)| (Some(text), Some(at.as_str()), *name));
        let (one_of, one_is) = self.one_of.as_ref().map_or((None, true), |(list, is)| (Some(list), *is));
        let (role, role_is) = self.role.as_ref().map_or((None, true), |(name, is)| (Some(name), *is));
        statement
            .bind(pattern)
            .bind(is_name)
            .bind(self.column)
            .bind(one_of)
            .bind(one_is)
            .bind(self.like.as_ref().map(|(text, _)| text))
            .bind(self.range.0)
            .bind(self.range.1)
            .bind(role)
            .bind(role_is)
            .bind(at)
            .bind(self.like.as_ref().map(|(_, at)| at.as_str()))
    }
}

/// The column under a name: what is not here cannot be asked for.
macro_rules! column {
    ($n:literal) => {
        concat!(
            "case ",
            $n,
            " when 'email' then u.email when 'name' then u.name when 'id' then u.id when 'username' then u.username
              when 'status' then u.status when 'created_at' then u.created_at when 'updated_at' then u.updated_at
              when 'last_login_at' then u.last_login_at when 'email_verified' then u.email_verified
              when 'is_anonymous' then u.is_anonymous
              when 'banned' then (u.status = 'suspended' and coalesce(u.suspended_until > ?15, 1)) end"
        )
    };
}

/// Whether a text is where it is looked for.
macro_rules! found {
    ($haystack:expr, $needle:literal, $at:literal) => {
        concat!(
            "case ",
            $at,
            " when 'contains' then instr(lower(",
            $haystack,
            "), lower(",
            $needle,
            ")) > 0
                when 'begins' then substr(lower(",
            $haystack,
            "), 1, length(",
            $needle,
            ")) = lower(",
            $needle,
            ")
                else substr(lower(",
            $haystack,
            "), -length(",
            $needle,
            ")) = lower(",
            $needle,
            ") end"
        )
    };
}

macro_rules! wanted {
    () => {
        concat!(
            " and (?3 is null or ",
            found!("iif(?4, u.name, u.email)", "?3", "?13"),
            ")
              and (?6 is null or coalesce(",
            column!("?5"),
            " in (select value from json_each(?6)), 0) = ?7)
              and (?8 is null or iif(?5 = 'role', exists (select 1 from role r where r.is_active = 1 and r.id in (",
            role_ids!("m"),
            ") and ",
            found!("iif(r.name = 'member', 'user', r.name)", "?8", "?14"),
            "), ",
            found!(column!("?5"), "?8", "?14"),
            "))
              and (?9 is null or ",
            column!("?5"),
            " >= ?9)
              and (?10 is null or ",
            column!("?5"),
            " < ?10)
              and (?11 is null
                   or ('user' in (select value from json_each(?11))
                       and not exists (select 1 from role r where r.is_active = 1 and r.tenant_id is null and r.name in ('owner', 'admin')
                                        and r.id in (",
            role_ids!("m"),
            "))
                       or exists (select 1 from role r
                                  where r.is_active = 1 and r.id in (",
            role_ids!("m"),
            ") and (r.name in (select value from json_each(?11))
                                       or ('admin' in (select value from json_each(?11)) and r.tenant_id is null and r.name = 'owner'))))
                      = ?12)"
        )
    };
}

/// A page of the pool's users.
#[must_use]
pub fn list(
    context: &Context,
    wanted: &Wanted,
    (order, descends): (Order, bool),
    (limit, offset): (i64, i64),
) -> Statement {
    // Two pools, because an index on `tenant_id is null` serves no `tenant_id is ?1`.
    let shared = context.tenant().pool().is_none();
    let text = match (shared, order, descends) {
        (true, Order::CreatedAt, false) => of_pool!(
            "u.tenant_id is null and ?1 is null",
            concat!(wanted!(), " and ?18 is null order by u.created_at, u.id limit ?16 offset ?17")
        ),
        (true, Order::CreatedAt, true) => of_pool!(
            "u.tenant_id is null and ?1 is null",
            concat!(wanted!(), " and ?18 is null order by u.created_at desc, u.id desc limit ?16 offset ?17")
        ),
        (true, Order::By(_), false) => of_pool!(
            "u.tenant_id is null and ?1 is null",
            concat!(wanted!(), " order by ", column!("?18"), ", u.id limit ?16 offset ?17")
        ),
        (true, Order::By(_), true) => of_pool!(
            "u.tenant_id is null and ?1 is null",
            concat!(wanted!(), " order by ", column!("?18"), " desc, u.id desc limit ?16 offset ?17")
        ),
        (false, Order::CreatedAt, false) => of_pool!(
            "u.tenant_id = ?1 and u.tenant_id is not null",
            concat!(wanted!(), " and ?18 is null order by u.created_at, u.id limit ?16 offset ?17")
        ),
        (false, Order::CreatedAt, true) => of_pool!(
            "u.tenant_id = ?1 and u.tenant_id is not null",
            concat!(wanted!(), " and ?18 is null order by u.created_at desc, u.id desc limit ?16 offset ?17")
        ),
        (false, Order::By(_), false) => of_pool!(
            "u.tenant_id = ?1 and u.tenant_id is not null",
            concat!(wanted!(), " order by ", column!("?18"), ", u.id limit ?16 offset ?17")
        ),
        (false, Order::By(_), true) => of_pool!(
            "u.tenant_id = ?1 and u.tenant_id is not null",
            concat!(wanted!(), " order by ", column!("?18"), " desc, u.id desc limit ?16 offset ?17")
        ),
    };
    let tenant = context.tenant();
    let statement = wanted.bind(sql(text).bind(tenant.pool()).bind(&tenant.id));
    let column = match order {
        Order::CreatedAt => None,
        Order::By(column) => Some(column),
    };
    statement.bind(context.now).bind(limit).bind(offset).bind(column)
}

/// How many users there are of those that are wanted. Of all, the tenant knows.
#[must_use]
pub fn count(context: &Context, wanted: &Wanted) -> Statement {
    let tenant = context.tenant();
    if wanted.is_everybody() {
        return sql("select json_quote(user_count) as row from tenant where id = ?1").bind(&tenant.id);
    }
    let text = if tenant.pool().is_none() {
        concat!(
            "select json_quote(count(*)) as row from user u left join member m on m.tenant_id = ?2 and m.user_id = u.id
             where u.deleted_at is null and u.tenant_id is null and ?1 is null",
            wanted!()
        )
    } else {
        concat!(
            "select json_quote(count(*)) as row from user u left join member m on m.tenant_id = ?2 and m.user_id = u.id
             where u.deleted_at is null and u.tenant_id = ?1 and u.tenant_id is not null",
            wanted!()
        )
    };
    wanted.bind(sql(text).bind(tenant.pool()).bind(&tenant.id)).bind(context.now)
}

/// A change of a user's standing.
pub struct Transition<'a> {
    /// `active`, `inactive` or `suspended`.
    pub status: &'static str,
    /// Why.
    pub reason: Option<&'a str>,
    /// When a suspension ends by itself.
    pub until: Option<Millis>,
}

/// Changes what may become of a user whose status is `from`, and says who did it and when.
#[must_use]
pub fn transition(context: &Context, permit: &Permit, user: &Id<User>, from: &str, to: &Transition<'_>) -> Statement {
    sql("update user set status = ?4, status_reason = ?5, status_changed_at = ?6, status_changed_by = ?3, suspended_until = ?7,
                         deactivated_at = iif(?4 = 'inactive', ?6, null), deactivated_by = iif(?4 = 'inactive', ?3, null),
                         deactivation_reason = iif(?4 = 'inactive', ?5, null), updated_at = ?6
         where tenant_id is ?1 and id = ?2 and deleted_at is null and status = ?8")
    .bind(context.tenant().pool())
    .bind(user)
    .bind(permit.actor())
    .bind(to.status)
    .bind(to.reason)
    .bind(context.now)
    .bind(to.until)
    .bind(from)
}

/// Changes of a user by whoever looks after the pool.
#[derive(Default)]
pub struct Changes {
    /// `name`.
    pub name: Option<String>,
    /// `image`; `Some(None)` clears it.
    pub image: Option<Option<String>>,
    /// User name, in lower case.
    pub username: Option<String>,
    /// The user name as it is shown.
    pub display_username: Option<String>,
    /// Lower-case address. One that is not said to be proven is not.
    pub email: Option<String>,
    /// Whether the address is proven.
    pub email_verified: Option<bool>,
    /// JSON merge patches (RFC 7396) of `profile`, `preferences`, `email_preferences` and `metadata`.
    pub patches: Patches,
}

impl Changes {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.name.is_none()
            && self.username.is_none()
            && self.display_username.is_none()
            && self.image.is_none()
            && self.email.is_none()
            && self.email_verified.is_none()
            && self.patches.is_empty()
    }
}

/// Changes a user.
#[must_use]
pub fn update(context: &Context, user: &Id<User>, changes: &Changes) -> Statement {
    sql("update user set name = coalesce(?3, name), image = iif(?4, ?5, image),
                         email_verified = coalesce(?7, iif(?6 is null or ?6 = email, email_verified, 0)),
                         email = coalesce(?6, email), username = coalesce(?9, username),
                         display_username = coalesce(?10, display_username), updated_at = ?8
         where tenant_id is ?1 and id = ?2 and deleted_at is null")
    .bind(context.tenant().pool())
    .bind(user)
    .bind(changes.name.as_ref())
    .bind(changes.image.is_some())
    .bind(changes.image.clone().flatten())
    .bind(changes.email.as_ref())
    .bind(changes.email_verified)
    .bind(context.now)
    .bind(changes.username.as_ref())
    .bind(changes.display_username.as_ref())
}

/// Patches what a user keeps here. Nothing changes where it would be more than may be kept.
#[must_use]
pub fn patch(context: &Context, user: &Id<User>, patches: &Patches) -> Statement {
    let or_none = |patch: &Option<String>| -> Parameter { patch.clone().unwrap_or_else(|| "{}".to_owned()).into() };
    sql("update user set profile = json_patch(profile, ?3), preferences = json_patch(preferences, ?4),
                         email_preferences = json_patch(email_preferences, ?5), metadata = json_patch(metadata, ?6), updated_at = ?7
         where tenant_id is ?1 and id = ?2 and deleted_at is null
           and length(json_patch(profile, ?3)) <= ?8 and length(json_patch(preferences, ?4)) <= ?8
           and length(json_patch(email_preferences, ?5)) <= ?8 and length(json_patch(metadata, ?6)) <= ?8")
    .bind(context.tenant().pool())
    .bind(user)
    .bind(or_none(&patches.profile))
    .bind(or_none(&patches.preferences))
    .bind(or_none(&patches.email_preferences))
    .bind(or_none(&patches.metadata))
    .bind(context.now)
    .bind(LONGEST_KEPT)
}

/// What a user keeps here.
#[derive(Debug, Deserialize)]
pub struct Kept {
    /// `profile`.
    pub profile: Value,
    /// `preferences`.
    pub preferences: Value,
    /// `email_preferences`.
    pub email_preferences: Value,
    /// `metadata`.
    pub metadata: Value,
}

/// Reads that, of a session's user.
#[must_use]
pub fn kept(tenant: &Id<Tenant>, hash: &secret::TokenHash<secret::SessionToken>) -> Statement {
    sql("select json_object('profile', json(u.profile), 'preferences', json(u.preferences),
                            'email_preferences', json(u.email_preferences), 'metadata', json(u.metadata)) as row
         from session s join user u on u.id = s.user_id where s.tenant_id = ?1 and s.token_hash = ?2")
    .bind(tenant)
    .bind(hash)
}

/// A change that may be kept, set or cleared, as an option of an option.
#[must_use]
pub fn as_option(change: Change) -> Option<Option<String>> {
    match change {
        Change::Keep => None,
        Change::Clear => Some(None),
        Change::Set(text) => Some(Some(text)),
    }
}
