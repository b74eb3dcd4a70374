//! `/admin/list-users`: searched, filtered, sorted, a page at a time.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::admin::store::{Order, PoolUser, UserFilter};
use crate::admin::users::authorize_user_admin;
use crate::admin::{store, users};
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result};
use crate::session::call::Call;
use crate::tenants::listing;
use crate::tenants::listing::{LONGEST_SEARCH, OPERATORS, bounded_parameter, invalid_parameter};

/// The most users of a page.
const MOST_LISTED: i64 = 1000;

/// What a filter compares.
enum FilterKind {
    Text,
    Flag,
    Time,
}

/// A field's column, and what is in it.
fn column(field: &str) -> Option<(&'static str, FilterKind)> {
    Some(match field {
        "id" | "_id" => ("id", FilterKind::Text),
        "email" => ("email", FilterKind::Text),
        "name" => ("name", FilterKind::Text),
        "username" => ("username", FilterKind::Text),
        "status" => ("status", FilterKind::Text),
        "emailVerified" => ("email_verified", FilterKind::Flag),
        "isAnonymous" => ("is_anonymous", FilterKind::Flag),
        "banned" => ("banned", FilterKind::Flag),
        "createdAt" => ("created_at", FilterKind::Time),
        "updatedAt" => ("updated_at", FilterKind::Time),
        "lastLoginAt" => ("last_login_at", FilterKind::Time),
        _ => return None,
    })
}

/// Reads what is wanted.
///
/// # Errors
/// 400 naming the parameter.
fn wanted(call: &Call) -> Result<UserFilter> {
    let param = |name: &str| call.request.param(name).filter(|text| !text.is_empty());
    let mut wanted = UserFilter::default();
    let field = match param("searchField").as_deref() {
        None | Some("email") => false,
        Some("name") => true,
        Some(_) => return Err(invalid_parameter("searchField", "email or name")),
    };
    let operator = param("searchOperator").unwrap_or_else(|| "contains".to_owned());
    let at = listing::match_place(&operator)
        .ok_or_else(|| invalid_parameter("searchOperator", "contains, starts_with or ends_with"))?;
    if let Some(text) = param("searchValue") {
        if text.chars().count() > LONGEST_SEARCH {
            return Err(Error::Validation(format!(
                "[query.searchValue] Too big: expected string to have <={LONGEST_SEARCH} characters"
            )));
        }
        wanted.search = Some((text, at, field));
    }
    let Some(field) = param("filterField") else {
        return Ok(wanted);
    };
    let values = call.request.params("filterValue");
    let Some(first) = values.first() else {
        return Ok(wanted);
    };
    let operator = param("filterOperator").unwrap_or_else(|| "eq".to_owned());
    if values.len() > 100 || values.iter().any(|value| value.chars().count() > LONGEST_SEARCH) {
        return Err(invalid_parameter("filterValue", "at most 100 short texts"));
    }
    if field == "role" {
        return match operator.as_str() {
            "eq" => Ok(UserFilter { role: Some((json!([first]).to_string(), true)), ..wanted }),
            "ne" => Ok(UserFilter { role: Some((json!([first]).to_string(), false)), ..wanted }),
            "in" => Ok(UserFilter { role: Some((json!(values).to_string(), true)), ..wanted }),
            "not_in" => Ok(UserFilter { role: Some((json!(values).to_string(), false)), ..wanted }),
            operator => {
                let at = listing::match_place(operator)
                    .ok_or_else(|| invalid_parameter("filterOperator", "one that a role has"))?;
                Ok(UserFilter { column: Some("role"), like: Some((first.clone(), at)), ..wanted })
            }
        };
    }
    let (column, kind) = column(&field).ok_or_else(|| invalid_parameter("filterField", "a field of users"))?;
    wanted.column = Some(column);
    let list = |values: &[String]| -> Result<String> {
        let values: Vec<Value> = match kind {
            FilterKind::Text => values.iter().map(|value| json!(value)).collect(),
            FilterKind::Flag => values.iter().map(|value| flag(value)).collect::<Result<_>>()?,
            FilterKind::Time => values
                .iter()
                .map(|value| listing::time_parameter(value).map(|time| json!(time)))
                .collect::<Result<_>>()?,
        };
        Ok(json!(values).to_string())
    };
    match (&kind, operator.as_str()) {
        (_, "eq") => wanted.one_of = Some((list(&values[..1])?, true)),
        (_, "ne") => wanted.one_of = Some((list(&values[..1])?, false)),
        (_, "in") => wanted.one_of = Some((list(&values)?, true)),
        (_, "not_in") => wanted.one_of = Some((list(&values)?, false)),
        (FilterKind::Text, operator) => {
            let at = listing::match_place(operator).ok_or_else(|| invalid_parameter("filterOperator", OPERATORS))?;
            wanted.like = Some((first.clone(), at));
        }
        (FilterKind::Time, "gte") => wanted.range.0 = Some(listing::time_parameter(first)?),
        (FilterKind::Time, "gt") => wanted.range.0 = Some(listing::time_parameter(first)?.saturating_add(1)),
        (FilterKind::Time, "lt") => wanted.range.1 = Some(listing::time_parameter(first)?),
        (FilterKind::Time, "lte") => wanted.range.1 = Some(listing::time_parameter(first)?.saturating_add(1)),
        _ => return Err(invalid_parameter("filterOperator", OPERATORS)),
    }
    Ok(wanted)
}

fn flag(text: &str) -> Result<Value> {
    match text {
        "true" | "1" => Ok(json!(1)),
        "false" | "0" => Ok(json!(0)),
        _ => Err(invalid_parameter("filterValue", "true or false")),
    }
}

/// `GET /admin/list-users`.
///
/// # Errors
/// 400 for what is out of bounds, 401, 403.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let wanted = wanted(call)?;
    let order = match call.request.param("sortBy").filter(|by| !by.is_empty()).as_deref() {
        None | Some("createdAt") => Order::CreatedAt,
        Some(field) => Order::By(column(field).ok_or_else(|| invalid_parameter("sortBy", "a field of users"))?.0),
    };
    let descends = match call.request.param("sortDirection").as_deref() {
        None | Some("" | "asc") => false,
        Some("desc") => true,
        Some(_) => return Err(invalid_parameter("sortDirection", "asc or desc")),
    };
    let limit = bounded_parameter(&call.request, "limit", 100, (0, MOST_LISTED))?;
    let offset = bounded_parameter(&call.request, "offset", 0, (0, 1_000_000_000))?;
    let overseer = authorize_user_admin(&call.context, Action::ListUsers).await?;
    let context = &call.context;
    let page = (if limit == 0 { 100 } else { limit }, offset);
    let statements = [store::list(context, &wanted, (order, descends), page), store::count(context, &wanted)];
    let mut answers = context.db()?.batch(statements).await?;
    let listed: Vec<PoolUser> = answers.rows()?;
    let total: Option<i64> = answers.row()?;
    let users: Vec<Value> = listed.iter().map(|record| users::user_json(record, context.now)).collect();
    let mut body = json!({ "users": users, "total": total.unwrap_or(0), "limit": page.0 });
    if offset > 0 {
        body["offset"] = json!(offset);
    }
    overseer.acting.answer(&body)
}
