//! Organizations themselves: `/organization/create` … `/delete`.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::http::fields::{Change, Fields};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::records::deliver::deliver_later;
use crate::records::store::audit::Severity;
use crate::session::authenticate::delete_session_copies;
use crate::session::call::Call;
use crate::session::store::organization::Organization;
use crate::session::{policy, proof};
use crate::tenants::caller::{
    ActingMember, LONGEST_NAME, NamedTenant, authorize_member, authorize_member_of_any_status, commit_and_refresh,
    organization_json,
};
use crate::tenants::organization::{CreatedOrganization, OrganizationWish, create_organization, update_organization};
use crate::tenants::store::member::{MemberFilter, Page};
use crate::tenants::store::tenant::OrganizationChanges;
use crate::tenants::{groups, invitations, listing, members, organization, roles, store, tenant};
use crate::users::fields::LONGEST_IMAGE;
use crate::{request, session};

/// The longest `metadata`, in bytes of JSON.
const LONGEST_METADATA: usize = 16 * 1024;

/// Reads a JSON object that may be there, as text.
fn metadata(fields: &mut Fields) -> Option<String> {
    let value = fields.take("metadata")?;
    let text = value.to_string();
    if !value.is_object() {
        fields.refuse("metadata", "Invalid input: expected object");
    } else if text.len() > LONGEST_METADATA {
        fields.refuse("metadata", "Too big");
    }
    Some(text)
}

fn check_slug_field(fields: &mut Fields, slug: &str) {
    if !slug.is_empty() && !tenant::is_slug(slug) {
        fields.refuse("slug", "Invalid string: must be lower-case letters, digits, - and _, at most 63");
    }
}

/// `POST /organization/create`: a tenant of the shared pool. The user is its owner.
///
/// # Errors
/// 400 for bad fields or a slug that is taken, 401, 403 where users make none.
pub async fn create(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let name = fields.name("name", LONGEST_NAME);
    let slug = fields.line("slug", 63);
    check_slug_field(&mut fields, &slug);
    let logo = fields.optional_line("logo", LONGEST_IMAGE);
    let metadata = metadata(&mut fields);
    let keeps_active = fields.boolean("keepCurrentActiveOrganization").unwrap_or(false);
    let owner = fields.optional("userId", 100);
    fields.finish()?;
    let wish = OrganizationWish { name, slug, logo, metadata, keeps_active, owner };
    let CreatedOrganization { body, cookies } = create_organization(&call.context, wish).await?;
    Ok(Reply::json(200, &body)?.with_cookies(cookies))
}

/// `POST /organization/check-slug`.
///
/// # Errors
/// 400 for one that is taken, or none; 401.
pub async fn check_slug(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let slug = fields.line("slug", 63);
    check_slug_field(&mut fields, &slug);
    fields.finish()?;
    let (authenticated, mut answers) = call.confirmed(vec![store::tenant::slug_is_taken(&slug)]).await?;
    if answers.row::<bool>()?.is_some() {
        return Err(Error::refused(Wire::ORGANIZATION_SLUG_TAKEN, "the slug is taken"));
    }
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(authenticated.cookies))
}

/// `GET /organization/list`: those that the user is a member of.
///
/// # Errors
/// 401.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let hash = call.presented()?.hash;
    let statement = store::tenant::list(&call.context.tenant().id, &hash);
    let (authenticated, mut answers) = call.confirmed(vec![statement]).await?;
    let tenants: Vec<Organization> = answers.rows()?;
    let body: Vec<Value> = tenants.iter().map(organization_json).collect();
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies))
}

/// `GET /organization/get-organization`.
///
/// # Errors
/// 401, 404; the body `null` where none is active.
pub async fn get(call: &mut Call) -> Result<Reply> {
    match meant(call).await? {
        Some(acting) => {
            acting.reads("organization")?;
            let body = organization_json(&acting.standing.tenant);
            acting.answer(&body)
        }
        None => Reply::json(200, &Value::Null),
    }
}

/// The organization that the query means; none where it means the active one, and there is none.
async fn meant(call: &Call) -> Result<Option<ActingMember>> {
    let named = NamedTenant::in_query(&call.request);
    match authorize_member(&call.context, &named).await {
        Err(error) if error.wire() == Wire::NO_ACTIVE_ORGANIZATION => Ok(None),
        other => other.map(Some),
    }
}

/// `GET /organization/get-full-organization`: with its members, invitations and groups.
///
/// # Errors
/// As [`get`].
pub async fn full(call: &mut Call) -> Result<Reply> {
    let limit =
        listing::bounded_parameter(&call.request, "membersLimit", members::MOST_LISTED, (1, members::MOST_LISTED))?;
    let Some(acting) = meant(call).await? else {
        return Reply::json(200, &Value::Null);
    };
    acting.reads("organization")?;
    let (tenant, user) = (acting.tenant(), &acting.standing.user_id);
    let all = acting.permit(Action::UpdateTeam).is_ok();
    let sees_everybody = members::sees_everybody(&acting).is_ok();
    let filter = if sees_everybody { MemberFilter::default() } else { MemberFilter::of_user(user) };
    let statements = [
        store::member::list(tenant, &filter, Page { limit, offset: 0, descends: false }),
        store::invitation::list(tenant),
        store::group::list(tenant, user, all),
    ];
    let mut answers = call.context.db()?.batch(statements).await?;
    let listed: Vec<store::member::ListedMember> = answers.rows()?;
    let invited: Vec<store::invitation::InvitationRecord> = answers.rows()?;
    let groups: Vec<store::group::GroupRecord> = answers.rows()?;
    // Of what it shows besides, a key shows what it was made for.
    let invited = if sees_everybody && acting.reads("invitation").is_ok() { invited } else { Vec::new() };
    let groups = if acting.reads("team").is_ok() { groups } else { Vec::new() };
    let listed = if acting.reads("member").is_ok() { listed } else { Vec::new() };
    let mut body = organization_json(&acting.standing.tenant);
    body["members"] = listed.iter().map(|member| members::member_json(tenant, member)).collect();
    body["invitations"] = invited.iter().map(|one| invitations::invitation_json(one, call.context.now)).collect();
    body["teams"] = groups.iter().map(groups::group_json).collect();
    acting.answer(&body)
}

/// `POST /organization/set-active`: the organization that the session works in from now on; `null` for none.
///
/// # Errors
/// 401, 404.
pub async fn set_active(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let clears = matches!(fields.change("organizationId", 100), Change::Clear);
    let named = NamedTenant::by(fields.optional("organizationId", 100), fields.optional("organizationSlug", 63));
    fields.finish()?;
    let context = &call.context;
    if clears && matches!(named, NamedTenant::Active) {
        let (authenticated, _) = call.confirmed(Vec::new()).await?;
        let statement = store::tenant::set_active(context, &authenticated.hash, None, None);
        let cookies = commit_and_refresh(context, &authenticated, vec![statement]).await?;
        return Ok(Reply::json(200, &Value::Null)?.with_cookies(cookies));
    }
    let acting = match authorize_member(&call.context, &named).await {
        Err(error) if error.wire() == Wire::NO_ACTIVE_ORGANIZATION => return Reply::json(200, &Value::Null),
        other => other?,
    };
    let statement = store::tenant::set_active(context, &acting.authenticated.hash, Some(acting.tenant()), None);
    let cookies = commit_and_refresh(context, &acting.authenticated, vec![statement]).await?;
    Ok(Reply::json(200, &organization_json(&acting.standing.tenant))?.with_cookies(cookies))
}

/// `POST /organization/update`.
///
/// # Errors
/// 400 for bad fields or a slug that is taken, 401, 403, 404.
pub async fn update(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::in_fields(&mut fields);
    let mut data = fields.nested("data");
    let name = data.change_name("name", LONGEST_NAME);
    let slug = data.change("slug", 63);
    if let Change::Set(slug) = &slug {
        check_slug_field(&mut data, slug);
    }
    let logo = data.change("logo", LONGEST_IMAGE);
    let metadata = metadata(&mut data);
    fields.absorb("data", data);
    fields.finish()?;
    let set = |change: Change| match change {
        Change::Set(text) => Some(text),
        Change::Keep | Change::Clear => None,
    };
    let changes = OrganizationChanges { name: set(name), slug: set(slug), logo, metadata };
    let updated = update_organization(&call.context, &named, &changes).await?;
    updated.acting.answer(&organization_json(&updated.organization))
}

/// `POST /organization/delete`: nobody signs in to it from now on; cron deletes it when its grace period is over, unless
/// an owner takes it back by `/organization/restore`.
///
/// # Errors
/// 401, 403, 404.
pub async fn delete(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::by(Some(fields.required("organizationId", 100)), None);
    let reason = fields.optional_line("reason", 256);
    fields.finish()?;
    let acting = authorize_member_of_any_status(&call.context, &named).await?;
    proof::refuse_impersonator(&acting.authenticated)?;
    let permit = acting.permit(Action::DeleteOrganization)?;
    let context = &call.context;
    let hash = &acting.authenticated.hash;
    let statements = vec![
        session::store::permission::holds_still(&permit),
        store::tenant::schedule_deletion(context, &permit, reason.as_deref()),
        must_change(),
        store::tenant::leave_active(context, hash, acting.tenant()),
        acting.audited(context, "tenant.deletion_scheduled", Severity::High, json!({ "reason": reason }))?,
    ];
    let cookies = match commit_and_refresh(context, &acting.authenticated, statements).await {
        Err(StoreError::Unchanged) => {
            return Err(Error::refused(
                Wire::NOT_ALLOWED_TO_DELETE_ORGANIZATION,
                "the default tenant, or scheduled already",
            ));
        }
        other => other?,
    };
    Ok(Reply::json(200, &organization_json(&acting.standing.tenant))?.with_cookies(cookies))
}

/// `POST /organization/restore`: undoes a deletion within its grace period.
///
/// # Errors
/// 400 for one that is not about to be deleted, 401, 403, 404.
pub async fn restore(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::by(Some(fields.required("organizationId", 100)), None);
    fields.finish()?;
    let acting = authorize_member_of_any_status(&call.context, &named).await?;
    proof::refuse_impersonator(&acting.authenticated)?;
    let permit = acting.permit(Action::DeleteOrganization)?;
    let context = &call.context;
    let statements = [
        session::store::permission::holds_still(&permit),
        store::tenant::restore(context, &permit),
        must_change(),
        acting.audited(context, "tenant.restored", Severity::High, Value::Null)?,
    ];
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => {
            return Err(Error::refused(Wire::ORGANIZATION_NOT_FOUND, "not about to be deleted"));
        }
        other => drop(other?),
    }
    let body = organization_json(&acting.standing.tenant);
    acting.answer(&body)
}

/// `POST /organization/has-permission`.
///
/// # Errors
/// 400, 401, 404.
pub async fn has_permission(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::in_fields(&mut fields);
    let wanted = roles::permission_field(&mut fields);
    fields.finish()?;
    let acting = authorize_member(&call.context, &named).await?;
    // Nothing asked for is nothing allowed: an empty question is a mistake in the client.
    let success = !wanted.is_empty() && acting.standing.permissions.covers(&wanted);
    let error = if success { Value::Null } else { json!("not authorized") };
    acting.answer(&json!({ "error": error, "success": success }))
}

/// `GET /organization/security-policy`.
///
/// # Errors
/// 401, 403, 404.
pub async fn policy(call: &mut Call) -> Result<Reply> {
    let acting = authorize_member(&call.context, &NamedTenant::in_query(&call.request)).await?;
    acting.permit(Action::ReadPolicy)?;
    let body = acting.standing.tenant.security_policy.clone();
    acting.answer(&json!({ "securityPolicy": body }))
}

/// `PUT /organization/security-policy`: replaces it. Whoever would lock themselves out by it is refused.
///
/// # Errors
/// 400 with the path of each key that is wrong, 401, 403, 404.
pub async fn set_policy(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::in_fields(&mut fields);
    let given = fields.object("securityPolicy");
    fields.finish()?;
    let parsed = policy::read_policy(&given)?;
    let acting = authorize_member(&call.context, &named).await?;
    proof::refuse_impersonator(&acting.authenticated)?;
    let permit = acting.permit(Action::UpdatePolicy)?;
    let context = &call.context;
    policy::check_own_address(context, &parsed)?;
    let text = parsed.to_json().to_string();
    let statements = [
        session::store::permission::holds_still(&permit),
        store::tenant::set_policy(context, &permit, &text),
        must_change(),
        acting.audited(context, "tenant.policy_changed", Severity::High, json!({ "policy": parsed.to_json() }))?,
        session::store::session::end_all_surplus(acting.tenant(), context.now),
    ];
    let mut answers = match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Err(organization::suspended_meanwhile()),
        other => other?.skip(4),
    };
    delete_session_copies(context, session::store::session::revoked(&mut answers)?);
    deliver_later(context);
    request::store::directory::forget_all();
    acting.answer(&json!({ "securityPolicy": parsed.to_json() }))
}
