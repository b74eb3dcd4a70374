//! Who is in a group: let in by whoever looks after it, or by themselves where it is open.

use serde_json::{Value, json};

use crate::access::action::{Action, Permit};
use crate::http::fields::Fields;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::{StoreError, Stored, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Tenant, User};
use crate::platform::time::iso;
use crate::records::store::audit::Severity;
use crate::session;
use crate::session::api_key;
use crate::session::call::Call;
use crate::session::store::deed::Deed;
use crate::tenants::caller::{ActingMember, NamedTenant, authorize_member, commit_and_refresh};
use crate::tenants::groups::{
    group_not_found, group_refused, load_visible_group, require_group_management, require_own_or_permission,
};
use crate::tenants::store::group::{GroupRecord, InGroup};
use crate::tenants::{caller, store};

fn in_group_json(one: &InGroup) -> Value {
    json!({
        "id": one.id, "teamId": one.group_id, "userId": one.user_id, "createdAt": iso(one.joined_at),
        "role": one.role, "isActive": one.is_active, "joinedBy": one.joined_by,
    })
}

/// The group that a request names, or the active one.
async fn named_or_active(call: &Call, acting: &ActingMember, id: Option<String>) -> Result<GroupRecord> {
    let id = id.or_else(|| acting.session().active_group_id.as_ref().map(|id| id.as_str().to_owned()));
    let id = id.ok_or_else(|| Error::refused(Wire::NO_ACTIVE_TEAM, "none"))?;
    load_visible_group(&call.context, acting, &id).await
}

/// `GET /organization/list-team-members`: of a group that the user is in, or may change.
///
/// # Errors
/// 400, 401, 403, 404.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let id = call.request.param("teamId").filter(|id| !id.is_empty());
    let named = match (NamedTenant::in_query(&call.request), &id) {
        (NamedTenant::Active, Some(id)) if api_key::read_api_key(&call.context).is_none() => {
            // The group names its organization; a further round trip, where the request does not.
            let context = &call.context;
            let found = store::group::tenant_of(&context.tenant().id, &call.presented()?.hash, id);
            let (_, mut answers) = call.confirmed(vec![found]).await?;
            let tenant: Option<Id<Tenant>> = answers.row()?;
            NamedTenant::Id(Some(tenant.ok_or_else(group_not_found)?))
        }
        (named, _) => named,
    };
    let acting = authorize_member(&call.context, &named).await?;
    acting.reads("team")?;
    let group = named_or_active(call, &acting, id).await?;
    if group.mine.is_none() && acting.permit(Action::UpdateTeam).is_err() {
        return Err(Error::refused(Wire::NO_TEAM_MEMBER, "not in it"));
    }
    let members: Vec<InGroup> =
        call.context.db()?.batch([store::group::members(acting.tenant(), &group.id)]).await?.rows()?;
    let body: Value = members.iter().map(in_group_json).collect();
    acting.answer(&body)
}

/// A group and somebody, by `teamId` and `userId`.
struct Pair {
    named: NamedTenant,
    group: String,
    user: String,
}

fn pair(fields: &mut Fields) -> Pair {
    Pair { named: NamedTenant::in_fields(fields), group: fields.line("teamId", 100), user: fields.line("userId", 100) }
}

fn role_in_group(fields: &mut Fields) -> Option<String> {
    let role = fields.optional("role", 20);
    if role.as_deref().is_some_and(|role| !matches!(role, "owner" | "admin" | "member")) {
        fields.refuse("role", "Invalid option: expected owner, admin or member");
    }
    role
}

fn no_member() -> Error {
    Error::refused(Wire::NO_MEMBER, "no member of the organization")
}

/// `POST /organization/add-team-member`.
///
/// # Errors
/// 400 for whoever is no member of the organization, 401, 403 where the group is full, 404.
pub async fn add(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let pair = pair(&mut fields);
    let role = role_in_group(&mut fields);
    fields.finish()?;
    let acting = authorize_member(&call.context, &pair.named).await?;
    let group = load_visible_group(&call.context, &acting, &pair.group).await?;
    let permit = require_group_management(&acting, &group, Action::AddTeamMember)?;
    if role.as_deref() == Some("owner") {
        require_own_or_permission(&acting, &group)?;
    }
    let user = Id::parse(&pair.user).ok_or_else(no_member)?;
    let one = let_in(call, &acting, (&permit, &group), &user, role.as_deref().unwrap_or("member")).await?;
    acting.answer(&in_group_json(&one))
}

/// Lets somebody in; whoever is in already stays as they are.
async fn let_in(
    call: &Call,
    acting: &ActingMember,
    (permit, group): (&Permit, &GroupRecord),
    user: &Id<User>,
    role: &str,
) -> Result<InGroup> {
    let context = &call.context;
    let deed = Deed {
        event: "group.joined",
        severity: Severity::Low,
        subject: Some(user),
        details: json!({ "group": group.id, "role": role }),
    };
    // Who is no user at all would break the audit's foreign key: the member is looked up first.
    let mut answers = context
        .db()?
        .batch([
            session::store::permission::standing_of(acting.tenant(), user),
            store::group::member(acting.tenant(), &group.id, user),
        ])
        .await?;
    answers.row::<session::store::permission::Standing>()?.ok_or_else(no_member)?;
    if let Some(one) = answers.row::<InGroup>()?.filter(|one| one.is_active) {
        return Ok(one);
    }
    // Whoever joins an open group by themselves holds nothing of what it carries before.
    let by_themselves = *user == acting.standing.user_id && group.is_open;
    let mut statements = vec![session::store::permission::holds_still(permit)];
    statements.extend((!by_themselves).then(|| session::store::permission::manages_still(permit, &group.id)));
    statements.extend([
        store::group::join(context, permit, &group.id, user, (&context.row_id()?, role), by_themselves),
        must_change(),
        acting.audited_of(context, &deed)?,
    ]);
    if *user != acting.standing.user_id {
        let message = format!("You are in {} of {} now.", group.name, acting.standing.tenant.name);
        statements.push(acting.tells(context, user, deed.event, &message)?);
    }
    statements.push(store::group::member(acting.tenant(), &group.id, user));
    let done: Stored<_> = context.db()?.batch(statements).await;
    let one: Option<InGroup> = done.map_err(group_refused)?.last()?;
    one.ok_or_else(group_not_found)
}

/// `POST /organization/remove-team-member`.
///
/// # Errors
/// 400 for whoever is not in it, 401, 403, 404.
pub async fn remove(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let pair = pair(&mut fields);
    fields.finish()?;
    let acting = authorize_member(&call.context, &pair.named).await?;
    let group = load_visible_group(&call.context, &acting, &pair.group).await?;
    let user: Id<User> = Id::parse(&pair.user).ok_or_else(no_member)?;
    let is_oneself = user == acting.standing.user_id && acting.session().login_method != api_key::METHOD;
    let permit = if is_oneself {
        caller::is_oneself(&acting)
    } else {
        let permit = require_group_management(&acting, &group, Action::RemoveTeamMember)?;
        let one: Option<InGroup> =
            call.context.db()?.first(store::group::member(acting.tenant(), &group.id, &user)).await?;
        if one.is_some_and(|one| one.role == "owner") {
            require_own_or_permission(&acting, &group)?;
        }
        permit
    };
    let cookies = take_out(call, &acting, (&permit, &group), &user).await?;
    Ok(Reply::json(200, &json!({ "message": "Team member removed successfully." }))?.with_cookies(cookies))
}

async fn take_out(
    call: &Call,
    acting: &ActingMember,
    (permit, group): (&Permit, &GroupRecord),
    user: &Id<User>,
) -> Result<Vec<String>> {
    let context = &call.context;
    let deed = Deed {
        event: "group.left",
        severity: Severity::Low,
        subject: None,
        details: json!({ "group": group.id, "user": user }),
    };
    let mut statements = vec![session::store::permission::holds_still(permit)];
    if *user != acting.standing.user_id {
        statements.push(session::store::permission::manages_still(permit, &group.id));
    }
    statements.extend([
        store::group::leave(permit, &group.id, user, *user == acting.standing.user_id),
        must_change(),
        store::group::forget_active(acting.tenant(), &group.id, Some(user)),
        acting.audited_of(context, &deed)?,
    ]);
    match commit_and_refresh(context, &acting.authenticated, statements).await {
        Err(StoreError::Unchanged) => Err(Error::refused(Wire::NO_TEAM_MEMBER, "not in it")),
        other => Ok(other?),
    }
}

/// `POST /organization/update-team-member`: what somebody is in a group, and whether they count.
///
/// # Errors
/// 400 for whoever is not in it, 401, 403, 404.
pub async fn update(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let pair = pair(&mut fields);
    let role = role_in_group(&mut fields);
    let is_active = fields.boolean("isActive");
    fields.finish()?;
    let acting = authorize_member(&call.context, &pair.named).await?;
    let group = load_visible_group(&call.context, &acting, &pair.group).await?;
    let permit = require_group_management(&acting, &group, Action::UpdateTeam)?;
    let user: Id<User> = Id::parse(&pair.user).ok_or_else(no_member)?;
    let context = &call.context;
    // Whoever looks after a group for its owner does not depose them.
    let one: Option<InGroup> = context.db()?.first(store::group::member(acting.tenant(), &group.id, &user)).await?;
    let is_owner = one.is_some_and(|one| one.role == "owner") || role.as_deref() == Some("owner");
    if is_owner {
        require_own_or_permission(&acting, &group)?;
    }
    let details = json!({ "group": group.id, "user": user, "role": role, "isActive": is_active });
    let statements = [
        session::store::permission::holds_still(&permit),
        session::store::permission::manages_still(&permit, &group.id),
        store::group::update_member(&permit, &group.id, &user, role.as_deref(), is_active),
        must_change(),
        acting.audited(context, "group.member_changed", Severity::Low, details)?,
        store::group::member(acting.tenant(), &group.id, &user),
    ];
    let one: Option<InGroup> = match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Err(Error::refused(Wire::NO_TEAM_MEMBER, "not in it")),
        other => other.map_err(group_refused)?.last()?,
    };
    let body = in_group_json(&one.ok_or_else(group_not_found)?);
    acting.answer(&body)
}

/// Who is asking, and the group that they would come into or leave.
async fn by_themselves(call: &mut Call) -> Result<(ActingMember, GroupRecord)> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::in_fields(&mut fields);
    let id = fields.line("teamId", 100);
    fields.finish()?;
    let acting = authorize_member(&call.context, &named).await?;
    let group = load_visible_group(&call.context, &acting, &id).await?;
    Ok((acting, group))
}

/// `POST /organization/join-team`: a group that is open to whoever sees it.
///
/// # Errors
/// 400, 401, 403 for one that is not open, or full; 404.
pub async fn join(call: &mut Call) -> Result<Reply> {
    let (acting, group) = by_themselves(call).await?;
    if !group.is_open {
        return Err(Error::refused(Wire::NOT_ALLOWED_TO_ADD_TEAM_MEMBER, "not open"));
    }
    let permit = caller::is_oneself(&acting);
    let one = let_in(call, &acting, (&permit, &group), &acting.standing.user_id, "member").await?;
    acting.answer(&in_group_json(&one))
}

/// `POST /organization/leave-team`.
///
/// # Errors
/// 400 for whoever is not in it, 401, 404.
pub async fn leave(call: &mut Call) -> Result<Reply> {
    let (acting, group) = by_themselves(call).await?;
    let permit = caller::is_oneself(&acting);
    let cookies = take_out(call, &acting, (&permit, &group), &acting.standing.user_id).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(cookies))
}
