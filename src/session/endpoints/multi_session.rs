//! Several accounts in one browser. Their session tokens stand in one further cookie, each signed like the session
//! cookie's; which of them still hold is D1's to say.

use serde_json::{Value, json};

use crate::http::cookie::Cookie;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Session};
use crate::request::context::Context;
use crate::request::origins;
use crate::session::authenticate::{forget, remember, session_cookie, snapshot_cookie};
use crate::session::call::Call;
use crate::session::live_session::LiveSession;
use crate::session::multi_session::Account;
use crate::session::open::cleared;
use crate::session::store::session::Which;
use crate::session::{multi_session, store};

fn shown(session: &LiveSession) -> Value {
    json!({ "session": session.session_json(), "user": session.user_json() })
}

/// `GET /multi-session/list-device-sessions`.
///
/// # Errors
/// 404 where several accounts are not wanted; 503.
pub async fn list(call: &mut Call) -> Result<Reply> {
    origins::open_way(call.context.config.multi_session)?;
    let accounts = multi_session::accounts(&call.context).await?;
    let body: Vec<Value> = accounts.iter().map(|account| shown(&account.session)).collect();
    Reply::json(200, &body)
}

async fn handle(call: &mut Call) -> Result<String> {
    origins::open_way(call.context.config.multi_session)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let handle = fields.required("sessionToken", 100);
    fields.finish()?;
    Ok(handle)
}

fn unknown() -> Error {
    Error::refused(Wire::INVALID_SESSION_TOKEN, "no session of this browser")
}

/// `POST /multi-session/set-active`.
///
/// # Errors
/// 401 for a session that is not this browser's, or over; 404; 503.
pub async fn set_active(call: &mut Call) -> Result<Reply> {
    let handle = handle(call).await?;
    let context = &call.context;
    let accounts = multi_session::accounts(context).await?;
    let chosen = accounts.iter().find(|account| account.session.id.as_str() == handle).ok_or_else(unknown)?;
    Ok(Reply::json(200, &shown(&chosen.session))?
        .with_cookies(activated(context, chosen))
        .with_cookies(multi_session::cookies(context, accounts.iter().map(Account::kept))))
}

fn activated(context: &Context, account: &Account) -> Vec<String> {
    let hash = account.token.hash();
    remember(context, &hash, &account.session);
    let snapshot = snapshot_cookie(context, &hash, &account.session);
    // An old snapshot must not answer for the account before.
    let snapshot = snapshot.unwrap_or_else(|| Cookie::Snapshot.clear(context.is_secure));
    vec![session_cookie(context, &account.token, &account.session), snapshot]
}

/// `POST /multi-session/revoke`: ends one session of this browser. If it was the active one, another becomes active.
///
/// # Errors
/// 401 for a session that is not this browser's; 404; 503.
pub async fn revoke(call: &mut Call) -> Result<Reply> {
    let handle = handle(call).await?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let context = &call.context;
    let accounts = multi_session::accounts(context).await?;
    let ended = accounts.iter().find(|account| account.session.id.as_str() == handle).ok_or_else(unknown)?;
    let id: &Id<Session> = &ended.session.id;
    let revoke = store::session::revoke(context, &ended.session.user.id, Which::One(id), "revoked", None);
    let mut answers = context.db()?.batch([revoke]).await?;
    forget(context, store::session::revoked(&mut answers)?);
    let left: Vec<&Account> = accounts.iter().filter(|account| account.session.id != *id).collect();
    let mut cookies = multi_session::cookies(context, left.iter().map(|account| account.kept()));
    if *id == authenticated.session.id {
        match left.first() {
            Some(next) => cookies.extend(activated(context, next)),
            None => cookies.extend(cleared(context)),
        }
    } else {
        cookies.extend(authenticated.cookies);
    }
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(cookies))
}
