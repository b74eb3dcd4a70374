//! Organizations as their users make them.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::time::iso;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session;
use crate::session::store::deed::Deed;
use crate::session::store::organization::Organization;
use crate::session::{authenticate, proof};
use crate::tenants::caller::{ActingMember, NamedTenant, authorize_member, commit_and_refresh};
use crate::tenants::store;
use crate::tenants::store::tenant::{NewOrganization, OrganizationChanges};

/// What somebody would make an organization of.
pub struct OrganizationWish {
    /// Name.
    pub name: String,
    /// Slug, which was checked.
    pub slug: String,
    /// Picture URL.
    pub logo: Option<String>,
    /// Metadata, as JSON.
    pub metadata: Option<String>,
    /// Whether the session goes on working in the organization that is active.
    pub keeps_active: bool,
    /// The user whose it is to be, by id; none is the one who asks.
    pub owner: Option<String>,
}

/// An organization that was made.
pub struct CreatedOrganization {
    /// The organization, as the protocol shows it.
    pub body: Value,
    /// `Set-Cookie` lines.
    pub cookies: Vec<String>,
}

/// Makes an organization, of which the user who is asking becomes the owner.
///
/// # Errors
/// 400 for a slug that is taken; 401; 403 where users make none, or for somebody who owns too many.
pub async fn create_organization(context: &Context, wish: OrganizationWish) -> Result<CreatedOrganization> {
    let OrganizationWish { name, slug, logo, metadata, keeps_active, owner } = wish;
    let (authenticated, _) = authenticate::require_session(context, Vec::new()).await?;
    proof::refuse_impersonator(&authenticated)?;
    let session = &authenticated.session;
    if !context.config.organizations_open || context.tenant().is_isolated || session.user.is_anonymous {
        return Err(Error::refused(Wire::NOT_ALLOWED_TO_CREATE_ORGANIZATION, "users make none here"));
    }
    if owner.is_some_and(|owner| owner != session.user.id.as_str()) {
        return Err(Error::refused(Wire::NOT_ALLOWED_TO_CREATE_ORGANIZATION, "in another's name"));
    }
    let (id, member_id, group_id) = (context.id()?, context.id()?, context.id()?);
    let group_member_id = context.row_id()?;
    let new = NewOrganization {
        id: &id,
        name: &name,
        slug: &slug,
        logo: logo.as_deref(),
        metadata: metadata.as_deref().unwrap_or("{}"),
        member_id: &member_id,
        group_id: &group_id,
        group_member_id: &group_member_id,
    };
    let mut statements = store::tenant::create(context, &session.user.id, &new);
    let deed = Deed {
        event: "tenant.created",
        severity: Severity::Medium,
        subject: Some(&session.user.id),
        details: json!({ "slug": slug }),
    };
    statements.push(session::store::deed::deed(context, &id, session, &deed)?);
    if !keeps_active {
        statements.push(store::tenant::set_active(context, &authenticated.hash, Some(&id), Some(&group_id)));
    }
    let cookies = match commit_and_refresh(context, &authenticated, statements).await {
        Err(StoreError::Conflict(_)) => {
            return Err(Error::refused(Wire::ORGANIZATION_ALREADY_EXISTS, "the slug is taken"));
        }
        Err(StoreError::Unchanged) => return Err(Error::refused(Wire::TOO_MANY_ORGANIZATIONS, "owns too many")),
        other => other?,
    };
    let body = json!({
        "id": id, "name": name, "slug": slug, "logo": logo, "createdAt": iso(context.now),
        "metadata": metadata.and_then(|text| serde_json::from_str::<Value>(&text).ok()).unwrap_or_else(|| json!({})),
        "members": [{ "id": member_id, "organizationId": id, "userId": session.user.id, "role": "owner",
                      "createdAt": iso(context.now) }],
    });
    Ok(CreatedOrganization { body, cookies })
}

/// An organization that was changed.
pub struct UpdatedOrganization {
    /// Who changed it.
    pub acting: ActingMember,
    /// What it is now.
    pub organization: Organization,
}

/// Changes the organization that is named.
///
/// # Errors
/// 400 for a slug that is taken; 401; 403; 404.
pub async fn update_organization(
    context: &Context,
    named: &NamedTenant,
    changes: &OrganizationChanges,
) -> Result<UpdatedOrganization> {
    let acting = authorize_member(context, named).await?;
    let permit = acting.permit(Action::UpdateOrganization)?;
    // Of a tenant with a database of its own, only the main one knows whether another has the slug.
    let moves = changes.slug.as_ref().is_some_and(|slug| *slug != acting.standing.tenant.slug);
    if moves && (acting.standing.tenant.slug == "default" || context.tenant().database.is_some()) {
        return Err(Error::refused(Wire::NOT_ALLOWED_TO_UPDATE_ORGANIZATION, "the slug is the server's to change"));
    }
    let statements = [
        session::store::permission::holds_still(&permit),
        store::tenant::update(context, &permit, changes),
        must_change(),
        acting.audited(
            context,
            "tenant.changed",
            Severity::Medium,
            json!({ "name": changes.name, "slug": changes.slug }),
        )?,
        store::tenant::show(acting.tenant()),
    ];
    let mut answers = match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(_)) => return Err(Error::refused(Wire::ORGANIZATION_SLUG_TAKEN, "the slug is taken")),
        Err(StoreError::Unchanged) => return Err(suspended_meanwhile()),
        other => other?.skip(4),
    };
    let tenant: Option<Organization> = answers.row()?;
    let tenant = tenant.ok_or_else(|| Error::refused(Wire::ORGANIZATION_NOT_FOUND, "gone meanwhile"))?;
    Ok(UpdatedOrganization { acting, organization: tenant })
}

/// The refusal where an organization was suspended between reading and writing.
#[must_use]
pub fn suspended_meanwhile() -> Error {
    Error::refused(Wire::TENANT_UNAVAILABLE, "suspended, or about to be deleted, meanwhile")
}
