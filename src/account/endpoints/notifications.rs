//! What users are told where they are signed in, and what they did.

use serde_json::{Value, json};

use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::platform::time::iso;
use crate::records;
use crate::records::store::notification::{NotificationRecord, RecordedDeed};
use crate::session::call::Call;
use crate::session::proof;
use crate::tenants::listing::{bounded_parameter, invalid_parameter};

/// The most of a page.
const MOST_LISTED: i64 = 100;

fn page(call: &Call) -> Result<(i64, i64)> {
    Ok((
        bounded_parameter(&call.request, "limit", 20, (1, MOST_LISTED))?,
        bounded_parameter(&call.request, "offset", 0, (0, 1_000_000_000))?,
    ))
}

fn json_of(one: &NotificationRecord) -> Value {
    json!({
        "id": one.id, "organizationId": one.tenant_id, "kind": one.kind, "message": one.message, "details": one.details,
        "read": one.read_at.is_some(), "readAt": one.read_at.map(iso), "createdAt": iso(one.created_at),
    })
}

/// `GET /notifications`: a page of them, the newest first; with `unread=true`, those not read.
///
/// # Errors
/// 400 for what is out of bounds, 401.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let page = page(call)?;
    let unread = match call.request.param("unread").as_deref() {
        None | Some("" | "false") => false,
        Some("true") => true,
        Some(_) => return Err(invalid_parameter("unread", "true or false")),
    };
    let (tenant, hash) = (call.context.tenant().id.clone(), call.presented()?.hash);
    let statements = vec![
        records::store::notification::list(&tenant, &hash, unread, page),
        records::store::notification::unread(&tenant, &hash),
    ];
    let (authenticated, mut answers) = call.confirmed(statements).await?;
    let listed: Vec<NotificationRecord> = answers.rows()?;
    let count: Option<i64> = answers.row()?;
    let notifications: Vec<Value> = listed.iter().map(json_of).collect();
    let body = json!({ "notifications": notifications, "unread": count.unwrap_or(0) });
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies))
}

/// `POST /notifications/read`: the one of `id`, or all. One that is not the user's is the same answer.
///
/// # Errors
/// 400, 401.
pub async fn read(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.optional("id", 100);
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    // What was done to them is theirs to read, and to put away.
    proof::refuse_impersonator(&authenticated)?;
    let context = &call.context;
    let statement = records::store::notification::read(context, &authenticated.session.user.id, id.as_deref());
    context.db()?.batch([statement]).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(authenticated.cookies))
}

/// `POST /notifications/delete`.
///
/// # Errors
/// 400, 401.
pub async fn delete(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.line("id", 100);
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    // What was done to them is theirs to read, and to put away.
    proof::refuse_impersonator(&authenticated)?;
    call.context.db()?.batch([records::store::notification::delete(&authenticated.session.user.id, &id)]).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(authenticated.cookies))
}

/// `GET /activity`: what the user did, the newest first.
///
/// # Errors
/// 400 for what is out of bounds, 401.
pub async fn activity(call: &mut Call) -> Result<Reply> {
    let page = page(call)?;
    let (tenant, hash) = (call.context.tenant().id.clone(), call.presented()?.hash);
    let (authenticated, mut answers) =
        call.confirmed(vec![records::store::notification::deeds(&tenant, &hash, page)]).await?;
    let deeds: Vec<RecordedDeed> = answers.rows()?;
    let shown = deeds.iter().map(|deed| {
        json!({
            "id": deed.id, "action": deed.action, "details": deed.details, "subject": deed.subject,
            "ipAddress": deed.ip_address, "userAgent": deed.user_agent, "createdAt": iso(deed.created_at),
        })
    });
    let shown: Vec<Value> = shown.collect();
    Ok(Reply::json(200, &json!({ "activity": shown }))?.with_cookies(authenticated.cookies))
}
