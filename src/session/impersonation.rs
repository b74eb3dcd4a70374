//! Administrators who act in a user's name: setting their own session aside, and what they may do.

use crate::access::action::{Action, Permit};
use crate::http::cookie::Cookie;
use crate::platform::error::Result;
use crate::platform::secret::{SessionToken, Token};
use crate::request::context::Context;
use crate::session::authenticate::delete_session_copies;
use crate::session::live_session::{LiveSession, read_cookie};
use crate::session::store;
use crate::session::store::permission::Standing;

/// The administrator's own session, put aside while they act as somebody.
pub fn set_session_aside(context: &Context) -> Option<Token<SessionToken>> {
    context.cookie(Cookie::Administrator).and_then(|value| read_cookie(&context.config.keyring, &value))
}

/// Ends the administrator's own session along with that in which they act as somebody: signed out is signed out. The
/// `Set-Cookie` line that goes with it.
///
/// # Errors
/// 503.
pub async fn end_session_aside(context: &Context) -> Result<Option<String>> {
    let Some(token) = set_session_aside(context) else {
        return Ok(None);
    };
    let hash = token.hash();
    context.db()?.batch([store::session::end(context, &hash, "signed_out")]).await?;
    delete_session_copies(context, vec![hash]);
    Ok(Some(Cookie::Administrator.clear(context.is_secure)))
}

/// In a session of somebody's that an administrator opened: what lets them do there what they may do to users by themselves.
/// Acting as a user gives nobody more than that. None in a session of one's own.
///
/// # Errors
/// The action's refusal; 503.
pub async fn require_own_permission(
    context: &Context,
    session: &LiveSession,
    action: Action,
) -> Result<Option<Permit>> {
    let Some(administrator) = &session.impersonated_by else {
        return Ok(None);
    };
    let tenant = &context.tenant().id;
    let standing: Option<Standing> = context.db()?.first(store::permission::standing_of(tenant, administrator)).await?;
    let held = standing.map(|standing| standing.permissions).unwrap_or_default();
    Permit::of(&held, action, tenant, administrator).map(Some)
}
