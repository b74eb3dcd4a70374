//! Members of an organization and their roles.

use serde_json::{Value, json};

use crate::access::action::{Action, Permit};
use crate::http::email;
use crate::http::fields::Fields;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::must_change;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::Id;
use crate::platform::time::iso;
use crate::records::store::audit::Severity;
use crate::session;
use crate::session::api_key;
use crate::session::call::Call;
use crate::session::store::deed::Deed;
use crate::session::store::permission::Standing;
use crate::tenants::caller::{ActingMember, NamedTenant, authorize_member, commit_and_refresh, role_text, roles_field};
use crate::tenants::listing::{LONGEST_SEARCH, OPERATORS, match_place, time_parameter};
use crate::tenants::members::{MOST_LISTED, change_member_roles};
use crate::tenants::store::member::{ListedMember, MemberFilter, Page};
use crate::tenants::{caller, listing, members, store};

fn standing_json(standing: &Standing) -> Value {
    json!({
        "id": standing.member_id, "organizationId": standing.tenant.id, "userId": standing.user_id,
        "role": role_text(&standing.given), "createdAt": iso(standing.joined_at),
    })
}

/// A page by `limit`, `offset` and `sortDirection`.
///
/// # Errors
/// 400 for what is out of bounds.
pub fn page(call: &Call) -> Result<Page> {
    let descends = match call.request.param("sortDirection").as_deref() {
        None | Some("" | "asc") => false,
        Some("desc") => true,
        Some(_) => return Err(listing::invalid_parameter("sortDirection", "asc or desc")),
    };
    Ok(Page {
        limit: listing::bounded_parameter(&call.request, "limit", MOST_LISTED, (1, 1000))?,
        offset: listing::bounded_parameter(&call.request, "offset", 0, (0, 1_000_000_000))?,
        descends,
    })
}

fn filter(call: &Call) -> Result<MemberFilter> {
    let mut filter = MemberFilter::default();
    let Some(field) = call.request.param("filterField").filter(|field| !field.is_empty()) else {
        return Ok(filter);
    };
    let values = call.request.params("filterValue");
    let Some(first) = values.first() else {
        return Ok(filter);
    };
    let operator = call.request.param("filterOperator").unwrap_or_else(|| "eq".to_owned());
    if values.len() > 100 || values.iter().any(|value| value.chars().count() > LONGEST_SEARCH) {
        return Err(listing::invalid_parameter("filterValue", "at most 100 short texts"));
    }
    let (column, is_time) = match field.as_str() {
        "role" => ("role", false),
        "userId" | "user_id" => ("user_id", false),
        "id" | "_id" => ("id", false),
        "createdAt" => ("created_at", true),
        _ => return Err(listing::invalid_parameter("filterField", "id, role, userId or createdAt")),
    };
    filter.field = Some(column);
    let list = |values: &[String]| -> Result<String> {
        let value =
            |text: &String| if is_time { time_parameter(text).map(|time| json!(time)) } else { Ok(json!(text)) };
        Ok(Value::from(values.iter().map(value).collect::<Result<Vec<_>>>()?).to_string())
    };
    match (is_time, operator.as_str()) {
        (_, "eq") => filter.one_of = Some((list(&values[..1])?, true)),
        (_, "ne") => filter.one_of = Some((list(&values[..1])?, false)),
        (_, "in") => filter.one_of = Some((list(&values)?, true)),
        (_, "not_in") => filter.one_of = Some((list(&values)?, false)),
        (false, operator) => {
            let at = match_place(operator).ok_or_else(|| listing::invalid_parameter("filterOperator", OPERATORS))?;
            filter.like = Some((first.clone(), at));
        }
        (true, "gte") => filter.range.0 = Some(time_parameter(first)?),
        (true, "gt") => filter.range.0 = Some(time_parameter(first)?.saturating_add(1)),
        (true, "lt") => filter.range.1 = Some(time_parameter(first)?),
        (true, "lte") => filter.range.1 = Some(time_parameter(first)?.saturating_add(1)),
        _ => return Err(listing::invalid_parameter("filterOperator", OPERATORS)),
    }
    Ok(filter)
}

/// `GET /organization/list-members`: a page of them, in the order in which they joined.
///
/// # Errors
/// 400 for what is out of bounds, 401, 404.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let (page, filter) = (page(call)?, filter(call)?);
    if !matches!(call.request.param("sortBy").as_deref(), None | Some("" | "createdAt")) {
        return Err(listing::invalid_parameter("sortBy", "createdAt"));
    }
    let acting = authorize_member(&call.context, &NamedTenant::in_query(&call.request)).await?;
    members::sees_everybody(&acting)?;
    let tenant = acting.tenant();
    let statements = [store::member::list(tenant, &filter, page), store::member::count(tenant, &filter)];
    let mut answers = call.context.db()?.batch(statements).await?;
    let listed: Vec<ListedMember> = answers.rows()?;
    let total: Option<i64> = answers.row()?;
    let members: Vec<Value> = listed.iter().map(|member| members::member_json(tenant, member)).collect();
    acting.answer(&json!({ "members": members, "total": total.unwrap_or(0) }))
}

/// `GET /organization/get-active-member`.
///
/// # Errors
/// 400 where no organization is active, 401.
pub async fn active(call: &mut Call) -> Result<Reply> {
    let acting = authorize_member(&call.context, &NamedTenant::Active).await?;
    acting.reads("member")?;
    let (mut body, user) = (standing_json(&acting.standing), &acting.session().user);
    body["user"] = json!({ "id": user.id, "name": user.name, "email": user.email, "image": user.image });
    acting.answer(&body)
}

/// `GET /organization/get-active-member-role`: one's own role, or another member's.
///
/// # Errors
/// 400, 401, 403 where the other is no member, 404.
pub async fn active_role(call: &mut Call) -> Result<Reply> {
    let acting = authorize_member(&call.context, &NamedTenant::in_query(&call.request)).await?;
    acting.reads("member")?;
    let Some(user) = call.request.param("userId").filter(|user| !user.is_empty()) else {
        let role = role_text(&acting.standing.given);
        return acting.answer(&json!({ "role": role }));
    };
    if user != acting.standing.user_id.as_str() {
        members::sees_everybody(&acting)?;
    }
    let missing = || Error::refused(Wire::MEMBER_NOT_FOUND, "no member");
    let user = Id::parse(&user).ok_or_else(missing)?;
    let other: Option<Standing> =
        call.context.db()?.first(session::store::permission::standing_of(acting.tenant(), &user)).await?;
    let role = role_text(&other.ok_or_else(missing)?.given);
    acting.answer(&json!({ "role": role }))
}

fn member_field(fields: &mut Fields, name: &str) -> String {
    fields.line(name, email::LONGEST)
}

/// `POST /organization/update-member-role`: all roles of a member anew.
///
/// # Errors
/// 400 for a role that is not there or the last owner, 401, 403 for roles that the actor does not hold, 404.
pub async fn update_role(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::in_fields(&mut fields);
    let roles = roles_field(&mut fields);
    let member = member_field(&mut fields, "memberId");
    fields.finish()?;
    let changed = change_member_roles(&call.context, &named, &member, &roles).await?;
    let body = members::member_json(changed.acting.tenant(), &changed.member);
    changed.acting.answer(&body)
}

/// `POST /organization/remove-member`: by the membership's id, or the member's address.
///
/// # Errors
/// 400 for the last owner, 401, 403, 404.
pub async fn remove(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::in_fields(&mut fields);
    let whom = member_field(&mut fields, "memberIdOrEmail");
    fields.finish()?;
    let acting = authorize_member(&call.context, &named).await?;
    let tenant = acting.tenant();
    let statement = match (email::normalise(&whom), Id::parse(&whom)) {
        (Some(address), _) => session::store::permission::standing_of_email(tenant, &address),
        (None, Some(id)) => session::store::permission::standing_of_member(tenant, &id),
        (None, None) => return Err(Error::refused(Wire::MEMBER_NOT_FOUND, "neither an id nor an address")),
    };
    let target = members::load_member_standing(&call.context, statement).await?;
    // Everybody may take themselves out.
    // Not by a key: taking its maker out is nothing that it was made for.
    let is_oneself = target.user_id == acting.standing.user_id && acting.session().login_method != api_key::METHOD;
    let permit = if is_oneself {
        caller::is_oneself(&acting)
    } else {
        acting.outranks(&target.permissions, Wire::NOT_ALLOWED_TO_DELETE_MEMBER)?;
        acting.permit(Action::RemoveMember)?
    };
    let cookies = take_out(call, &acting, &permit, &target, "member.removed").await?;
    Ok(Reply::json(200, &json!({ "member": standing_json(&target) }))?.with_cookies(cookies))
}

async fn take_out(
    call: &Call,
    acting: &ActingMember,
    permit: &Permit,
    target: &Standing,
    event: &str,
) -> Result<Vec<String>> {
    let context = &call.context;
    let deed = Deed {
        event,
        severity: Severity::Medium,
        subject: Some(&target.user_id),
        details: json!({ "roles": target.given }),
    };
    let mut statements = vec![
        session::store::permission::holds_still(permit),
        session::store::permission::covers_still(permit, &[], Some(&target.user_id)),
        store::member::keeps_owner(acting.tenant(), &target.user_id, &[]),
        store::member::remove(permit, &target.member_id),
        must_change(),
        store::member::forget_active(acting.tenant(), &target.user_id),
    ];
    statements.push(acting.audited_of(context, &deed)?);
    if target.user_id != acting.standing.user_id {
        let message = format!("You are no member of {} any more.", acting.standing.tenant.name);
        statements.push(acting.tells(context, &target.user_id, event, &message)?);
    }
    let done = commit_and_refresh(context, &acting.authenticated, statements).await;
    done.map_err(|error| members::refuse_ownerless(error, Wire::ONLY_OWNER))
}

/// `POST /organization/leave`.
///
/// # Errors
/// 400 for the last owner, 401, 404.
pub async fn leave(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let named = NamedTenant::by(Some(fields.required("organizationId", 100)), None);
    fields.finish()?;
    let acting = authorize_member(&call.context, &named).await?;
    let cookies = take_out(call, &acting, &caller::is_oneself(&acting), &acting.standing, "member.left").await?;
    Ok(Reply::json(200, &standing_json(&acting.standing))?.with_cookies(cookies))
}
