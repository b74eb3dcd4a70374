//! Sessions of other users: seen and ended by whoever looks after them.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::error::Result;
use crate::handlers::Call;
use crate::handlers::admin::users::{Overseer, found, overseer, user_field};
use crate::handlers::authenticate::forget;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::id::Id;
use crate::jobs::outbox::deliver_later;
use crate::session::SessionJson;
use crate::store;
use crate::store::people::Record;
use crate::store::record::Severity;
use crate::store::session::Which;

/// `POST /admin/list-user-sessions`.
///
/// # Errors
/// 401, 403, 404.
pub async fn sessions(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = user_field(&mut fields);
    fields.finish()?;
    let overseer = overseer(call, Action::ListUserSessions).await?;
    let context = &call.context;
    let target = found(context, &id).await?;
    let statement = store::session::list(&context.tenant().id, &target.person.id, context.now);
    let listed: Vec<store::session::Listed> = context.db()?.batch([statement]).await?.rows()?;
    let sessions: Vec<SessionJson<'_>> = listed.iter().map(store::session::Listed::json).collect();
    overseer.acting.answer(&json!({ "sessions": sessions }))
}

/// `POST /admin/revoke-user-session`: by its handle. One that is nobody's, or over, is the same answer.
///
/// # Errors
/// 401, 403.
pub async fn revoke_session(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let handle = fields.required("sessionToken", 100);
    fields.finish()?;
    let overseer = overseer(call, Action::RevokeUserSessions).await?;
    let context = &call.context;
    if let Some(session) = Id::parse(&handle) {
        let target: Option<Record> = context.db()?.first(store::people::find_by_session(context, &session)).await?;
        if let Some(target) = target {
            overseer.may_act_upon(&target, Action::RevokeUserSessions)?;
            end(call, &overseer, &target, Which::One(&session)).await?;
        }
    }
    overseer.acting.answer(&json!({ "success": true }))
}

/// `POST /admin/revoke-user-sessions`.
///
/// # Errors
/// 401, 403, 404.
pub async fn revoke_sessions(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = user_field(&mut fields);
    fields.finish()?;
    let overseer = overseer(call, Action::RevokeUserSessions).await?;
    let target = found(&call.context, &id).await?;
    overseer.may_act_upon(&target, Action::RevokeUserSessions)?;
    end(call, &overseer, &target, Which::All).await?;
    overseer.acting.answer(&json!({ "success": true }))
}

async fn end(call: &Call, overseer: &Overseer, target: &Record, which: Which<'_>) -> Result<()> {
    let context = &call.context;
    let user = &target.person.id;
    let mut statements = vec![
        store::session::revoke(context, user, which, "revoked_by_administrator", None),
        store::access::holds_still(&overseer.permit),
        store::access::covers_still(&overseer.permit, &[], Some(user)),
        overseer.audited(context, user, "sessions.ended", (Severity::Medium, Value::Null))?,
    ];
    if matches!(which, Which::All) {
        statements.push(store::verification::forget(context, user));
    }
    let mut answers = context.db()?.batch(statements).await?;
    forget(context, store::session::revoked(&mut answers)?);
    deliver_later(context);
    Ok(())
}
