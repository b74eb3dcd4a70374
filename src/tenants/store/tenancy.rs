//! `tenant` and `tenant_domain`, as those see and change them who look after the server.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::action::Permit;
use crate::platform::d1::Statement;
use crate::platform::id::{Id, Member, Millis, Tenant, User};
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::session::store::permission::{may, signs_in};

/// A tenant and what is set of it.
#[derive(Clone, Debug, Deserialize)]
pub struct TenantRecord {
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
    sql!(
        match status {
            Some(_) => concat!(
                "select ",
                record_json!(),
                " as row from tenant t where t.status = :status order by t.id limit :limit offset :offset"
            ),
            None =>
                concat!("select ", record_json!(), " as row from tenant t order by t.id limit :limit offset :offset"),
        },
        status,
        limit,
        offset
    )
}

/// One of them.
#[must_use]
pub fn find(tenant: &Id<Tenant>) -> Statement {
    sql!(concat!("select ", record_json!(), " as row from tenant t where t.id = :tenant"), tenant)
}

/// What is set of a tenant; `None` keeps what is stored, or makes what holds without.
#[derive(Clone, Debug, Default)]
pub struct TenantDraft {
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

/// Makes a tenant.
#[must_use]
pub fn create(
    context: &Context,
    id: &Id<Tenant>,
    isolated: bool,
    database: Option<&str>,
    draft: &TenantDraft,
) -> Statement {
    sql!(
        "insert into tenant (id, name, slug, user_pool, database, logo, grace_period_days, onboarding_status, colors, features,
                             feature_flags, settings, metadata, security_policy, created_at, updated_at)
         values (:id, :name, :slug, :user_pool, :database, :logo, coalesce(:grace_period_days, 7), coalesce(:onboarding_status, 'pending'), coalesce(:colors, '{}'), coalesce(:features, '{}'),
                 coalesce(:feature_flags, '{}'), coalesce(:settings, '{}'), coalesce(:metadata, '{}'), coalesce(:security_policy, '{}'), :now, :now)",
        id,
        name = draft.name.as_ref(),
        slug = draft.slug.as_ref(),
        user_pool = if isolated { "isolated" } else { "shared" },
        database,
        logo = draft.logo.clone().flatten(),
        grace_period_days = draft.grace_period_days,
        onboarding_status = draft.onboarding_status.as_ref(),
        colors = draft.objects.colors.as_ref(),
        features = draft.objects.features.as_ref(),
        feature_flags = draft.objects.feature_flags.as_ref(),
        settings = draft.objects.settings.as_ref(),
        metadata = draft.objects.metadata.as_ref(),
        security_policy = draft.objects.security_policy.as_ref(),
        now = context.now
    )
}

/// Changes a tenant. The default one keeps its slug.
#[must_use]
pub fn update(context: &Context, id: &Id<Tenant>, draft: &TenantDraft) -> Statement {
    sql!(
        "update tenant set name = coalesce(:name, name), slug = iif(slug = 'default', slug, coalesce(:slug, slug)),
           logo = iif(:changes_logo, :logo, logo), grace_period_days = coalesce(:grace_period_days, grace_period_days),
           onboarding_status = coalesce(:onboarding_status, onboarding_status), colors = coalesce(:colors, colors),
           features = coalesce(:features, features), feature_flags = coalesce(:feature_flags, feature_flags),
           settings = coalesce(:settings, settings), metadata = coalesce(:metadata, metadata),
           security_policy = coalesce(:security_policy, security_policy), updated_at = :now
         where id = :id",
        id,
        name = draft.name.as_ref(),
        slug = draft.slug.as_ref(),
        changes_logo = draft.logo.is_some(),
        logo = draft.logo.clone().flatten(),
        grace_period_days = draft.grace_period_days,
        onboarding_status = draft.onboarding_status.as_ref(),
        colors = draft.objects.colors.as_ref(),
        features = draft.objects.features.as_ref(),
        feature_flags = draft.objects.feature_flags.as_ref(),
        settings = draft.objects.settings.as_ref(),
        metadata = draft.objects.metadata.as_ref(),
        security_policy = draft.objects.security_policy.as_ref(),
        now = context.now
    )
}

/// What [`are_free`] breaks with.
pub const SLUG: &str = "slug";

/// What [`are_free`] breaks with.
pub const HOST: &str = "host";

/// Fails, and the whole batch with it, if another tenant has the slug, or one of the hosts.
#[must_use]
pub fn are_free(id: &Id<Tenant>, (slug, hosts): (Option<&str>, &[String])) -> [Statement; 2] {
    [
        sql!(
            "select json_extract('{}', iif(exists (select 1 from tenant where slug = :slug and id <> :id), 'doorward:broken:slug', '$')) as row",
            id,
            slug
        ),
        sql!(
            "select json_extract('{}', iif(exists (
               select 1 from tenant_domain where host in (select value from json_each(:hosts)) and tenant_id <> :id),
               'doorward:broken:host', '$')) as row",
            id,
            hosts = json!(hosts).to_string()
        ),
    ]
}

/// Fails, and the whole batch with it, if these settings have another member `passkey` than the tenant's: for a caller who may
/// not change that.
#[must_use]
pub fn keeps_passkey(id: &Id<Tenant>, settings: &str) -> Statement {
    sql!(
        "select json_extract('{}', iif(exists (
           select 1 from tenant where id = :id and (settings -> '$.passkey') is (json(:settings) -> '$.passkey')),
           '$', 'doorward:broken:permit')) as row",
        id,
        settings
    )
}

/// Fails, and the whole batch with it, if a tenant has an owner who can act, and has another address than who is to be one:
/// others do not appoint one beside them.
#[must_use]
pub fn has_no_owner(id: &Id<Tenant>, but: &str) -> Statement {
    sql!(
        concat!(
            "select json_extract('{}', iif(exists (
           select 1 from member m join user u on u.id = m.user_id and u.is_anonymous = 0 and u.email <> :but and ",
            signs_in!("u"),
            " where m.tenant_id = :id and m.status = 'active' and ",
            may!("m", "'*:*'"),
            "), 'doorward:broken:permit', '$')) as row"
        ),
        id,
        but
    )
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
                    select id from user where tenant_id is null and email = :email and deleted_at is null
                    union all
                    select id from user where tenant_id = :id and tenant_id is not null and email = :email and deleted_at is null)
                  where t.id = :id and u.tenant_id is iif(t.user_pool = 'isolated', t.id, null)
                    and u.email_verified = 1 and u.is_anonymous = 0 and ",
                signs_in!("u"),
                $end
            )
        };
    }
    [
        sql!(
            concat!(
                "select json_extract('{}', iif(exists (",
                whose!("select 1", ""),
                "), '$', 'doorward:broken:owner')) as row"
            ),
            id,
            email
        ),
        sql!(
            whose!(
                "insert into member (id, tenant_id, user_id, created_at, updated_at) select :member, :id, u.id, :now, :now",
                " on conflict (tenant_id, user_id) do update set status = 'active', updated_at = excluded.updated_at"
            ),
            id,
            email,
            member,
            now = context.now
        ),
        sql!(
            whose!(
                "insert into member_role (member_id, role_id, created_at)
             select (select m.id from member m where m.tenant_id = :id and m.user_id = u.id),
                    (select r.id from role r where r.tenant_id is null and r.name = 'owner'), :now",
                " on conflict do nothing"
            ),
            id,
            email,
            now = context.now
        ),
    ]
}

/// Copies the status of a tenant from the main database's row to the one of its own: it was changed while that was out of
/// reach.
#[must_use]
pub fn copy_status(main: &TenantRecord) -> Statement {
    sql!(
        "update tenant set status = :status, status_reason = :status_reason, status_changed_at = :status_changed_at, deletion_scheduled_at = :deletion_scheduled_at,
                           deletion_requested_at = iif(:deletion_scheduled_at is null, null, :status_changed_at)
         where id = :id",
        id = &main.id,
        status = main.status.as_str(),
        status_reason = main.status_reason.as_ref(),
        status_changed_at = main.status_changed_at,
        deletion_scheduled_at = main.deletion_scheduled_at
    )
}

/// Copies what a tenant's own database says of it to the row by which the main one knows it. A slug that another tenant took
/// meanwhile stays as it was.
#[must_use]
pub fn mirror(own: &TenantRecord) -> Statement {
    sql!(
        "update tenant set name = :name, slug = iif(exists (select 1 from tenant where slug = :slug and id <> :id), slug, :slug), logo = :logo,
           status = :status, status_reason = :status_reason, status_changed_at = :status_changed_at, deletion_scheduled_at = :deletion_scheduled_at, grace_period_days = :grace_period_days,
           colors = :colors, features = :features, feature_flags = :feature_flags, settings = :settings, metadata = :metadata, security_policy = :security_policy,
           onboarding_status = :onboarding_status, member_count = :member_count, user_count = :user_count, updated_at = :updated_at
         where id = :id and database is not null",
        id = &own.id,
        name = own.name.as_str(),
        slug = own.slug.as_str(),
        logo = own.logo.as_ref(),
        status = own.status.as_str(),
        status_reason = own.status_reason.as_ref(),
        status_changed_at = own.status_changed_at,
        deletion_scheduled_at = own.deletion_scheduled_at,
        grace_period_days = own.grace_period_days,
        colors = own.colors.to_string(),
        features = own.features.to_string(),
        feature_flags = own.feature_flags.to_string(),
        settings = own.settings.to_string(),
        metadata = own.metadata.to_string(),
        security_policy = own.security_policy.to_string(),
        onboarding_status = own.onboarding_status.as_str(),
        member_count = own.member_count,
        user_count = own.user_count,
        updated_at = own.updated_at
    )
}

/// Takes back what is left of a tenant that was to be made with this slug, and that nobody has used: the answer of whoever
/// made it was lost.
#[must_use]
pub fn discard_unused(slug: Option<&String>) -> Statement {
    sql!(
        "delete from tenant where slug = :slug and slug <> 'default' and user_count <= 1
           and not exists (select 1 from login_history where tenant_id = tenant.id)
           and not exists (select 1 from session where tenant_id = tenant.id)",
        slug
    )
}

/// Takes back a tenant that was just made, and is not to be.
#[must_use]
pub fn discard(id: &Id<Tenant>) -> Statement {
    sql!("delete from tenant where id = :id and slug <> 'default'", id)
}

/// Lets a tenant answer on these hosts and no others.
#[must_use]
pub fn set_hosts(context: &Context, id: &Id<Tenant>, hosts: &[String]) -> [Statement; 2] {
    let list = json!(hosts).to_string();
    [
        sql!("delete from tenant_domain where tenant_id = :id", id),
        sql!(
            "insert into tenant_domain (id, tenant_id, host, is_primary, created_at, updated_at)
             select lower(hex(randomblob(16))), :id, value, key = 0, :now, :now from json_each(:list)",
            id,
            list,
            now = context.now
        ),
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
    sql!(
        "update tenant set status = :status, status_reason = :reason, status_changed_at = :now,
                           status_changed_by = (select id from user where id = :actor), updated_at = :now
         where id = :id and status <> 'pending_deletion' and status <> :status and slug <> 'default'",
        id,
        status,
        reason,
        now = context.now,
        actor = permit.actor()
    )
}

/// Schedules a deletion for the end of the grace period.
#[must_use]
pub fn schedule_deletion(context: &Context, permit: &Permit, id: &Id<Tenant>, reason: Option<&str>) -> Statement {
    sql!(
        "update tenant set status = 'pending_deletion', deletion_requested_at = :now,
                           deletion_scheduled_at = :now + grace_period_days * 86400000, status_reason = :reason,
                           status_changed_at = :now, status_changed_by = (select id from user where id = :actor), updated_at = :now
         where id = :id and status <> 'pending_deletion' and slug <> 'default'",
        id,
        now = context.now,
        actor = permit.actor(),
        reason
    )
}

/// Undoes it within the grace period.
#[must_use]
pub fn restore(context: &Context, permit: &Permit, id: &Id<Tenant>) -> Statement {
    sql!(
        "update tenant set status = 'active', deletion_requested_at = null, deletion_scheduled_at = null, status_reason = null,
                           status_changed_at = :now, status_changed_by = (select id from user where id = :actor), updated_at = :now
         where id = :id and status = 'pending_deletion' and deletion_scheduled_at > :now",
        id,
        now = context.now,
        actor = permit.actor()
    )
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
        sql!(
            "insert into user (id, tenant_id, email, name, created_at, updated_at) values (:user, :id, :email, :name, :now, :now)",
            id,
            user,
            email,
            name,
            now = context.now
        ),
        sql!(
            "insert into member (id, tenant_id, user_id, created_at, updated_at) values (:member, :id, :user, :now, :now)",
            id,
            member,
            user,
            now = context.now
        ),
        owner_role(context, member),
    ]
}

/// Makes a user of the shared pool the owner of a tenant. Nothing changes for an address that nobody has proven.
#[must_use]
pub fn adopt_owner(context: &Context, id: &Id<Tenant>, member: &Id<Member>, email: &str) -> [Statement; 2] {
    [
        sql!(
            "insert into member (id, tenant_id, user_id, created_at, updated_at)
             select :member, :id, id, :now, :now from user
             where tenant_id is null and email = :email and deleted_at is null and email_verified = 1",
            id,
            member,
            email,
            now = context.now
        ),
        owner_role(context, member),
    ]
}

fn owner_role(context: &Context, member: &Id<Member>) -> Statement {
    sql!(
        "insert into member_role (member_id, role_id, created_at)
         select m.id, r.id, :now from member m join role r on r.tenant_id is null and r.name = 'owner' where m.id = :member",
        member,
        now = context.now
    )
}
