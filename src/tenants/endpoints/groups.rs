//! Groups of an organization: what the protocol calls teams, with what groups have beside.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::http::fields::Change;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::{Statement, StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Group, Id, User};
use crate::records::store::audit::Severity;
use crate::session;
use crate::session::call::Call;
use crate::session::store::permission::Standing;
use crate::session::{api_key, policy};
use crate::tenants::caller::{ActingMember, NamedTenant, authorize_member, commit_and_refresh, load_grantable_roles};
use crate::tenants::store::group::{GroupRecord, InGroup};
use crate::tenants::{caller, group_draft, groups, store};

/// The roles that a group is to carry; the actor holds all that they allow, and may give roles.
async fn carried(
    call: &Call,
    acting: &ActingMember,
    names: &[String],
    action: Action,
) -> Result<Vec<store::role::RoleRecord>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    acting.permit(Action::UpdateMember)?;
    load_grantable_roles(&call.context, acting, names, (Wire::ROLE_NOT_FOUND, action.refusal())).await
}

/// `POST /organization/create-team`: whoever makes it is its owner, and in it.
///
/// # Errors
/// 400 for bad fields or a name that is taken, 401, 403, 404.
pub async fn create(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::in_fields(&mut fields);
    let (mut draft, roles) = group_draft::read_group_draft(&mut fields);
    if draft.name.is_none() {
        fields.line("name", caller::LONGEST_NAME);
    }
    let name = draft.name.clone().unwrap_or_default();
    let slug = draft.slug.clone().unwrap_or_else(|| group_draft::slug_of(&name));
    if slug.is_empty() && !name.is_empty() {
        fields.refuse("slug", "Invalid input: expected string, because the name has no letters");
    }
    fields.finish()?;
    draft.slug = Some(slug);
    let acting = authorize_member(&call.context, &named).await?;
    let permit = acting.permit(Action::CreateTeam)?;
    let roles = carried(call, &acting, &roles.unwrap_or_default(), Action::CreateTeam).await?;
    let ids: Vec<_> = roles.iter().map(|role| &role.id).collect();
    let context = &call.context;
    let (id, row) = (context.id()?, context.row_id()?);
    let user = &acting.standing.user_id;
    if draft.is_system == Some(true) {
        acting.permit(Action::UpdateOrganization)?;
    }
    let mut statements = vec![
        session::store::permission::holds_still(&permit),
        session::store::permission::covers_still(&permit, &ids, None),
        store::group::create(context, &permit, &id, &draft),
        store::group::join(context, &permit, &id, user, (&row, "owner"), false),
    ];
    statements.extend(store::group::carry(context, &permit, &id, &ids));
    statements.push(acting.audited(context, "group.created", Severity::Low, json!({ "group": id, "name": name }))?);
    let group = written(call, statements, &acting, &id).await?;
    acting.answer(&groups::group_json(&group))
}

/// Writes, and reads the group as it is then.
async fn written(
    call: &Call,
    mut statements: Vec<Statement>,
    acting: &ActingMember,
    id: &Id<Group>,
) -> Result<GroupRecord> {
    statements.push(store::group::find(acting.tenant(), &acting.standing.user_id, id));
    let answers = call.context.db()?.batch(statements).await.map_err(groups::group_refused)?;
    let group: Option<GroupRecord> = answers.last()?;
    group.ok_or_else(groups::group_not_found)
}

/// `POST /organization/update-team`.
///
/// # Errors
/// As [`create`].
pub async fn update(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.line("teamId", 100);
    let mut data = fields.nested("data");
    let named = NamedTenant::by(data.optional("organizationId", 100).or(fields.optional("organizationId", 100)), None);
    let (draft, roles) = group_draft::read_group_draft(&mut data);
    let owner = data.optional("ownerId", 100);
    fields.absorb("data", data);
    fields.finish()?;
    let acting = authorize_member(&call.context, &named).await?;
    let group = groups::load_visible_group(&call.context, &acting, &id).await?;
    let permit = groups::require_group_management(&acting, &group, Action::UpdateTeam)?;
    let context = &call.context;
    let mut statements = vec![
        session::store::permission::holds_still(&permit),
        session::store::permission::manages_still(&permit, &group.id),
        store::group::update(context, &permit, &group.id, &draft),
        must_change(),
    ];
    if let Some(names) = &roles {
        let roles = carried(call, &acting, names, Action::UpdateTeam).await?;
        let ids: Vec<_> = roles.iter().map(|role| &role.id).collect();
        statements.push(session::store::permission::covers_still(&permit, &ids, None));
        statements.extend(store::group::carry(context, &permit, &group.id, &ids));
    }
    if let Some(owner) = owner {
        groups::require_own_or_permission(&acting, &group)?;
        let nobody = || Error::refused(Wire::NO_TEAM_MEMBER, "not in it");
        let owner: Id<User> = Id::parse(&owner).ok_or_else(nobody)?;
        let heir: Option<InGroup> =
            context.db()?.first(store::group::member(acting.tenant(), &group.id, &owner)).await?;
        heir.filter(|heir| heir.is_active).ok_or_else(nobody)?;
        statements.extend(store::group::hand_over(context, &permit, &group.id, &owner));
    }
    let details = json!({ "group": group.id, "name": draft.name, "roles": roles });
    statements.push(acting.audited(context, "group.changed", Severity::Low, details)?);
    let group = written(call, statements, &acting, &group.id).await?;
    acting.answer(&groups::group_json(&group))
}

/// `POST /organization/remove-team`: softly; not a system's group, and not the last.
///
/// # Errors
/// 400, 401, 403, 404.
pub async fn remove(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::in_fields(&mut fields);
    let id = fields.line("teamId", 100);
    fields.finish()?;
    let acting = authorize_member(&call.context, &named).await?;
    acting.permit(Action::DeleteTeam)?;
    let group = groups::load_visible_group(&call.context, &acting, &id).await?;
    let permit = groups::require_group_management(&acting, &group, Action::DeleteTeam)?;
    if group.is_system {
        return Err(Error::refused(Wire::NOT_ALLOWED_TO_DELETE_TEAM, "a system group"));
    }
    let context = &call.context;
    let statements = vec![
        session::store::permission::holds_still(&permit),
        session::store::permission::gives_still(&permit, &group.id),
        store::group::delete(context, &permit, &group.id),
        must_change(),
        store::group::forget_active(acting.tenant(), &group.id, None),
        acting.audited(context, "group.deleted", Severity::Medium, json!({ "group": group.id, "name": group.name }))?,
    ];
    let cookies = match commit_and_refresh(context, &acting.authenticated, statements).await {
        Err(StoreError::Unchanged) => return Err(Error::refused(Wire::LAST_TEAM, "the last group")),
        other => other?,
    };
    Ok(Reply::json(200, &json!({ "message": "Team removed successfully." }))?.with_cookies(cookies))
}

/// `GET /organization/list-teams`: those that the user sees.
///
/// # Errors
/// 401, 404.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let acting = authorize_member(&call.context, &NamedTenant::in_query(&call.request)).await?;
    acting.reads("team")?;
    let all = acting.permit(Action::UpdateTeam).is_ok();
    let statement = store::group::list(acting.tenant(), &acting.standing.user_id, all);
    let groups: Vec<GroupRecord> = call.context.db()?.batch([statement]).await?.rows()?;
    let body: Value = groups.iter().map(groups::group_json).collect();
    acting.answer(&body)
}

/// `GET /organization/list-user-teams`: those that the user is in, of every organization or the one that is named; or, for
/// a caller who may change groups, those of another user.
///
/// # Errors
/// 401, 403, 404.
pub async fn of_user(call: &mut Call) -> Result<Reply> {
    let named = NamedTenant::in_query(&call.request);
    let asked = call.request.param("userId").filter(|user| !user.is_empty());
    // A key works in one organization.
    if matches!(named, NamedTenant::Active) && asked.is_none() && api_key::read_api_key(&call.context).is_none() {
        return everywhere(call).await;
    }
    let acting = authorize_member(&call.context, &named).await?;
    acting.reads("team")?;
    let user: Id<User> = match asked {
        Some(user) if user != acting.standing.user_id.as_str() => {
            acting.permit(Action::UpdateTeam)?;
            Id::parse(&user).ok_or_else(|| Error::refused(Wire::NO_MEMBER, "no id"))?
        }
        _ => acting.standing.user_id.clone(),
    };
    let groups: Vec<GroupRecord> =
        call.context.db()?.batch([store::group::of_user(acting.tenant(), &user)]).await?.rows()?;
    let body: Value = groups.iter().map(groups::group_json).collect();
    acting.answer(&body)
}

/// The groups that the user is in, of every organization whose policy lets them see it from here.
async fn everywhere(call: &Call) -> Result<Reply> {
    let context = &call.context;
    let hash = call.presented()?.hash;
    let statements = vec![
        session::store::permission::standings_with_groups(context, &hash),
        store::group::of_session(&context.tenant().id, &hash),
    ];
    let (authenticated, mut answers) = call.confirmed(statements).await?;
    let standings: Vec<Standing> = answers.rows()?;
    let groups: Vec<GroupRecord> = answers.rows()?;
    let admitted: Vec<_> = standings
        .iter()
        .filter(|standing| policy::check_organization(context, standing, &authenticated.session).is_ok())
        .map(|standing| &standing.tenant.id)
        .collect();
    let body: Value =
        groups.iter().filter(|group| admitted.contains(&&group.tenant_id)).map(groups::group_json).collect();
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies))
}

/// `POST /organization/set-active-team`: the group that the session works in; `null` for none.
///
/// # Errors
/// 400 for one that the user is not in, 401, 404.
pub async fn set_active(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.change("teamId", 100);
    let named = NamedTenant::in_fields(&mut fields);
    fields.finish()?;
    let acting = authorize_member(&call.context, &named).await?;
    let context = &call.context;
    let hash = &acting.authenticated.hash;
    let group = match &id {
        Change::Set(id) => Some(groups::load_visible_group(&call.context, &acting, id).await?),
        Change::Keep | Change::Clear => None,
    };
    if group.as_ref().is_some_and(|group| group.mine.is_none()) {
        return Err(Error::refused(Wire::NO_TEAM_MEMBER, "not in it"));
    }
    let group_id = group.as_ref().map(|group| &group.id);
    let statement = store::tenant::set_active(context, hash, Some(acting.tenant()), group_id);
    let cookies = commit_and_refresh(context, &acting.authenticated, vec![statement]).await?;
    Ok(Reply::json(200, &group.as_ref().map_or(Value::Null, groups::group_json))?.with_cookies(cookies))
}
