//! Invitations: accepting and declining them.

use serde_json::{Value, json};

use crate::access::action::{Action, Permit};
use crate::platform::d1;
use crate::platform::d1::{Statement, StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Group, Id, Member, Millis};
use crate::platform::secret::{Invited, Token};
use crate::platform::time::iso;
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::records::store::notification::News;
use crate::request::context::Context;
use crate::session::authenticate::Authenticated;
use crate::session::store::deed::Deed;
use crate::session::store::permission::Standing;
use crate::session::{authenticate, proof};
use crate::tenants::caller::{
    ActingMember, NamedTenant, authorize_member, commit_and_refresh, load_grantable_roles, role_text,
};
use crate::tenants::store;
use crate::tenants::store::invitation::{InvitationRecord, NewInvitation};
use crate::{records, request, session};

/// An invitation, as the protocol shows it. One that ran out is not pending, whatever cron has said.
#[must_use]
pub fn invitation_json(one: &InvitationRecord, now: Millis) -> Value {
    let status = match one.status.as_str() {
        "cancelled" => "canceled",
        "pending" if one.expires_at <= now => "expired",
        other => other,
    };
    json!({
        "id": one.id, "organizationId": one.tenant_id, "email": one.email, "role": role_text(&one.roles),
        "teamId": team_text(&one.groups), "status": status, "expiresAt": iso(one.expires_at), "createdAt": iso(one.created_at),
        "inviterId": one.inviter_id,
    })
}

/// Groups, as the protocol shows them in an invitation: one text, or none.
fn team_text(groups: &[Id<Group>]) -> Option<String> {
    let ids: Vec<&str> = groups.iter().map(Id::as_str).collect();
    (!ids.is_empty()).then(|| ids.join(","))
}

pub(crate) fn invitation_not_found() -> Error {
    Error::refused(Wire::INVITATION_NOT_FOUND, "unknown, answered, or another's")
}

/// The groups of these ids, whose roles the actor may give.
///
/// # Errors
/// 400 for a group that is not there or cannot be given; 403; 503.
pub async fn check_invited_groups(context: &Context, acting: &ActingMember, ids: &[Id<Group>]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let user = &acting.standing.user_id;
    let statements = ids.iter().map(|id| store::group::find(acting.tenant(), user, id));
    let mut answers = context.db()?.batch(statements).await?;
    for _ in ids {
        let group: Option<store::group::GroupRecord> = answers.row()?;
        let sees = |group: &store::group::GroupRecord| {
            group.is_public || group.mine.is_some() || acting.permit(Action::UpdateTeam).is_ok()
        };
        let group = group
            .filter(sees)
            .ok_or_else(|| Error::refused(Wire::TEAM_NOT_FOUND, "unknown, hidden, or of another organization"))?;
        acting.gives(&group.carried, Wire::NOT_ALLOWED_TO_INVITE_WITH_ROLE)?;
    }
    Ok(())
}

/// Whoever the invitation may be for: signed in, and by their own address.
pub struct Invitee {
    /// Their session.
    pub authenticated: Authenticated,
    /// The invitation, open.
    pub invitation: InvitationRecord,
}

/// The invitation that a request names, and whether it is its user's to answer. With `proves` what was mailed to the
/// address was presented.
///
/// # Errors
/// 400 for one that is not open, 401, 403 for another's or an address that is not proven.
pub async fn load_invitee(context: &Context, by: Statement, proves: bool) -> Result<Invitee> {
    let (authenticated, mut answers) = authenticate::require_session(context, vec![by]).await?;
    let one: Option<InvitationRecord> = answers.row()?;
    let open = |one: &InvitationRecord| one.status == "pending" && one.expires_at > context.now;
    let invitation = one.filter(open).ok_or_else(invitation_not_found)?;
    let user = &authenticated.session.user;
    if user.email != invitation.email {
        return Err(Error::refused(Wire::NOT_THE_RECIPIENT, "another address"));
    }
    // An address that anybody may have typed is nobody's. What was mailed to it proves it.
    if !user.email_verified && !proves {
        return Err(Error::refused(Wire::INVITATION_NEEDS_PROOF, "address not proven"));
    }
    Ok(Invitee { authenticated, invitation })
}

/// Makes the user a member, with the roles and groups that the invitation names: once, however many accept at once.
///
/// # Errors
/// 400 for one that was answered meanwhile, 403 where whoever invited may not any more, or a group is full.
pub async fn accept_invitation(
    context: &Context,
    authenticated: &Authenticated,
    one: &InvitationRecord,
) -> Result<(Id<Member>, Vec<String>)> {
    proof::refuse_impersonator(authenticated)?;
    let session = &authenticated.session;
    let permit = Permit::for_oneself(&one.tenant_id, &session.user.id);
    // A third round trip: whoever signed up on the tenant's own host meanwhile is a member already, without what they were
    // invited to.
    let standing: Option<Standing> =
        context.db()?.first(session::store::permission::standing_of(&one.tenant_id, &session.user.id)).await?;
    let deed = Deed {
        event: "invitation.accepted",
        severity: Severity::Medium,
        subject: Some(&session.user.id),
        details: json!({ "invitation": one.id, "roles": one.roles }),
    };
    let mut statements = vec![
        store::invitation::inviter_may(&one.tenant_id, &one.id),
        store::invitation::accept(context, &permit, &one.id),
        must_change(),
    ];
    let member = if let Some(standing) = standing {
        statements.push(session::store::permission::holds_still(&permit));
        standing.member_id
    } else {
        let id = context.id()?;
        statements.extend([store::member::add(context, &permit, &id, &session.user.id), must_change()]);
        id
    };
    statements.extend(store::invitation::give(context, &permit, &one.id, &member));
    statements.push(session::store::deed::deed(context, &one.tenant_id, session, &deed)?);
    if let Some(inviter) = &one.inviter_id {
        let message = format!("{} is a member of {} now.", session.user.name, one.tenant_name);
        let about = json!({ "invitation": one.id, "user": session.user.id });
        let news = News { tenant: &one.tenant_id, kind: deed.event, message: &message, details: &about };
        statements.push(records::store::notification::tell(context, inviter, &news)?);
    }
    let group = one.groups.first().filter(|_| one.groups.len() == 1);
    statements.push(store::tenant::set_active(context, &authenticated.hash, Some(&one.tenant_id), group));
    let cookies = match commit_and_refresh(context, authenticated, statements).await {
        Err(StoreError::Unchanged) => return Err(invitation_not_found()),
        Err(StoreError::Conflict(_)) => return Err(Error::refused(Wire::ALREADY_A_MEMBER, "a member already")),
        Err(StoreError::Broken(name)) if name == store::invitation::INVITER => {
            return Err(Error::refused(Wire::INVITER_LEFT, "whoever invited may not any more"));
        }
        Err(StoreError::Broken(name)) if name == store::group::FULL => {
            return Err(Error::refused(Wire::TEAM_FULL, "a group of the invitation is full"));
        }
        other => other?,
    };
    Ok((member, cookies))
}

/// Rejects it.
///
/// # Errors
/// 400 for one that was answered meanwhile.
pub async fn decline_invitation(
    context: &Context,
    authenticated: &Authenticated,
    one: &InvitationRecord,
) -> Result<()> {
    proof::refuse_impersonator(authenticated)?;
    let session = &authenticated.session;
    let permit = Permit::for_oneself(&one.tenant_id, &session.user.id);
    let deed = Deed {
        event: "invitation.rejected",
        severity: Severity::Low,
        subject: Some(&session.user.id),
        details: json!({ "invitation": one.id }),
    };
    let statements = [
        store::invitation::reject(context, &permit, &one.id),
        must_change(),
        session::store::deed::deed(context, &one.tenant_id, session, &deed)?,
    ];
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => Err(invitation_not_found()),
        other => {
            other?;
            Ok(())
        }
    }
}

/// Who is invited to what.
pub struct InvitationWish {
    /// The organization.
    pub named: NamedTenant,
    /// The address, in lower case.
    pub email: String,
    /// Names of the roles that the invitation gives.
    pub roles: Vec<String>,
    /// Groups that the invitation leads into.
    pub teams: Vec<Id<Group>>,
    /// Whether an open invitation is sent again.
    pub resends: bool,
}

/// An invitation that was sent.
pub struct SentInvitation {
    /// Who sent it.
    pub acting: ActingMember,
    /// The invitation, as the protocol shows it.
    pub body: Value,
}

/// Invites an address, and mails a link. With `resends`, an open invitation is sent again, by another link.
///
/// # Errors
/// 400 for somebody who is a member or invited, or a role that is not there; 401, 403 for a role that the inviter does not
/// hold; 404; 429.
pub async fn invite(context: &Context, wish: InvitationWish) -> Result<SentInvitation> {
    let InvitationWish { named, email, roles, teams, resends } = wish;
    let acting = authorize_member(context, &named).await?;
    let permit = acting.permit(Action::Invite)?;
    let refusals = (Wire::ROLE_NOT_FOUND, Wire::NOT_ALLOWED_TO_INVITE_WITH_ROLE);
    let granted = load_grantable_roles(context, &acting, &roles, refusals).await?;
    check_invited_groups(context, &acting, &teams).await?;
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
    let body = invitation_json(&one.ok_or_else(invitation_not_found)?, context.now);
    Ok(SentInvitation { acting, body })
}
