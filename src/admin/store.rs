//! `user`, as those see and change them who look after a pool.

use serde::Deserialize;
use serde_json::Value;

use crate::access::action::Permit;
use crate::access::permission::Permissions;
use crate::http::fields::Change;
use crate::platform::d1::{Parameter, Statement};
use crate::platform::id::{Id, Millis, Session, Tenant, User};
use crate::platform::secret;
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::session::store::permission::{given_roles, permissions, role_ids, role_names};
use crate::tenants::listing::Where;
use crate::users::person::Person;
use crate::users::profile::{LONGEST_KEPT, Patches};
use crate::users::store::person::person_json;

/// A user and what became of them.
#[derive(Clone, Debug, Deserialize)]
pub struct PoolUser {
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
            " as row from user u left join member m on m.tenant_id = :id and m.user_id = u.id
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
    sql!(of_pool!("u.tenant_id is :pool", " and u.id = :user"), pool = tenant.pool(), id = &tenant.id, user)
}

/// Whose session it is, if it is one of the pool's users.
#[must_use]
pub fn find_by_session(context: &Context, session: &Id<Session>) -> Statement {
    let tenant = context.tenant();
    sql!(
        of_pool!(
            "u.tenant_id is :pool",
            " and u.id = (select user_id from session where id = :session and tenant_id = :id)"
        ),
        pool = tenant.pool(),
        id = &tenant.id,
        session
    )
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
pub struct UserFilter {
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

impl UserFilter {
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
}

/// A statement with `wanted!` in it, and further parameters.
macro_rules! wanted_sql {
    (match $on:tt $arms:tt, $wanted:ident $(, $name:ident $(= $value:expr)?)*) => {{
        let (pattern, pattern_at, is_name) = $wanted
            .search
            .as_ref()
            .map_or((None, None, false), |(text, at, name)| (Some(text), Some(at.as_str()), *name));
        let (one_of, one_is) = $wanted.one_of.as_ref().map_or((None, true), |(list, is)| (Some(list), *is));
        let (role, role_is) = $wanted.role.as_ref().map_or((None, true), |(name, is)| (Some(name), *is));
        let (like, like_at) =
            $wanted.like.as_ref().map_or((None, None), |(text, at)| (Some(text), Some(at.as_str())));
        sql!(
            match $on $arms,
            pattern,
            pattern_at,
            is_name,
            field = $wanted.column,
            one_of,
            one_is,
            like,
            like_at,
            from = $wanted.range.0,
            before = $wanted.range.1,
            role,
            role_is
            $(, $name $(= $value)?)*
        )
    }};
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
              when 'banned' then (u.status = 'suspended' and coalesce(u.suspended_until > :now, 1)) end"
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
            " and (:pattern is null or ",
            found!("iif(:is_name, u.name, u.email)", ":pattern", ":pattern_at"),
            ")
              and (:one_of is null or coalesce(",
            column!(":field"),
            " in (select value from json_each(:one_of)), 0) = :one_is)
              and (:like is null or iif(:field = 'role', exists (select 1 from role r where r.is_active = 1 and r.id in (",
            role_ids!("m"),
            ") and ",
            found!("iif(r.name = 'member', 'user', r.name)", ":like", ":like_at"),
            "), ",
            found!(column!(":field"), ":like", ":like_at"),
            "))
              and (:from is null or ",
            column!(":field"),
            " >= :from)
              and (:before is null or ",
            column!(":field"),
            " < :before)
              and (:role is null
                   or ('user' in (select value from json_each(:role))
                       and not exists (select 1 from role r where r.is_active = 1 and r.tenant_id is null and r.name in ('owner', 'admin')
                                        and r.id in (",
            role_ids!("m"),
            "))
                       or exists (select 1 from role r
                                  where r.is_active = 1 and r.id in (",
            role_ids!("m"),
            ") and (r.name in (select value from json_each(:role))
                                       or ('admin' in (select value from json_each(:role)) and r.tenant_id is null and r.name = 'owner'))))
                      = :role_is)"
        )
    };
}

/// A page of the pool's users.
#[must_use]
pub fn list(
    context: &Context,
    wanted: &UserFilter,
    (order, descends): (Order, bool),
    (limit, offset): (i64, i64),
) -> Statement {
    // Two pools, because an index on `tenant_id is null` serves no `tenant_id is :pool`.
    let tenant = context.tenant();
    let order = match order {
        Order::CreatedAt => None,
        Order::By(column) => Some(column),
    };
    wanted_sql!(
        match (tenant.pool().is_none(), order, descends) {
            (true, None, false) => of_pool!(
                "u.tenant_id is null",
                concat!(wanted!(), " order by u.created_at, u.id limit :limit offset :offset")
            ),
            (true, None, true) => of_pool!(
                "u.tenant_id is null",
                concat!(wanted!(), " order by u.created_at desc, u.id desc limit :limit offset :offset")
            ),
            (true, Some(_), false) => of_pool!(
                "u.tenant_id is null",
                concat!(wanted!(), " order by ", column!(":order"), ", u.id limit :limit offset :offset")
            ),
            (true, Some(_), true) => of_pool!(
                "u.tenant_id is null",
                concat!(wanted!(), " order by ", column!(":order"), " desc, u.id desc limit :limit offset :offset")
            ),
            (false, None, false) => of_pool!(
                "u.tenant_id = :pool and u.tenant_id is not null",
                concat!(wanted!(), " order by u.created_at, u.id limit :limit offset :offset")
            ),
            (false, None, true) => of_pool!(
                "u.tenant_id = :pool and u.tenant_id is not null",
                concat!(wanted!(), " order by u.created_at desc, u.id desc limit :limit offset :offset")
            ),
            (false, Some(_), false) => of_pool!(
                "u.tenant_id = :pool and u.tenant_id is not null",
                concat!(wanted!(), " order by ", column!(":order"), ", u.id limit :limit offset :offset")
            ),
            (false, Some(_), true) => of_pool!(
                "u.tenant_id = :pool and u.tenant_id is not null",
                concat!(wanted!(), " order by ", column!(":order"), " desc, u.id desc limit :limit offset :offset")
            ),
        },
        wanted,
        pool = tenant.pool(),
        id = &tenant.id,
        order,
        now = context.now,
        limit,
        offset
    )
}

/// How many users there are of those that are wanted. Of all, the tenant knows.
#[must_use]
pub fn count(context: &Context, wanted: &UserFilter) -> Statement {
    let tenant = context.tenant();
    if wanted.is_everybody() {
        return sql!("select json_quote(user_count) as row from tenant where id = :id", id = &tenant.id);
    }
    wanted_sql!(
        match (tenant.pool()) {
            None => concat!(
                "select json_quote(count(*)) as row from user u left join member m on m.tenant_id = :id and m.user_id = u.id
                 where u.deleted_at is null and u.tenant_id is null",
                wanted!()
            ),
            Some(_) => concat!(
                "select json_quote(count(*)) as row from user u left join member m on m.tenant_id = :id and m.user_id = u.id
                 where u.deleted_at is null and u.tenant_id = :pool and u.tenant_id is not null",
                wanted!()
            ),
        },
        wanted,
        pool = tenant.pool(),
        id = &tenant.id,
        now = context.now
    )
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
    sql!(
        "update user set status = :status, status_reason = :reason, status_changed_at = :now, status_changed_by = :actor, suspended_until = :until,
                         deactivated_at = iif(:status = 'inactive', :now, null), deactivated_by = iif(:status = 'inactive', :actor, null),
                         deactivation_reason = iif(:status = 'inactive', :reason, null), updated_at = :now
         where tenant_id is :pool and id = :user and deleted_at is null and status = :from",
        pool = context.tenant().pool(),
        user,
        actor = permit.actor(),
        status = to.status,
        reason = to.reason,
        now = context.now,
        until = to.until,
        from
    )
}

/// Changes of a user by whoever looks after the pool.
#[derive(Default)]
pub struct UserChanges {
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

impl UserChanges {
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
pub fn update(context: &Context, user: &Id<User>, changes: &UserChanges) -> Statement {
    sql!(
        "update user set name = coalesce(:name, name), image = iif(:is_some, :flatten, image),
                         email_verified = coalesce(:email_verified, iif(:email is null or :email = email, email_verified, 0)),
                         email = coalesce(:email, email), username = coalesce(:username, username),
                         display_username = coalesce(:display_username, display_username), updated_at = :now
         where tenant_id is :pool and id = :user and deleted_at is null",
        pool = context.tenant().pool(),
        user,
        name = changes.name.as_ref(),
        is_some = changes.image.is_some(),
        flatten = changes.image.clone().flatten(),
        email = changes.email.as_ref(),
        email_verified = changes.email_verified,
        now = context.now,
        username = changes.username.as_ref(),
        display_username = changes.display_username.as_ref()
    )
}

/// Patches what a user keeps here. Nothing changes where it would be more than may be kept.
#[must_use]
pub fn patch(context: &Context, user: &Id<User>, patches: &Patches) -> Statement {
    let or_none = |patch: &Option<String>| -> Parameter { patch.clone().unwrap_or_else(|| "{}".to_owned()).into() };
    sql!(
        "update user set profile = json_patch(profile, :profile), preferences = json_patch(preferences, :preferences),
                         email_preferences = json_patch(email_preferences, :email_preferences), metadata = json_patch(metadata, :metadata), updated_at = :now
         where tenant_id is :pool and id = :user and deleted_at is null
           and length(json_patch(profile, :profile)) <= :longest_kept and length(json_patch(preferences, :preferences)) <= :longest_kept
           and length(json_patch(email_preferences, :email_preferences)) <= :longest_kept and length(json_patch(metadata, :metadata)) <= :longest_kept",
        pool = context.tenant().pool(),
        user,
        profile = or_none(&patches.profile),
        preferences = or_none(&patches.preferences),
        email_preferences = or_none(&patches.email_preferences),
        metadata = or_none(&patches.metadata),
        now = context.now,
        longest_kept = LONGEST_KEPT
    )
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
    sql!(
        "select json_object('profile', json(u.profile), 'preferences', json(u.preferences),
                            'email_preferences', json(u.email_preferences), 'metadata', json(u.metadata)) as row
         from session s join user u on u.id = s.user_id where s.tenant_id = :tenant and s.token_hash = :hash",
        tenant,
        hash
    )
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
