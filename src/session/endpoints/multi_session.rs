//! Several accounts in one browser. Their session tokens stand in one further cookie, each signed like the session
//! cookie's; which of them still hold is D1's to say.

use serde_json::{Value, json};

use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::request::origins;
use crate::session::call::Call;
use crate::session::live_session::LiveSession;
use crate::session::multi_session;
use crate::session::multi_session::BrowserAccount;

fn shown(session: &LiveSession) -> Value {
    json!({ "session": session.session_json(), "user": session.user_json() })
}

/// `GET /multi-session/list-device-sessions`.
///
/// # Errors
/// 404 where several accounts are not wanted; 503.
pub async fn list(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.multi_session)?;
    let accounts = multi_session::load_accounts(&call.context).await?;
    let body: Vec<Value> = accounts.iter().map(|account| shown(&account.session)).collect();
    Reply::json(200, &body)
}

async fn handle(call: &mut Call) -> Result<String> {
    origins::require_open_way(call.context.config.multi_session)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let handle = fields.required("sessionToken", 100);
    fields.finish()?;
    Ok(handle)
}

/// `POST /multi-session/set-active`.
///
/// # Errors
/// 401 for a session that is not this browser's, or over; 404; 503.
pub async fn set_active(call: &mut Call) -> Result<Reply> {
    let handle = handle(call).await?;
    let context = &call.context;
    let accounts = multi_session::load_accounts(context).await?;
    let chosen = accounts
        .iter()
        .find(|account| account.session.id.as_str() == handle)
        .ok_or_else(multi_session::unknown_session)?;
    Ok(Reply::json(200, &shown(&chosen.session))?
        .with_cookies(multi_session::cookies_of_active(context, chosen))
        .with_cookies(multi_session::account_cookies(context, accounts.iter().map(BrowserAccount::kept))))
}

/// `POST /multi-session/revoke`: ends one session of this browser. If it was the active one, another becomes active.
///
/// # Errors
/// 401 for a session that is not this browser's; 404; 503.
pub async fn revoke(call: &mut Call) -> Result<Reply> {
    let handle = handle(call).await?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let cookies = multi_session::end_account(&call.context, authenticated, &handle).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(cookies))
}
