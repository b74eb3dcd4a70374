//! `api_key`: what programs are known by.

use serde::Deserialize;
use serde_json::Value;

use crate::access::permission::Permissions;
use crate::platform::d1::Statement;
use crate::platform::id::{ApiKey, Id, Millis, Tenant, User};
use crate::platform::secret::{ApiKeySecret, TokenHash};
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::session::store::permission::{permissions, role_names, signs_in};
use crate::users::person::Person;
use crate::users::store::person::person_json;

/// A key, without what it is presented by.
#[derive(Clone, Debug, Deserialize)]
pub struct ApiKeyRecord {
    /// Id.
    pub id: Id<ApiKey>,
    /// In which tenant it works.
    pub tenant_id: Id<Tenant>,
    /// Whose; none is the tenant's own.
    pub user_id: Option<Id<User>>,
    /// The client's name for a kind of keys.
    pub config_id: String,
    /// Name.
    pub name: Option<String>,
    /// What it begins with.
    pub prefix: Option<String>,
    /// Its first characters.
    pub start: String,
    /// Whether it works.
    pub enabled: bool,
    /// `{"resource":["action"]}`; none is all that its owner may.
    pub permissions: Option<Value>,
    /// Whatever its owner keeps there.
    pub metadata: Option<Value>,
    /// Uses that are left.
    pub remaining: Option<i64>,
    /// How many uses are given anew …
    pub refill_amount: Option<i64>,
    /// … every so many milliseconds.
    pub refill_interval: Option<i64>,
    /// When they last were.
    pub last_refill_at: Option<Millis>,
    /// Whether uses are limited in time.
    pub rate_limit_enabled: bool,
    /// In so many milliseconds …
    pub rate_limit_time_window: i64,
    /// … so many uses.
    pub rate_limit_max: i64,
    /// Uses in this window.
    pub request_count: i64,
    /// When it began.
    pub window_started_at: Option<Millis>,
    /// Last use.
    pub last_request_at: Option<Millis>,
    /// End.
    pub expires_at: Option<Millis>,
    /// Creation.
    pub created_at: Millis,
    /// Last change.
    pub updated_at: Millis,
}

macro_rules! record_json {
    ($k:literal) => {
        concat!(
            "json_object('id', ",
            $k,
            "id, 'tenant_id', ",
            $k,
            "tenant_id, 'user_id', ",
            $k,
            "user_id, 'config_id', ",
            $k,
            "config_id, 'name', ",
            $k,
            "name, 'prefix', ",
            $k,
            "prefix, 'start', ",
            $k,
            "start,
             'enabled', json(iif(",
            $k,
            "enabled, 'true', 'false')), 'permissions', json(",
            $k,
            "permissions),
             'metadata', json(",
            $k,
            "metadata), 'remaining', ",
            $k,
            "remaining, 'refill_amount', ",
            $k,
            "refill_amount,
             'refill_interval', ",
            $k,
            "refill_interval, 'last_refill_at', ",
            $k,
            "last_refill_at,
             'rate_limit_enabled', json(iif(",
            $k,
            "rate_limit_enabled, 'true', 'false')),
             'rate_limit_time_window', ",
            $k,
            "rate_limit_time_window, 'rate_limit_max', ",
            $k,
            "rate_limit_max,
             'request_count', ",
            $k,
            "request_count, 'window_started_at', ",
            $k,
            "window_started_at,
             'last_request_at', ",
            $k,
            "last_request_at, 'expires_at', ",
            $k,
            "expires_at,
             'created_at', ",
            $k,
            "created_at, 'updated_at', ",
            $k,
            "updated_at)"
        )
    };
}

/// Whose keys.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// A user's own, in the tenant.
    User(&'a Id<User>),
    /// The tenant's.
    Tenant,
}

impl<'a> Owner<'a> {
    const fn user(self) -> Option<&'a Id<User>> {
        match self {
            Self::User(user) => Some(user),
            Self::Tenant => None,
        }
    }
}

/// What is set of a key; `None` keeps, `Some(None)` clears.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyDraft {
    /// Name.
    pub name: Option<String>,
    /// Whether it works.
    pub enabled: Option<bool>,
    /// A JSON object.
    pub permissions: Option<Option<String>>,
    /// A JSON object.
    pub metadata: Option<Option<String>>,
    /// Uses that are left.
    pub remaining: Option<Option<i64>>,
    /// Uses given anew, and how often in milliseconds.
    pub refill: Option<Option<(i64, i64)>>,
    /// Whether uses are limited in time.
    pub rate_limit_enabled: Option<bool>,
    /// In milliseconds.
    pub rate_limit_time_window: Option<i64>,
    /// Uses in that time.
    pub rate_limit_max: Option<i64>,
    /// End.
    pub expires_at: Option<Option<Millis>>,
}

impl ApiKeyDraft {
    /// Whether it could let a key do more than it did: all but another name, other notes and an end to its use.
    #[must_use]
    pub const fn gives(&self) -> bool {
        let ends = matches!(self.enabled, None | Some(false));
        let is_harmless = self.permissions.is_none()
            && self.remaining.is_none()
            && self.refill.is_none()
            && self.rate_limit_enabled.is_none()
            && self.rate_limit_time_window.is_none()
            && self.rate_limit_max.is_none()
            && self.expires_at.is_none();
        !(ends && is_harmless)
    }
}

/// A key to be made.
pub struct NewKey<'a> {
    /// Id.
    pub id: &'a Id<ApiKey>,
    /// Its hash.
    pub hash: &'a TokenHash<ApiKeySecret>,
    /// Whose.
    pub owner: Owner<'a>,
    /// Who makes it.
    pub created_by: &'a Id<User>,
    /// The client's name for a kind of keys.
    pub config_id: &'a str,
    /// What it begins with.
    pub prefix: Option<&'a str>,
    /// Its first characters.
    pub start: &'a str,
}

/// How many keys a user, or a tenant, may have.
const MOST_KEYS: i64 = 1000;

/// Makes a key; fails unchanged where there are too many.
#[must_use]
pub fn create(context: &Context, tenant: &Id<Tenant>, new: &NewKey<'_>, draft: &ApiKeyDraft) -> Statement {
    let refill = draft.refill.flatten();
    sql!(
        "insert into api_key (id, tenant_id, user_id, created_by, config_id, name, prefix, start, key_hash, permissions, metadata,
                              remaining, refill_amount, refill_interval, rate_limit_enabled, rate_limit_time_window,
                              rate_limit_max, expires_at, created_at, updated_at)
         select :id, :tenant, :user, :created_by, :config_id, :name, :prefix, :start, :hash, :flatten, :metadata, :remaining, :refill, :refill_interval, coalesce(:rate_limit_enabled, 1), :rate_limit_time_window, :rate_limit_max, :expires_at, :now, :now
         where (select count(*) from api_key where tenant_id = :tenant and user_id is :user) < :most_keys",
        tenant,
        id = new.id,
        user = new.owner.user(),
        created_by = new.created_by,
        config_id = new.config_id,
        name = draft.name.as_ref(),
        prefix = new.prefix,
        start = new.start,
        hash = new.hash,
        flatten = draft.permissions.clone().flatten(),
        metadata = draft.metadata.clone().flatten(),
        remaining = draft.remaining.flatten(),
        refill = refill.map(|(amount, _)| amount),
        refill_interval = refill.map(|(_, interval)| interval),
        rate_limit_enabled = draft.rate_limit_enabled,
        rate_limit_time_window = draft.rate_limit_time_window.unwrap_or(context.config.limit_api_key.seconds * 1000),
        rate_limit_max = draft.rate_limit_max.unwrap_or(context.config.limit_api_key.count),
        expires_at = draft.expires_at.flatten(),
        now = context.now,
        most_keys = MOST_KEYS
    )
}

/// Changes a key.
#[must_use]
pub fn update(
    context: &Context,
    tenant: &Id<Tenant>,
    owner: Owner<'_>,
    key: &Id<ApiKey>,
    draft: &ApiKeyDraft,
) -> Statement {
    let refill = draft.refill.flatten();
    sql!(
        "update api_key set name = coalesce(:name, name), enabled = coalesce(:enabled, enabled),
           permissions = iif(:is_some, :flatten, permissions), metadata = iif(:metadata_is_some, :metadata_flatten, metadata), remaining = iif(:remaining_is_some, :remaining_flatten, remaining),
           refill_amount = iif(:refill_is_some, :refill, refill_amount), refill_interval = iif(:refill_is_some, :refill_refill, refill_interval),
           rate_limit_enabled = coalesce(:rate_limit_enabled, rate_limit_enabled),
           rate_limit_time_window = coalesce(:rate_limit_time_window, rate_limit_time_window), rate_limit_max = coalesce(:rate_limit_max, rate_limit_max),
           expires_at = iif(:expires_at_is_some, :expires_at_flatten, expires_at), updated_at = :now
         where tenant_id = :tenant and user_id is :user and id = :key",
        tenant,
        user = owner.user(),
        key,
        name = draft.name.as_ref(),
        enabled = draft.enabled,
        is_some = draft.permissions.is_some(),
        flatten = draft.permissions.clone().flatten(),
        metadata_is_some = draft.metadata.is_some(),
        metadata_flatten = draft.metadata.clone().flatten(),
        remaining_is_some = draft.remaining.is_some(),
        remaining_flatten = draft.remaining.flatten(),
        refill_is_some = draft.refill.is_some(),
        refill = refill.map(|(amount, _)| amount),
        refill_refill = refill.map(|(_, interval)| interval),
        rate_limit_enabled = draft.rate_limit_enabled,
        rate_limit_time_window = draft.rate_limit_time_window,
        rate_limit_max = draft.rate_limit_max,
        expires_at_is_some = draft.expires_at.is_some(),
        expires_at_flatten = draft.expires_at.flatten(),
        now = context.now
    )
}

/// One key of an owner's.
#[must_use]
pub fn find(tenant: &Id<Tenant>, owner: Owner<'_>, key: &Id<ApiKey>) -> Statement {
    sql!(
        concat!(
            "select ",
            record_json!(""),
            " as row from api_key where tenant_id = :tenant and user_id is :user and id = :key"
        ),
        tenant,
        user = owner.user(),
        key
    )
}

/// The tenant whose own key this is, if the user is a member of it.
#[must_use]
pub fn tenant_of(key: &Id<ApiKey>, user: &Id<User>) -> Statement {
    sql!(
        "select json_quote(k.tenant_id) as row from api_key k join member m on m.tenant_id = k.tenant_id and m.user_id = :user
         where k.id = :key and k.user_id is null and m.status = 'active'",
        key,
        user
    )
}

/// An owner's keys, the oldest first or last.
#[must_use]
pub fn list(
    tenant: &Id<Tenant>,
    owner: Owner<'_>,
    (by, descends): (&'static str, bool),
    (limit, offset): (i64, i64),
) -> Statement {
    // By creation they are read in the order of an index. Another order sorts an owner's keys, of which there are few.
    macro_rules! ordered {
        ($whose:literal, $order:literal, $way:literal) => {
            concat!(
                "select ",
                record_json!(""),
                " as row from api_key where tenant_id = :tenant and ",
                $whose,
                " order by ",
                $order,
                " ",
                $way,
                ", id ",
                $way,
                " limit :limit offset :offset"
            )
        };
        (sorted $whose:literal, $way:literal) => {
            ordered!(
                $whose,
                "case :by when 'name' then name when 'updated_at' then updated_at when 'expires_at' then expires_at
                 when 'last_request_at' then last_request_at end",
                $way
            )
        };
    }
    sql!(
        match (owner, by, descends) {
            (Owner::User(_), "created_at", false) => ordered!("user_id = :user", "created_at", "asc"),
            (Owner::User(_), "created_at", true) => ordered!("user_id = :user", "created_at", "desc"),
            (Owner::Tenant, "created_at", false) => ordered!("user_id is null", "created_at", "asc"),
            (Owner::Tenant, "created_at", true) => ordered!("user_id is null", "created_at", "desc"),
            (Owner::User(_), _, false) => ordered!(sorted "user_id = :user", "asc"),
            (Owner::User(_), _, true) => ordered!(sorted "user_id = :user", "desc"),
            (Owner::Tenant, _, false) => ordered!(sorted "user_id is null", "asc"),
            (Owner::Tenant, _, true) => ordered!(sorted "user_id is null", "desc"),
        },
        tenant,
        user = owner.user(),
        by,
        limit,
        offset
    )
}

/// How many keys an owner has.
#[must_use]
pub fn count(tenant: &Id<Tenant>, owner: Owner<'_>) -> Statement {
    sql!(
        "select json_quote(count(*)) as row from api_key where tenant_id = :tenant and user_id is :user",
        tenant,
        user = owner.user()
    )
}

/// Switches off the keys that a user made: somebody else may have made them. With `if_password`, only if that is the hash
/// of the user's password now: of two changes of it at once, the one that lost ends nothing.
#[must_use]
pub fn disable_of(context: &Context, user: &Id<User>, if_password: Option<&str>) -> Statement {
    sql!(
        "update api_key set enabled = 0, updated_at = :now
         where user_id = :user and enabled = 1
           and (:if_password is null
                or exists (select 1 from account where user_id = :user and issuer_id is null and password_hash = :if_password))",
        user,
        now = context.now,
        if_password
    )
}

/// Fails, and the whole batch with it, unless a key still works and its user may still sign in: what a request writes by a
/// key is held to it.
#[must_use]
pub fn must_work(context: &Context, hash: &TokenHash<ApiKeySecret>) -> Statement {
    sql!(
        concat!(
            "select json_extract('{}', iif(exists (
           select 1 from api_key k left join user u on u.id = k.user_id
           where k.tenant_id = :tenant and k.key_hash = :hash and k.enabled = 1 and (k.user_id is null or ",
            signs_in!("u"),
            ")), '$', 'doorward:broken:key')) as row"
        ),
        tenant = &context.tenant().id,
        hash
    )
}

/// Deletes a key.
#[must_use]
pub fn delete(tenant: &Id<Tenant>, owner: Owner<'_>, key: &Id<ApiKey>) -> Statement {
    sql!(
        "delete from api_key where tenant_id = :tenant and user_id is :user and id = :key",
        tenant,
        user = owner.user(),
        key
    )
}

/// Uses a key once, if it may be used: of many at once no more go through than its limits let. Answers its id.
#[must_use]
pub fn spend(context: &Context, hash: &TokenHash<ApiKeySecret>) -> Statement {
    sql!(
        "update api_key set
           last_request_at = :now,
           request_count = iif(window_started_at is null or window_started_at + rate_limit_time_window <= :now, 1, request_count + 1),
           window_started_at = iif(window_started_at is null or window_started_at + rate_limit_time_window <= :now, :now, window_started_at),
           remaining = case when remaining is null then null
                            when refill_interval is not null and coalesce(last_refill_at, created_at) + refill_interval <= :now
                              then refill_amount - 1
                            else remaining - 1 end,
           last_refill_at = iif(remaining is not null and refill_interval is not null
                                and coalesce(last_refill_at, created_at) + refill_interval <= :now, :now, last_refill_at)
         where tenant_id = :tenant and key_hash = :hash and enabled = 1 and (expires_at is null or expires_at > :now)
           and (rate_limit_enabled = 0 or window_started_at is null or window_started_at + rate_limit_time_window <= :now
                or request_count < rate_limit_max)
           and (remaining is null or remaining > 0
                or (refill_interval is not null and coalesce(last_refill_at, created_at) + refill_interval <= :now))
         returning json_quote(id) as row",
        tenant = &context.tenant().id,
        hash,
        now = context.now
    )
}

/// A key that was presented, and whose it is.
#[derive(Clone, Debug, Deserialize)]
pub struct PresentedKey {
    /// The key, after this use.
    pub key: ApiKeyRecord,
    /// Its user; none of a tenant's own.
    pub user: Option<Person>,
    /// `user.status`.
    pub user_status: Option<String>,
    /// `user.suspended_until`.
    pub suspended_until: Option<Millis>,
    /// Whether the user is an active member of the tenant.
    pub is_member: bool,
    /// Their roles there.
    pub roles: Vec<String>,
    /// What those allow.
    pub permissions: Permissions,
    /// Whether the user has a passkey that verifies them.
    pub has_passkey: bool,
    /// `member.second_factor_required_at`.
    pub second_factor_required_at: Option<Millis>,
    /// `member.second_factor_grace_logins`.
    pub grace_logins: i64,
    /// The tenant's slug.
    pub tenant_slug: String,
    /// The tenant's status.
    pub tenant_status: String,
}

/// Reads that.
#[must_use]
pub fn presented(context: &Context, hash: &TokenHash<ApiKeySecret>) -> Statement {
    sql!(
        concat!(
        "select json_object('key', ",
        record_json!("k."),
        ", 'user', iif(u.id is null, null, ",
        person_json!("u"),
        "), 'user_status', u.status, 'suspended_until', u.suspended_until,
            'is_member', json(iif(m.id is null, 'false', 'true')), 'roles', ",
        role_names!("m"),
        ", 'permissions', ",
        permissions!("m"),
        ", 'has_passkey', json(iif(exists (select 1 from passkey where user_id = u.id and uv_initialized = 1), 'true', 'false')),
            'second_factor_required_at', m.second_factor_required_at,
            'grace_logins', coalesce(m.second_factor_grace_logins, 0), 'tenant_slug', t.slug, 'tenant_status', t.status) as row
         from api_key k join tenant t on t.id = k.tenant_id
         left join user u on u.id = k.user_id
         left join member m on m.tenant_id = k.tenant_id and m.user_id = k.user_id and m.status = 'active'
         where k.tenant_id = :tenant and k.key_hash = :hash"
    ),
        tenant = &context.tenant().id,
        hash
    )
}
