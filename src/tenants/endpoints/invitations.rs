//! Invitations: by mail to an address, which alone accepts.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::http::fields::Fields;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Group, Id, Invitation};
use crate::platform::time::iso;
use crate::records::store::audit::Severity;
use crate::session;
use crate::session::call::Call;
use crate::tenants::caller::{NamedTenant, authorize_member, role_text, roles_field};
use crate::tenants::invitations::{InvitationWish, SentInvitation};
use crate::tenants::store::invitation::InvitationRecord;
use crate::tenants::{invitations, listing, store};

/// Reads `teamId`: a text with commas, or a list.
fn teams_field(fields: &mut Fields) -> Vec<Id<Group>> {
    let texts: Vec<String> = match fields.take("teamId") {
        None => return Vec::new(),
        Some(Value::String(text)) => text.split(',').map(str::to_owned).collect(),
        // What is no text is no id.
        Some(Value::Array(texts)) => texts.iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect(),
        Some(_) => vec![String::new()],
    };
    let ids: Vec<Id<Group>> = texts.iter().filter_map(|text| Id::parse(text.trim())).collect();
    if ids.len() != texts.len() || ids.len() > 50 {
        fields.refuse("teamId", "Invalid input: expected the id of a team, or several");
    }
    ids
}

/// `POST /organization/invite-member`: mails a link. With `resend`, an open invitation is sent again, by another link.
///
/// # Errors
/// 400 for somebody who is a member or invited, or a role that is not there; 401, 403 for one that the actor does not
/// hold, 404, 429.
pub async fn invite(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::in_fields(&mut fields);
    let email = fields.email("email");
    let roles = roles_field(&mut fields);
    let teams = teams_field(&mut fields);
    let resends = fields.boolean("resend").unwrap_or(false);
    fields.finish()?;
    let wish = InvitationWish { named, email, roles, teams, resends };
    let SentInvitation { acting, body } = invitations::invite(&call.context, wish).await?;
    acting.answer(&body)
}

/// `POST /organization/cancel-invitation`.
///
/// # Errors
/// 400 for one that was answered, 401, 403, 404.
pub async fn cancel(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.line("invitationId", 100);
    let named = NamedTenant::in_fields(&mut fields);
    fields.finish()?;
    let id: Id<Invitation> = Id::parse(&id).ok_or_else(invitations::invitation_not_found)?;
    let context = &call.context;
    // The invitation names its organization where the request does not.
    let named = match named {
        NamedTenant::Active => {
            match context.db()?.first::<InvitationRecord>(store::invitation::find_for_anybody(context, &id)).await? {
                Some(one) => NamedTenant::Id(Some(one.tenant_id)),
                None => return Err(signed_in_or(call, invitations::invitation_not_found()).await),
            }
        }
        named => named,
    };
    let acting = authorize_member(&call.context, &named).await.map_err(|error| match error.wire() {
        Wire::ORGANIZATION_NOT_FOUND => invitations::invitation_not_found(),
        _ => error,
    })?;
    let permit = acting.permit(Action::CancelInvitation)?;
    let statements = [
        session::store::permission::holds_still(&permit),
        store::invitation::cancel(context, &permit, &id),
        must_change(),
        acting.audited(context, "invitation.cancelled", Severity::Low, json!({ "invitation": id }))?,
        store::invitation::find(acting.tenant(), &id),
    ];
    let one: Option<InvitationRecord> = match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Err(invitations::invitation_not_found()),
        other => other?.last()?,
    };
    let body = invitations::invitation_json(&one.ok_or_else(invitations::invitation_not_found)?, context.now);
    acting.answer(&body)
}

/// What whoever is signed in is told; whoever is not is told that.
async fn signed_in_or(call: &Call, error: Error) -> Error {
    call.confirmed(Vec::new()).await.err().unwrap_or(error)
}

/// `GET /organization/list-invitations`: the organization's, the newest first.
///
/// # Errors
/// 401, 404.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let acting = authorize_member(&call.context, &NamedTenant::in_query(&call.request)).await?;
    acting.reads("invitation")?;
    if acting.standing.tenant.slug == "default" {
        acting.permit(Action::Invite)?;
    }
    let invited: Vec<InvitationRecord> =
        call.context.db()?.batch([store::invitation::list(acting.tenant())]).await?.rows()?;
    let body: Value = invited.iter().map(|one| invitations::invitation_json(one, call.context.now)).collect();
    acting.answer(&body)
}

fn id_field(fields: &mut Fields) -> Result<Id<Invitation>> {
    let id = fields.line("invitationId", 100);
    std::mem::take(fields).finish()?;
    Id::parse(&id).ok_or_else(invitations::invitation_not_found)
}

/// `GET /organization/get-invitation`: by whom it is for.
///
/// # Errors
/// 400, 401, 403.
pub async fn get(call: &mut Call) -> Result<Reply> {
    let id = call.request.param("id").ok_or_else(|| listing::invalid_parameter("id", "an id"))?;
    let context = &call.context;
    let Some(id) = Id::parse(&id) else {
        return Err(signed_in_or(call, invitations::invitation_not_found()).await);
    };
    let found =
        invitations::load_invitee(&call.context, store::invitation::find_for_anybody(context, &id), false).await?;
    let one = &found.invitation;
    let mut body = invitations::invitation_json(one, context.now);
    body["organizationName"] = json!(one.tenant_name);
    body["organizationSlug"] = json!(one.tenant_slug);
    body["inviterEmail"] = json!(one.inviter_email);
    Ok(Reply::json(200, &body)?.with_cookies(found.authenticated.cookies))
}

/// `GET /organization/list-user-invitations`: the open ones of the user's own address.
///
/// # Errors
/// 400 for another's address, 401, 403 for one that is not proven.
pub async fn of_user(call: &mut Call) -> Result<Reply> {
    let asked = call.request.param("email").filter(|email| !email.is_empty());
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let user = &authenticated.session.user;
    if asked.is_some_and(|asked| !asked.eq_ignore_ascii_case(&user.email)) {
        return Err(Error::Validation("[query.email] Invalid input: expected your own address".to_owned()));
    }
    if !user.email_verified {
        return Err(Error::refused(Wire::INVITATIONS_NEED_PROOF, "address not proven"));
    }
    let context = &call.context;
    let invited: Vec<InvitationRecord> =
        context.db()?.batch([store::invitation::of_email(context, &user.email)]).await?.rows()?;
    let shown = invited.iter().map(|one| {
        let mut shown = invitations::invitation_json(one, context.now);
        shown["organizationName"] = json!(one.tenant_name);
        shown
    });
    let body: Value = shown.collect();
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies))
}

/// `POST /organization/accept-invitation`: by its address alone, which must be proven. The organization is the active one
/// from then on.
///
/// # Errors
/// 400 for one that is not open, 401, 403 for another's.
pub async fn accept(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = id_field(&mut fields)?;
    let found =
        invitations::load_invitee(&call.context, store::invitation::find_for_anybody(&call.context, &id), false)
            .await?;
    let (member, cookies) =
        invitations::accept_invitation(&call.context, &found.authenticated, &found.invitation).await?;
    let context = &call.context;
    let mut invitation = invitations::invitation_json(&found.invitation, context.now);
    invitation["status"] = json!("accepted");
    let body = json!({
        "invitation": invitation,
        "member": { "id": member, "organizationId": found.invitation.tenant_id,
                    "userId": found.authenticated.session.user.id, "role": given_text(&found.invitation),
                    "createdAt": iso(context.now) },
    });
    Ok(Reply::json(200, &body)?.with_cookies(cookies))
}

/// The roles that whoever accepts is given: nobody is a member without one.
fn given_text(one: &InvitationRecord) -> String {
    if one.roles.is_empty() { "member".to_owned() } else { role_text(&one.roles) }
}

/// `POST /organization/reject-invitation`.
///
/// # Errors
/// As [`accept`].
pub async fn reject(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = id_field(&mut fields)?;
    let found =
        invitations::load_invitee(&call.context, store::invitation::find_for_anybody(&call.context, &id), false)
            .await?;
    let context = &call.context;
    invitations::decline_invitation(context, &found.authenticated, &found.invitation).await?;
    let mut invitation = invitations::invitation_json(&found.invitation, context.now);
    invitation["status"] = json!("rejected");
    let body = json!({ "invitation": invitation, "member": Value::Null });
    Ok(Reply::json(200, &body)?.with_cookies(found.authenticated.cookies))
}
