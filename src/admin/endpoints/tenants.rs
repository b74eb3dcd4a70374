//! Tenants, as those look after them who look after the server: `/admin/tenants`.

use serde_json::{Value, json};

use crate::access::action::{Action, Permit};
use crate::access::permission::{EVERYTHING, Permissions};
use crate::access::policy::SecurityPolicy;
use crate::admin::store::as_option;
use crate::http::fields::Fields;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::{Database, Statement, StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Tenant};
use crate::platform::time::iso;
use crate::platform::unicode::ascii_domain;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::call::Call;
use crate::session::store::permission::Standing;
use crate::session::{api_key, policy, proof};
use crate::tenants::caller::{ActingMember, LONGEST_NAME, NamedTenant, authorize_member};
use crate::tenants::listing::{bounded_parameter, invalid_parameter};
use crate::tenants::store::tenancy::{Objects, TenantDraft, TenantRecord};
use crate::tenants::tenant::is_slug;
use crate::users::fields::LONGEST_IMAGE;
use crate::{request, session, tenants};

/// The longest of a tenant's JSON objects, in bytes.
const LONGEST_OBJECT: usize = 16 * 1024;

/// The most hosts of a tenant.
const MOST_HOSTS: usize = 50;

/// Somebody who may manage tenants, on the default tenant's host.
struct Manager {
    acting: ActingMember,
    permit: Permit,
}

async fn manager(call: &Call) -> Result<Manager> {
    let here = call.context.tenant();
    let refused = |reason: &str| Error::refused(Wire::FORBIDDEN, reason);
    if !here.is_default() {
        return Err(refused("tenants are managed on the default tenant's host"));
    }
    let found = authorize_member(&call.context, &NamedTenant::Id(Some(here.id.clone()))).await;
    let acting = found.map_err(|error| match error.wire() {
        Wire::ORGANIZATION_NOT_FOUND => refused("no member of the default tenant"),
        _ => error,
    })?;
    proof::refuse_impersonator(&acting.authenticated)?;
    let permit = acting.permit(Action::ManageTenants)?;
    Ok(Manager { acting, permit })
}

fn not_found() -> Error {
    Error::refused(Wire::ORGANIZATION_NOT_FOUND, "unknown tenant")
}

/// What an owner holds: a user who makes somebody an owner gives it.
fn everything() -> Permissions {
    Permissions::of([EVERYTHING.to_owned()])
}

/// Of a request's fields, those that are more than looking after tenants: each needs the permission that it needs elsewhere, or a user who looks
/// after tenants would own them all. What they need is asked once more in the batch.
struct Beyond {
    /// In the main database, first.
    here: Vec<Statement>,
    /// Where the tenant's people are, before anything changes.
    there: Vec<Statement>,
}

impl Beyond {
    /// For `securityPolicy`, and for `settings.passkey`, which says for whose origins passkeys sign people in. `before` is the
    /// tenant that changes.
    fn of(manager: &Manager, draft: &TenantDraft, before: Option<&TenantRecord>) -> Result<Self> {
        let mut beyond = Self { here: Vec::new(), there: Vec::new() };
        let passkey = draft.objects.settings.as_deref().map(member_passkey).transpose()?;
        let kept = before.and_then(|record| record.settings.get(PASSKEY).cloned());
        let is_other = passkey.as_ref().is_some_and(|passkey| *passkey != kept);
        if draft.objects.security_policy.is_some() || is_other {
            beyond.here.push(session::store::permission::holds_still(&manager.acting.permit(Action::UpdatePolicy)?));
        } else if let (Some(record), Some(settings)) = (before, &draft.objects.settings) {
            beyond.there.push(tenants::store::tenancy::keeps_passkey(&record.id, settings));
        }
        Ok(beyond)
    }

    /// For `owner` of a new tenant: by an owner here.
    fn and_first_owner(mut self, manager: &Manager) -> Result<Self> {
        manager.acting.holds(&everything(), Wire::FORBIDDEN)?;
        self.here.push(session::store::permission::holds_all_still(&manager.permit, &everything()));
        Ok(self)
    }

    /// For `owner`: by an owner there, and, where none of them can act, by an owner here.
    async fn and_owner(
        mut self,
        context: &Context,
        manager: &Manager,
        (record, email): (&TenantRecord, &str),
    ) -> Result<Self> {
        let (acting, here) = (&manager.acting, record.id == *manager.acting.tenant());
        let there: Option<Standing> = if here {
            None
        } else {
            context.db()?.first(session::store::permission::standing_of(&record.id, &acting.standing.user_id)).await?
        };
        // A key is for this tenant alone.
        let is_person = acting.session().login_method != api_key::METHOD;
        if let Some(there) = there.filter(|there| is_person && there.permissions.covers(&everything())) {
            let permit = Permit::of(&there.permissions, Action::ManageTenants, &record.id, &there.user_id)?;
            self.here.push(session::store::permission::holds_all_still(&permit, &everything()));
            return Ok(self);
        }
        self = self.and_first_owner(manager)?;
        if !here {
            self.there.push(tenants::store::tenancy::has_no_owner(&record.id, email));
        }
        Ok(self)
    }
}

/// The member of a tenant's settings that is more than a setting.
const PASSKEY: &str = "passkey";

fn member_passkey(settings: &str) -> Result<Option<Value>> {
    let settings: Value = serde_json::from_str(settings).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(settings.get(PASSKEY).cloned())
}

fn json_of(record: &TenantRecord) -> Value {
    json!({
        "id": record.id, "name": record.name, "slug": record.slug, "userPool": record.user_pool,
        "database": record.database, "status": record.status, "statusReason": record.status_reason,
        "statusChangedAt": record.status_changed_at.map(iso), "deletionScheduledAt": record.deletion_scheduled_at.map(iso),
        "gracePeriodDays": record.grace_period_days, "logo": record.logo, "hosts": record.hosts, "colors": record.colors,
        "features": record.features, "featureFlags": record.feature_flags, "settings": record.settings,
        "metadata": record.metadata, "securityPolicy": record.security_policy,
        "onboardingStatus": record.onboarding_status, "memberCount": record.member_count, "userCount": record.user_count,
        "createdAt": iso(record.created_at), "updatedAt": iso(record.updated_at),
    })
}

fn object(fields: &mut Fields, name: &str) -> Option<String> {
    let value = fields.take(name)?;
    let text = value.to_string();
    if !value.is_object() || text.len() > LONGEST_OBJECT {
        fields.refuse(name, "Invalid input: expected object of at most 16 KiB");
    }
    Some(text)
}

/// Reads what is said of a tenant, and its policy by itself; the problems of that are an error of their own.
fn draft(fields: &mut Fields) -> Result<(TenantDraft, Option<SecurityPolicy>)> {
    let slug = fields.optional_line("slug", 63);
    if slug.as_deref().is_some_and(|slug| !is_slug(slug)) {
        fields.refuse("slug", "Invalid string: must be lower-case letters, digits, - and _, at most 63");
    }
    let onboarding_status = fields.optional("onboardingStatus", 20);
    if onboarding_status.as_deref().is_some_and(|status| !matches!(status, "pending" | "in_progress" | "completed")) {
        fields.refuse("onboardingStatus", "Invalid option: expected pending, in_progress or completed");
    }
    let is_host = |host: &str| ascii_domain(host).as_deref() == Some(host);
    let hosts = fields.has("hosts").then(|| fields.list("hosts", MOST_HOSTS, is_host));
    let given = fields.take("securityPolicy");
    let draft = TenantDraft {
        name: fields.optional_name("name", LONGEST_NAME),
        slug,
        logo: as_option(fields.change("logo", LONGEST_IMAGE)),
        grace_period_days: fields.number("gracePeriodDays", (0, 365)),
        onboarding_status,
        objects: Objects {
            colors: object(fields, "colors"),
            features: object(fields, "features"),
            feature_flags: object(fields, "featureFlags"),
            settings: object(fields, "settings"),
            metadata: object(fields, "metadata"),
            security_policy: None,
        },
        hosts,
    };
    let policy = given.map(|given| policy::read_policy(&given)).transpose()?;
    let security_policy = policy.as_ref().map(|policy| policy.to_json().to_string());
    Ok((TenantDraft { objects: Objects { security_policy, ..draft.objects.clone() }, ..draft }, policy))
}

/// Reads `owner`: an address, and a name.
fn owner_field(fields: &mut Fields) -> Option<(String, Option<String>)> {
    if !fields.has("owner") {
        return None;
    }
    let mut owner = fields.nested("owner");
    let read = (owner.email("email"), owner.optional_name("name", LONGEST_NAME));
    fields.absorb("owner", owner);
    Some(read)
}

fn no_such_owner() -> Error {
    Error::Validation("[body.owner.email] Nobody whom the tenant's pool knows has this address".to_owned())
}

/// The database that a tenant's own data is in, where that is not this one.
fn own_database(context: &Context, binding: Option<&str>) -> Result<Option<Database>> {
    let open = |binding: &str| {
        let opened = Database::open(&context.env, binding);
        opened.map_err(|_| Error::Validation(format!("[body.database] There is no D1 binding {binding}")))
    };
    binding.map(open).transpose()
}

fn conflict(error: StoreError) -> Error {
    match error {
        StoreError::Conflict(column) if column == "tenant_domain.host" => {
            Error::refused(Wire::HOST_TAKEN, "a host is another tenant's")
        }
        StoreError::Conflict(column) if column == "tenant.database" => {
            Error::refused(Wire::DATABASE_TAKEN, "a database is another tenant's")
        }
        StoreError::Conflict(_) => Error::refused(Wire::ORGANIZATION_ALREADY_EXISTS, "the slug is taken"),
        StoreError::Broken(name) => match name.as_str() {
            tenants::store::tenancy::SLUG => Error::refused(Wire::ORGANIZATION_ALREADY_EXISTS, "the slug is taken"),
            tenants::store::tenancy::HOST => Error::refused(Wire::HOST_TAKEN, "a host is another tenant's"),
            tenants::store::tenancy::OWNER => no_such_owner(),
            _ => StoreError::Broken(name).into(),
        },
        StoreError::Unchanged => not_found(),
        other @ (StoreError::Failed(_) | StoreError::Ended(_)) => other.into(),
    }
}

/// `POST /admin/tenants`. `database` names a D1 binding that has been migrated; such a tenant is isolated.
///
/// # Errors
/// 400 for bad fields, a slug, host or database that is taken, or an owner who is not there; 401, 403.
pub async fn create(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let database = fields.optional("database", 64);
    let pool = fields
        .optional("userPool", 20)
        .unwrap_or_else(|| if database.is_some() { "isolated" } else { "shared" }.to_owned());
    if !matches!(pool.as_str(), "shared" | "isolated") || (database.is_some() && pool == "shared") {
        fields.refuse("userPool", "Invalid option: expected shared, or isolated, as with a database of its own");
    }
    let is_binding =
        |text: &String| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if database.as_ref().is_some_and(|binding| !is_binding(binding) || binding == Database::BINDING) {
        fields.refuse("database", "Invalid string: must be the name of another D1 binding");
    }
    let owner = owner_field(&mut fields);
    fields.name("name", LONGEST_NAME);
    fields.line("slug", 63);
    let (draft, _) = draft(&mut fields)?;
    fields.finish()?;
    let manager = manager(call).await?;
    let context = &call.context;
    let (id, isolated) = (context.id::<Tenant>()?, pool == "isolated");
    let hosts = draft.hosts.clone().unwrap_or_default();
    let own = own_database(context, database.as_deref())?;
    let mut people: Vec<Statement> = Vec::new();
    if let Some((email, name)) = &owner {
        let member = context.id()?;
        if isolated {
            let name = name.as_deref().unwrap_or(email);
            people.extend(tenants::store::tenancy::create_owner(
                context,
                &id,
                (&context.id()?, &member),
                (email, name),
            ));
        } else {
            let [adopted, role] = tenants::store::tenancy::adopt_owner(context, &id, &member, email);
            people.extend([adopted, must_change(), role]);
        }
    }
    let mut beyond = Beyond::of(&manager, &draft, None)?;
    if owner.is_some() {
        beyond = beyond.and_first_owner(&manager)?;
    }
    let mut statements = vec![session::store::permission::holds_still(&manager.permit)];
    statements.append(&mut beyond.here);
    statements.push(tenants::store::tenancy::create(context, &id, isolated, database.as_deref(), &draft));
    statements.extend(tenants::store::tenancy::set_hosts(context, &id, &hosts));
    if let Some(own) = &own {
        // First where its people will be: a tenant that is known here and is not there answers nobody.
        let mut free = context.db()?.condition().into_iter().collect::<Vec<_>>();
        free.extend(tenants::store::tenancy::are_free(&id, (draft.slug.as_deref(), &hosts)));
        context.db()?.batch(free).await.map_err(conflict)?;
        let mut there = vec![
            tenants::store::tenancy::discard_unused(draft.slug.as_ref()),
            tenants::store::tenancy::create(context, &id, true, None, &draft),
        ];
        there.extend(tenants::store::tenancy::set_hosts(context, &id, &hosts));
        there.append(&mut people);
        own.batch(there).await.map_err(conflict)?;
    } else {
        statements.append(&mut people);
    }
    let details = json!({ "slug": draft.slug, "userPool": pool, "database": database, "tenant": id });
    statements.push(manager.acting.audited(context, "tenant.created", Severity::High, details)?);
    statements.push(tenants::store::tenancy::find(&id));
    let record: Option<TenantRecord> = match context.db()?.batch(statements).await {
        Ok(answers) => answers.last()?,
        Err(error) => {
            // Its half there would keep its slug and its database from whoever tries again; not if only the answer was lost.
            let here = context.db()?.first::<TenantRecord>(tenants::store::tenancy::find(&id)).await;
            if let (Some(own), Ok(None)) = (&own, here) {
                own.batch([tenants::store::tenancy::discard(&id)]).await?;
            }
            return Err(match error {
                StoreError::Unchanged => no_such_owner(),
                other => conflict(other),
            });
        }
    };
    request::store::directory::forget_all();
    let body = json_of(&record.ok_or_else(not_found)?);
    Ok(Reply::json(201, &body)?.with_cookies(manager.acting.authenticated.cookies))
}

/// `GET /admin/tenants`: a page of them.
///
/// # Errors
/// 400, 401, 403.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let status = call.request.param("status").filter(|status| !status.is_empty());
    if status.as_deref().is_some_and(|status| !matches!(status, "active" | "suspended" | "pending_deletion")) {
        return Err(invalid_parameter("status", "active, suspended or pending_deletion"));
    }
    let page = (
        bounded_parameter(&call.request, "limit", 100, (1, 1000))?,
        bounded_parameter(&call.request, "offset", 0, (0, 1_000_000_000))?,
    );
    let manager = manager(call).await?;
    let records: Vec<TenantRecord> =
        call.context.db()?.batch([tenants::store::tenancy::list(status.as_deref(), page)]).await?.rows()?;
    let tenants: Vec<Value> = records.iter().map(json_of).collect();
    manager.acting.answer(&json!({ "tenants": tenants, "limit": page.0, "offset": page.1 }))
}

/// The tenant that the path names.
async fn named(call: &Call) -> Result<TenantRecord> {
    let id: Id<Tenant> = call.segment.as_deref().and_then(Id::parse).ok_or_else(not_found)?;
    let record: Option<TenantRecord> = call.context.db()?.first(tenants::store::tenancy::find(&id)).await?;
    record.ok_or_else(not_found)
}

/// `GET /admin/tenants/:id`.
///
/// # Errors
/// 401, 403, 404.
pub async fn show(call: &mut Call) -> Result<Reply> {
    let manager = manager(call).await?;
    let body = json_of(&named(call).await?);
    manager.acting.answer(&body)
}

/// The database of a tenant's own, if it has one that has it. Where the binding or the row is gone, the main database's row
/// is all that is left, and is what changes: somebody must be able to delete it.
async fn own_half(context: &Context, record: &TenantRecord) -> Result<Option<Database>> {
    let Some(own) = own_database(context, record.database.as_deref()).ok().flatten() else {
        return Ok(None);
    };
    let there: Option<TenantRecord> = own.first(tenants::store::tenancy::find(&record.id)).await?;
    Ok(there.map(|_| own))
}

/// What is to be changed of a tenant.
struct TenantChange {
    /// What else the caller must be allowed, in the main database.
    conditions: Vec<Statement>,
    /// Where its people are.
    statements: Vec<Statement>,
    /// Its slug and its hosts, which no other tenant has in the main database, wherever its people are.
    slug: Option<String>,
    hosts: Option<Vec<String>>,
}

/// Changes a tenant where it is, the main database or its own; answers it as it is then. With two, what the main one would
/// refuse is seen before anything changes, and it follows what its own one took.
async fn commit(
    call: &Call,
    manager: &Manager,
    record: &TenantRecord,
    change: TenantChange,
    (event, details): (&str, Value),
) -> Result<Reply> {
    let context = &call.context;
    let mut details = details;
    details["tenant"] = json!(record.id);
    let audit = manager.acting.audited(context, event, Severity::High, details)?;
    let set_hosts = || {
        let hosts = change.hosts.as_deref();
        hosts
            .into_iter()
            .flat_map(|hosts| tenants::store::tenancy::set_hosts(context, &record.id, hosts))
            .collect::<Vec<_>>()
    };
    let mut here = vec![session::store::permission::holds_still(&manager.permit)];
    here.extend(change.conditions);
    if let Some(own) = own_half(context, record).await? {
        let names = (change.slug.as_deref(), change.hosts.as_deref().unwrap_or_default());
        here.extend(tenants::store::tenancy::are_free(&record.id, names));
        // It writes there, so that the session is asked about here.
        here.extend(context.db()?.condition());
        context.db()?.batch(here).await.map_err(conflict)?;
        let mut there = change.statements;
        there.extend(set_hosts());
        there.push(tenants::store::tenancy::find(&record.id));
        let changed: Option<TenantRecord> = own.batch(there).await.map_err(conflict)?.last()?;
        here = vec![tenants::store::tenancy::mirror(&changed.ok_or_else(not_found)?)];
    } else {
        here.extend(change.statements);
    }
    here.extend(set_hosts());
    here.extend([audit, tenants::store::tenancy::find(&record.id)]);
    let found: Option<TenantRecord> = context.db()?.batch(here).await.map_err(conflict)?.last()?;
    request::store::directory::forget_all();
    let body = json_of(&found.ok_or_else(not_found)?);
    Reply::json(200, &body)
}

/// `PATCH /admin/tenants/:id`: what is sent is changed. `owner` makes one of its users an owner beside those there are: a
/// tenant whose owners are gone has nobody else who could. That takes an owner: of the tenant, or, where it has none, of this
/// one.
///
/// # Errors
/// As [`create`]; 404.
pub async fn update(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    for name in ["userPool", "database"] {
        if fields.has(name) {
            fields.refuse(name, "Where a tenant's people are does not change");
        }
    }
    let owner = owner_field(&mut fields);
    let (draft, policy) = draft(&mut fields)?;
    fields.finish()?;
    let manager = manager(call).await?;
    let record = named(call).await?;
    let context = &call.context;
    if let Some(policy) = policy.filter(|_| record.id == *manager.acting.tenant()) {
        policy::check_own_address(context, &policy)?;
    }
    let mut beyond = Beyond::of(&manager, &draft, Some(&record))?;
    let owner = owner.map(|(email, _)| email);
    if let Some(email) = &owner {
        beyond = beyond.and_owner(context, &manager, (&record, email)).await?;
    }
    let Beyond { here: conditions, there: mut statements } = beyond;
    statements.extend([tenants::store::tenancy::update(context, &record.id, &draft), must_change()]);
    if draft.objects.security_policy.is_some() {
        // Their live copies end at the next check.
        statements.push(session::store::session::end_all_surplus(&record.id, context.now));
    }
    if let Some(email) = &owner {
        statements.extend(tenants::store::tenancy::appoint_owner(context, &record.id, &context.id()?, email));
    }
    let told = ("tenant.changed", json!({ "slug": draft.slug, "hosts": draft.hosts, "owner": owner }));
    let change = TenantChange { conditions, statements, slug: draft.slug, hosts: draft.hosts };
    commit(call, &manager, &record, change, told).await
}

/// What a status changes by.
#[derive(Clone, Copy)]
enum StatusStep {
    Suspend,
    Resume,
    Delete,
    Restore,
}

async fn step(call: &mut Call, step: StatusStep) -> Result<Reply> {
    let reason = if call.request.method() == "DELETE" {
        call.request
            .param("reason")
            .filter(|reason| reason.chars().count() <= 256 && !reason.chars().any(char::is_control))
    } else {
        let mut fields = call.request.fields(Media::Json).await?;
        let reason = fields.optional_line("reason", 256);
        fields.finish()?;
        reason
    };
    let manager = manager(call).await?;
    let record = named(call).await?;
    let (context, permit, id) = (&call.context, &manager.permit, &record.id);
    let changed = match step {
        StatusStep::Suspend => tenants::store::tenancy::set_status(context, permit, id, "suspended", reason.as_deref()),
        StatusStep::Resume => tenants::store::tenancy::set_status(context, permit, id, "active", reason.as_deref()),
        StatusStep::Delete => tenants::store::tenancy::schedule_deletion(context, permit, id, reason.as_deref()),
        StatusStep::Restore => tenants::store::tenancy::restore(context, permit, id),
    };
    let change =
        TenantChange { conditions: Vec::new(), statements: vec![changed, must_change()], slug: None, hosts: None };
    let event = match step {
        StatusStep::Suspend => "tenant.suspended",
        StatusStep::Resume => "tenant.resumed",
        StatusStep::Delete => "tenant.deletion_scheduled",
        StatusStep::Restore => "tenant.restored",
    };
    let done = commit(call, &manager, &record, change, (event, json!({ "reason": reason }))).await;
    done.map_err(|error| match error.wire() {
        Wire::ORGANIZATION_NOT_FOUND => Error::refused(Wire::TENANT_STATUS, "not from this status"),
        _ => error,
    })
}

/// `POST /admin/tenants/:id/suspend`: nobody signs in to it, and its live sessions end at their next check.
///
/// # Errors
/// 400 for the default tenant or one that is not active, 401, 403, 404.
pub async fn suspend(call: &mut Call) -> Result<Reply> {
    step(call, StatusStep::Suspend).await
}

/// `POST /admin/tenants/:id/resume`.
///
/// # Errors
/// As [`suspend`].
pub async fn resume(call: &mut Call) -> Result<Reply> {
    step(call, StatusStep::Resume).await
}

/// `DELETE /admin/tenants/:id`: when its grace period is over, cron deletes it and all that is its own.
///
/// # Errors
/// As [`suspend`].
pub async fn delete(call: &mut Call) -> Result<Reply> {
    step(call, StatusStep::Delete).await
}

/// `POST /admin/tenants/:id/restore`: undoes that, within the grace period.
///
/// # Errors
/// As [`suspend`].
pub async fn restore(call: &mut Call) -> Result<Reply> {
    step(call, StatusStep::Restore).await
}
