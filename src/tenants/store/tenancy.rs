//! `tenant` and `tenant_domain`, as those see and change them who look after the server.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::action::Permit;
use crate::platform::d1::{Statement, sql};
use crate::platform::id::{Id, Member, Millis, Tenant, User};
use crate::request::context::Context;
use crate::session::store::permission::{may, signs_in};

/// A tenant and what is set of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    /// Id.
    pub id: Id<Tenant>,
    /// Name.
    pub name: String,
    /// Slug.
    pub slug: String,
    /// `shared` or `isolated`.
    pub user_pool: String,
    /// The D1 binding of its own data.
    pub database: Option<String>,
    /// `active`, `suspended` or `pending_deletion`.
    pub status: String,
    /// Why.
    pub status_reason: Option<String>,
    /// Since when.
    pub status_changed_at: Option<Millis>,
    /// When it is deleted, if that is so.
    pub deletion_scheduled_at: Option<Millis>,
    /// How long a deletion can be undone, in days.
    pub grace_period_days: i64,
    /// Picture URL.
    pub logo: Option<String>,
    /// Hosts on which its people sign in, the primary one first.
    pub hosts: Vec<String>,
    /// `colors`.
    pub colors: Value,
    /// `features`.
    pub features: Value,
    /// `feature_flags`.
    pub feature_flags: Value,
    /// `settings`.
    pub settings: Value,
    /// `metadata`.
    pub metadata: Value,
    /// `security_policy`.
    pub security_policy: Value,
    /// `pending`, `in_progress` or `completed`.
    pub onboarding_status: String,
    /// Members.
    pub member_count: i64,
    /// Users of its own.
    pub user_count: i64,
    /// Creation.
    pub created_at: Millis,
    /// Last change.
    pub updated_at: Millis,
}

macro_rules! record_json {
    () => {
        "json_object('id', t.id, 'name', t.name, 'slug', t.slug, 'user_pool', t.user_pool, 'database', t.database,
           'status', t.status, 'status_reason', t.status_reason, 'status_changed_at', t.status_changed_at,
           'deletion_scheduled_at', t.deletion_scheduled_at, 'grace_period_days', t.grace_period_days, 'logo', t.logo,
           'hosts', (select json_group_array(host) from (select host from tenant_domain where tenant_id = t.id
                     order by is_primary desc, host)),
           'colors', json(t.colors), 'features', json(t.features), 'feature_flags', json(t.feature_flags),
           'settings', json(t.settings), 'metadata', json(t.metadata), 'security_policy', json(t.security_policy),
           'onboarding_status', t.onboarding_status, 'member_count', t.member_count, 'user_count', t.user_count,
           'created_at', t.created_at, 'updated_at', t.updated_at)"
    };
}

/// A page of the tenants, in the order of their ids, which is that of their making.
#[must_use]
pub fn list(status: Option<&str>, (limit, offset): (i64, i64)) -> Statement {
    let text = if status.is_some() {
        concat!("select ", record_json!(), " as row from tenant t where t.status = ?1 order by t.id limit ?2 offset ?3")
    } else {
        concat!("select ", record_json!(), " as row from tenant t where ?1 is null order by t.id limit ?2 offset ?3")
    };
    sql(text).bind(status).bind(limit).bind(offset)
}

/// One of them.
#[must_use]
pub fn find(tenant: &Id<Tenant>) -> Statement {
    sql(concat!("select ", record_json!(), " as row from tenant t where t.id = ?1")).bind(tenant)
}

/// What is set of a tenant; `None` keeps what is stored, or makes what holds without.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Name.
    pub name: Option<String>,
    /// Slug.
    pub slug: Option<String>,
    /// Picture URL.
    pub logo: Option<Option<String>>,
    /// How long a deletion can be undone, in days.
    pub grace_period_days: Option<i64>,
    /// `pending`, `in_progress` or `completed`.
    pub onboarding_status: Option<String>,
    /// JSON objects, each replaced whole.
    pub objects: Objects,
    /// Hosts on which its people sign in, the primary one first.
    pub hosts: Option<Vec<String>>,
}

/// JSON objects that a tenant keeps, each replaced whole.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// `colors`.
    pub colors: Option<String>,
    /// `features`.
    pub features: Option<String>,
    /// `feature_flags`.
    pub feature_flags: Option<String>,
    /// `settings`.
    pub settings: Option<String>,
    /// `metadata`.
    pub metadata: Option<String>,
    /// `security_policy`, which was parsed.
    pub security_policy: Option<String>,
}

impl Objects {
    /// Binds them, in the order in which they are declared.
    fn bind(&self, statement: Statement) -> Statement {
        let Self { colors, features, feature_flags, settings, metadata, security_policy } = self;
        [colors, features, feature_flags, settings, metadata, security_policy]
            .into_iter()
            .fold(statement, |statement, object| statement.bind(object.as_ref()))
    }
}

/// Makes a tenant.
#[must_use]
pub fn create(context: &Context, id: &Id<Tenant>, isolated: bool, database: Option<&str>, draft: &Draft) -> Statement {
    let statement = sql("insert into tenant (id, name, slug, user_pool, database, logo, grace_period_days, onboarding_status, colors, features,
                             feature_flags, settings, metadata, security_policy, created_at, updated_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, coalesce(?7, 7), coalesce(?8, 'pending'), coalesce(?9, '{}'), coalesce(?10, '{}'),
                 coalesce(?11, '{}'), coalesce(?12, '{}'), coalesce(?13, '{}'), coalesce(?14, '{}'), ?15, ?15)")
    .bind(id)
    .bind(draft.name.as_ref())
    .bind(draft.slug.as_ref())
    .bind(if isolated { "isolated" } else { "shared" })
    .bind(database)
    .bind(draft.logo.clone().flatten())
    .bind(draft.grace_period_days)
    .bind(draft.onboarding_status.as_ref());
    draft.objects.bind(statement).bind(context.now)
}

/// Changes a tenant. The default one keeps its slug.
#[must_use]
pub fn update(context: &Context, id: &Id<Tenant>, draft: &Draft) -> Statement {
    let statement =
        sql("update tenant set name = coalesce(?2, name), slug = iif(slug = 'default', slug, coalesce(?3, slug)),
           logo = iif(?4, ?5, logo), grace_period_days = coalesce(?6, grace_period_days),
           onboarding_status = coalesce(?7, onboarding_status), colors = coalesce(?8, colors),
           features = coalesce(?9, features), feature_flags = coalesce(?10, feature_flags),
           settings = coalesce(?11, settings), metadata = coalesce(?12, metadata),
           security_policy = coalesce(?13, security_policy), updated_at = ?14
         where id = ?1")
        .bind(id)
        .bind(draft.name.as_ref())
        .bind(draft.slug.as_ref())
        .bind(draft.logo.is_some())
        .bind(draft.logo.clone().flatten())
        .bind(draft.grace_period_days)
        .bind(draft.onboarding_status.as_ref());
    draft.objects.bind(statement).bind(context.now)
}

/// What [`are_free`] breaks with.
pub const SLUG: &str = "slug";

/// What [`are_free`] breaks with.
pub const HOST: &str = "host";

/// Fails, and the whole batch with it, if another tenant has the slug, or one of the hosts.
#[must_use]
pub fn are_free(id: &Id<Tenant>, (slug, hosts): (Option<&str>, &[String])) -> [Statement; 2] {
    [
        sql("select json_extract('{}', iif(exists (select 1 from tenant where slug = ?2 and id <> ?1), 'doorward:broken:slug', '$')) as row")
            .bind(id)
            .bind(slug),
        sql("select json_extract('{}', iif(exists (
               select 1 from tenant_domain where host in (select value from json_each(?2)) and tenant_id <> ?1),
               'doorward:broken:host', '$')) as row")
        .bind(id)
        .bind(json!(hosts).to_string()),
    ]
}

/// Fails, and the whole batch with it, if these settings have another member `passkey` than the tenant's: for a caller who may
/// not change that.
#[must_use]
pub fn keeps_passkey(id: &Id<Tenant>, settings: &str) -> Statement {
    sql("select json_extract('{}', iif(exists (
           select 1 from tenant where id = ?1 and (settings -> '$.passkey') is (json(?2) -> '$.passkey')),
           '$', 'doorward:broken:permit')) as row")
    .bind(id)
    .bind(settings)
}

/// Fails, and the whole batch with it, if a tenant has an owner who can act, and has another address than who is to be one:
/// others do not appoint one beside them.
#[must_use]
pub fn has_no_owner(id: &Id<Tenant>, but: &str) -> Statement {
    sql(concat!(
        "select json_extract('{}', iif(exists (
           select 1 from member m join user u on u.id = m.user_id and u.is_anonymous = 0 and u.email <> ?2 and ",
        signs_in!("u"),
        " where m.tenant_id = ?1 and m.status = 'active' and ",
        may!("m", "'*:*'"),
        "), 'doorward:broken:permit', '$')) as row"
    ))
    .bind(id)
    .bind(but)
}

/// What [`appoint_owner`] breaks with.
pub const OWNER: &str = "owner";

/// Makes a user an owner of a tenant, and a member if they are none. Fails, and the whole batch with it, if nobody of the
/// tenant's pool who may sign in has proven the address: whoever merely typed it is not meant.
#[must_use]
pub fn appoint_owner(context: &Context, id: &Id<Tenant>, member: &Id<Member>, email: &str) -> [Statement; 3] {
    macro_rules! whose {
        ($begin:literal, $end:literal) => {
            concat!(
                $begin,
                " from tenant t join user u on u.id in (
                    select id from user where tenant_id is null and email = ?2 and deleted_at is null
                    union all
                    select id from user where tenant_id = ?1 and tenant_id is not null and email = ?2 and deleted_at is null)
                  where t.id = ?1 and u.tenant_id is iif(t.user_pool = 'isolated', t.id, null)
                    and u.email_verified = 1 and u.is_anonymous = 0 and ",
                signs_in!("u"),
                $end
            )
        };
    }
    [
        sql(concat!(
            "select json_extract('{}', iif(exists (",
            whose!("select 1", ""),
            "), '$', 'doorward:broken:owner')) as row"
        ))
        .bind(id)
        .bind(email),
        sql(whose!(
            "insert into member (id, tenant_id, user_id, created_at, updated_at) select ?3, ?1, u.id, ?4, ?4",
            " on conflict (tenant_id, user_id) do update set status = 'active', updated_at = excluded.updated_at"
        ))
        .bind(id)
        .bind(email)
        .bind(member)
        .bind(context.now),
        sql(whose!(
            "insert into member_role (member_id, role_id, created_at)
             select (select m.id from member m where m.tenant_id = ?1 and m.user_id = u.id),
                    (select r.id from role r where r.tenant_id is null and r.name = 'owner'), ?3",
            " on conflict do nothing"
        ))
        .bind(id)
        .bind(email)
        .bind(context.now),
    ]
}

/// Copies the status of a tenant from the main database's row to the one of its own: it was changed while that was out of
/// reach.
#[must_use]
pub fn copy_status(main: &Record) -> Statement {
    sql("update tenant set status = ?2, status_reason = ?3, status_changed_at = ?4, deletion_scheduled_at = ?5,
                           deletion_requested_at = iif(?5 is null, null, ?4)
         where id = ?1")
    .bind(&main.id)
    .bind(main.status.as_str())
    .bind(main.status_reason.as_ref())
    .bind(main.status_changed_at)
    .bind(main.deletion_scheduled_at)
}

/// Copies what a tenant's own database says of it to the row by which the main one knows it. A slug that another tenant took
/// meanwhile stays as it was.
#[must_use]
pub fn mirror(own: &Record) -> Statement {
    sql("update tenant set name = ?2, slug = iif(exists (select 1 from tenant where slug = ?3 and id <> ?1), slug, ?3), logo = ?4,
           status = ?5, status_reason = ?6, status_changed_at = ?7, deletion_scheduled_at = ?8, grace_period_days = ?9,
           colors = ?10, features = ?11, feature_flags = ?12, settings = ?13, metadata = ?14, security_policy = ?15,
           onboarding_status = ?16, member_count = ?17, user_count = ?18, updated_at = ?19
         where id = ?1 and database is not null")
    .bind(&own.id)
    .bind(own.name.as_str())
    .bind(own.slug.as_str())
    .bind(own.logo.as_ref())
    .bind(own.status.as_str())
    .bind(own.status_reason.as_ref())
    .bind(own.status_changed_at)
    .bind(own.deletion_scheduled_at)
    .bind(own.grace_period_days)
    .bind(own.colors.to_string())
    .bind(own.features.to_string())
    .bind(own.feature_flags.to_string())
    .bind(own.settings.to_string())
    .bind(own.metadata.to_string())
    .bind(own.security_policy.to_string())
    .bind(own.onboarding_status.as_str())
    .bind(own.member_count)
    .bind(own.user_count)
    .bind(own.updated_at)
}

/// Takes back what is left of a tenant that was to be made with this slug, and that nobody has used: the answer of whoever
/// made it was lost.
#[must_use]
pub fn discard_unused(slug: Option<&String>) -> Statement {
    sql("delete from tenant where slug = ?1 and slug <> 'default' and user_count <= 1
           and not exists (select 1 from login_history where tenant_id = tenant.id)
           and not exists (select 1 from session where tenant_id = tenant.id)")
    .bind(slug)
}

/// Takes back a tenant that was just made, and is not to be.
#[must_use]
pub fn discard(id: &Id<Tenant>) -> Statement {
    sql("delete from tenant where id = ?1 and slug <> 'default'").bind(id)
}

/// Lets a tenant answer on these hosts and no others.
#[must_use]
pub fn set_hosts(context: &Context, id: &Id<Tenant>, hosts: &[String]) -> [Statement; 2] {
    let list = json!(hosts).to_string();
    [
        sql("delete from tenant_domain where tenant_id = ?1").bind(id),
        sql("insert into tenant_domain (id, tenant_id, host, is_primary, created_at, updated_at)
             select lower(hex(randomblob(16))), ?1, value, key = 0, ?3, ?3 from json_each(?2)")
        .bind(id)
        .bind(list)
        .bind(context.now),
    ]
}

/// Suspends a tenant, or lets it work again: nobody signs in to a suspended one, and its live sessions end at their next
/// check. One that is about to be deleted is neither.
#[must_use]
pub fn set_status(
    context: &Context,
    permit: &Permit,
    id: &Id<Tenant>,
    status: &str,
    reason: Option<&str>,
) -> Statement {
    sql("update tenant set status = ?2, status_reason = ?3, status_changed_at = ?4,
                           status_changed_by = (select id from user where id = ?5), updated_at = ?4
         where id = ?1 and status <> 'pending_deletion' and status <> ?2 and slug <> 'default'")
    .bind(id)
    .bind(status)
    .bind(reason)
    .bind(context.now)
    .bind(permit.actor())
}

/// Schedules a deletion for the end of the grace period.
#[must_use]
pub fn schedule_deletion(context: &Context, permit: &Permit, id: &Id<Tenant>, reason: Option<&str>) -> Statement {
    sql("update tenant set status = 'pending_deletion', deletion_requested_at = ?2,
                           deletion_scheduled_at = ?2 + grace_period_days * 86400000, status_reason = ?4,
                           status_changed_at = ?2, status_changed_by = (select id from user where id = ?3), updated_at = ?2
         where id = ?1 and status <> 'pending_deletion' and slug <> 'default'")
    .bind(id)
    .bind(context.now)
    .bind(permit.actor())
    .bind(reason)
}

/// Undoes it within the grace period.
#[must_use]
pub fn restore(context: &Context, permit: &Permit, id: &Id<Tenant>) -> Statement {
    sql("update tenant set status = 'active', deletion_requested_at = null, deletion_scheduled_at = null, status_reason = null,
                           status_changed_at = ?2, status_changed_by = (select id from user where id = ?3), updated_at = ?2
         where id = ?1 and status = 'pending_deletion' and deletion_scheduled_at > ?2")
    .bind(id)
    .bind(context.now)
    .bind(permit.actor())
}

/// Makes the first user of an isolated tenant, its owner.
#[must_use]
pub fn create_owner(
    context: &Context,
    id: &Id<Tenant>,
    (user, member): (&Id<User>, &Id<Member>),
    (email, name): (&str, &str),
) -> [Statement; 3] {
    [
        sql("insert into user (id, tenant_id, email, name, created_at, updated_at) values (?2, ?1, ?3, ?4, ?5, ?5)")
            .bind(id)
            .bind(user)
            .bind(email)
            .bind(name)
            .bind(context.now),
        sql("insert into member (id, tenant_id, user_id, created_at, updated_at) values (?2, ?1, ?3, ?4, ?4)")
            .bind(id)
            .bind(member)
            .bind(user)
            .bind(context.now),
        owner_role(context, member),
    ]
}

/// Makes a user of the shared pool the owner of a tenant. Nothing changes for an address that nobody has proven.
#[must_use]
pub fn adopt_owner(context: &Context, id: &Id<Tenant>, member: &Id<Member>, email: &str) -> [Statement; 2] {
    [
        sql("insert into member (id, tenant_id, user_id, created_at, updated_at)
             select ?2, ?1, id, ?4, ?4 from user
             where tenant_id is null and email = ?3 and deleted_at is null and email_verified = 1")
        .bind(id)
        .bind(member)
        .bind(email)
        .bind(context.now),
        owner_role(context, member),
    ]
}

fn owner_role(context: &Context, member: &Id<Member>) -> Statement {
    sql("insert into member_role (member_id, role_id, created_at)
         select m.id, r.id, ?2 from member m join role r on r.tenant_id is null and r.name = 'owner' where m.id = ?1")
    .bind(member)
    .bind(context.now)
}
