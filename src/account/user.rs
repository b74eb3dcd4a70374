//! The session of a user whose data has just changed.

use crate::http::cookie::Cookie;
use crate::platform::error::Result;
use crate::request::context::Context;
use crate::session;
use crate::session::authenticate::{Authenticated, judge_session, snapshot_cookie, write_session_copy};
use crate::session::live_session::JudgedSession;

/// The session as D1 has it now, for the answer that changed its user: the copies say so at once, and other sessions
/// follow at their next recheck. Its `Set-Cookie` lines; of two cookies of one name a browser keeps the later.
///
/// # Errors
/// 503.
pub async fn refresh_session_copy(context: &Context, authenticated: &Authenticated) -> Result<Vec<String>> {
    let record = session::store::session::find(context.db()?, &context.tenant().id, &authenticated.hash).await?;
    let mut cookies = authenticated.cookies.clone();
    if let Some(Ok(JudgedSession { session, .. })) = record.map(|record| judge_session(context, record)) {
        write_session_copy(context, &authenticated.hash, &session);
        let snapshot = snapshot_cookie(context, &authenticated.hash, &session);
        cookies.push(snapshot.unwrap_or_else(|| Cookie::Snapshot.clear(context.is_secure)));
    }
    Ok(cookies)
}
