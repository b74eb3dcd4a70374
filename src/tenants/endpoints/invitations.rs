//! Invitations: by mail to an address, which alone accepts.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::http::fields::Fields;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1;
use crate::platform::d1::{Statement, StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Group, Id, Invitation};
use crate::platform::secret::{Invited, Token};
use crate::platform::time::iso;
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::records::store::notification::News;
use crate::session::call::Call;
use crate::session::store::permission::Standing;
use crate::tenants::caller::{NamedTenant, authorize_member, load_grantable_roles, role_text, roles_field};
use crate::tenants::store::invitation::{InvitationRecord, NewInvitation};
use crate::tenants::{invitations, listing, store};
use crate::{records, request, session};

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
    let acting = authorize_member(&call.context, &named).await?;
    let permit = acting.permit(Action::Invite)?;
    let context = &call.context;
    let refusals = (Wire::ROLE_NOT_FOUND, Wire::NOT_ALLOWED_TO_INVITE_WITH_ROLE);
    let granted = load_grantable_roles(context, &acting, &roles, refusals).await?;
    invitations::check_invited_groups(&call.context, &acting, &teams).await?;
    let key = request::store::rate_limit::key(
        &context.config,
        "invite:member",
        acting.tenant().as_str(),
        acting.standing.user_id.as_str(),
    );
    let limit = context.config.limit_invitation;
    // A third and a fourth round trip: what is invited to is looked up by name, and nobody waits for invitations.
    let mut answers = context
        .db()?
        .batch([
            request::store::rate_limit::count(&key, limit, context.now),
            session::store::permission::standing_of_email(acting.tenant(), &email),
            store::invitation::pending(acting.tenant(), &email),
        ])
        .await?;
    let window: Option<request::store::rate_limit::Window> = answers.row()?;
    if let Some(retry_after) = window.and_then(|window| window.retry_after(limit, context.now)) {
        return Err(Error::TooManyRequests { retry_after, limit: "invitations of a member" });
    }
    if answers.row::<Standing>()?.is_some() {
        return Err(Error::refused(Wire::ALREADY_A_MEMBER, "a member already"));
    }
    let open: Option<InvitationRecord> = answers.row()?;
    let open = open.filter(|open| open.expires_at > context.now);
    let taken = || Error::refused(Wire::ALREADY_INVITED, "an open invitation");
    if open.is_some() && !resends {
        return Err(taken());
    }
    let roles = match &open {
        // What is sent again is what was sent before.
        Some(open) => {
            load_grantable_roles(context, &acting, &open.roles, refusals).await?;
            open.roles.clone()
        }
        None => roles,
    };
    let secret: Token<Invited> = Token::new(context.random()?);
    let expires_at = context.now + context.config.invitation_seconds * 1000;
    let id = match &open {
        Some(open) => open.id.clone(),
        None => context.id()?,
    };
    let mut statements: Vec<Statement> = if open.is_some() {
        vec![store::invitation::renew(context, &permit, &id, &secret.hash(), expires_at), must_change()]
    } else {
        let ids: Vec<_> = granted.iter().map(|role| &role.id).collect();
        let teams: Vec<_> = teams.iter().collect();
        let new =
            NewInvitation { id: &id, hash: &secret.hash(), email: &email, roles: &ids, groups: &teams, expires_at };
        store::invitation::create(context, &permit, &new).into()
    };
    statements.push(store::invitation::inviter_may(acting.tenant(), &id));
    // Nobody's mailbox is filled, whoever invites and to however many organizations.
    let (pool, mails) = (context.tenant().pool().map_or("", Id::as_str), context.config.limit_mail);
    let recipient = request::store::rate_limit::key(&context.config, "invite:mail", pool, &email);
    statements.extend([
        request::store::rate_limit::count(&recipient, mails, context.now),
        request::store::rate_limit::is_within(&recipient, mails),
    ]);
    let url = format!("{}/invitation?token={}", context.auth_origin().as_str(), secret.expose());
    let days = (context.config.invitation_seconds + 86_399) / 86_400;
    let inviter = &acting.session().user.name;
    let letter = mail::invitation(&context.tenant().name, &acting.standing.tenant.name, inviter, (&url, days));
    statements.push(records::store::outbox::queue(context, None, &email, &letter)?);
    let details = json!({ "invitation": id, "roles": roles, "again": open.is_some() });
    statements.push(acting.audited(context, "invitation.sent", Severity::Low, details)?);
    let organization = &acting.standing.tenant.name;
    let message = format!("{inviter} invites you to {organization}.");
    let about = json!({ "invitation": id, "by": inviter });
    let news = News { tenant: acting.tenant(), kind: "invitation.sent", message: &message, details: &about };
    statements.push(records::store::notification::tell_email(context, &email, &news)?);
    statements.push(store::invitation::find(acting.tenant(), &id));
    let answers = match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(_) | StoreError::Unchanged) => return Err(taken()),
        Err(StoreError::Broken(name)) if name == store::invitation::INVITER => {
            return Err(Error::refused(refusals.1, "without what the invitation gives"));
        }
        Err(StoreError::Broken(name)) if name == d1::OVER => {
            return Err(Error::TooManyRequests { retry_after: mails.seconds, limit: "invitations to an address" });
        }
        other => other?,
    };
    let one: Option<InvitationRecord> = answers.last()?;
    deliver_later(context);
    let body = invitations::invitation_json(&one.ok_or_else(invitations::invitation_not_found)?, context.now);
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
