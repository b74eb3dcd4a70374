//! Sessions of other users: seen and ended by whoever looks after them.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::admin::store;
use crate::admin::store::PoolUser;
use crate::admin::users::{UserAdministrator, authorize_user_admin, load_user, user_field};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::platform::id::Id;
use crate::records::deliver::deliver_later;
use crate::records::store::audit::Severity;
use crate::session::authenticate::delete_session_copies;
use crate::session::call::Call;
use crate::session::protocol::SessionJson;
use crate::session::store::session::WhichSessions;
use crate::{request, session};

/// `POST /admin/list-user-sessions`.
///
/// # Errors
/// 401, 403, 404.
pub async fn sessions(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = user_field(&mut fields);
    fields.finish()?;
    let overseer = authorize_user_admin(&call.context, Action::ListUserSessions).await?;
    let context = &call.context;
    let target = load_user(context, &id).await?;
    let statement = session::store::session::list(&context.tenant().id, &target.person.id, context.now);
    let listed: Vec<session::store::session::ListedSession> = context.db()?.batch([statement]).await?.rows()?;
    let sessions: Vec<SessionJson<'_>> = listed.iter().map(session::store::session::ListedSession::json).collect();
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
    let overseer = authorize_user_admin(&call.context, Action::RevokeUserSessions).await?;
    let context = &call.context;
    if let Some(session) = Id::parse(&handle) {
        let target: Option<PoolUser> = context.db()?.first(store::find_by_session(context, &session)).await?;
        if let Some(target) = target {
            overseer.may_act_upon(&target, Action::RevokeUserSessions)?;
            end(call, &overseer, &target, WhichSessions::One(&session)).await?;
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
    let overseer = authorize_user_admin(&call.context, Action::RevokeUserSessions).await?;
    let target = load_user(&call.context, &id).await?;
    overseer.may_act_upon(&target, Action::RevokeUserSessions)?;
    end(call, &overseer, &target, WhichSessions::All).await?;
    overseer.acting.answer(&json!({ "success": true }))
}

async fn end(call: &Call, overseer: &UserAdministrator, target: &PoolUser, which: WhichSessions<'_>) -> Result<()> {
    let context = &call.context;
    let user = &target.person.id;
    let mut statements = vec![
        session::store::session::revoke(context, user, which, "revoked_by_administrator", None),
        session::store::permission::holds_still(&overseer.permit),
        session::store::permission::covers_still(&overseer.permit, &[], Some(user)),
        overseer.audited(context, user, "sessions.ended", (Severity::Medium, Value::Null))?,
    ];
    if matches!(which, WhichSessions::All) {
        statements.push(request::store::verification::forget(context, user));
    }
    let mut answers = context.db()?.batch(statements).await?;
    delete_session_copies(context, session::store::session::revoked(&mut answers)?);
    deliver_later(context);
    Ok(())
}
