//! The `Set-Cookie` lines that take the cookies of a session back.

use crate::http::cookie::Cookie;
use crate::request::context::Context;
use crate::session::live_session::Rejection;

/// `Set-Cookie` lines that take a session's cookies back.
#[must_use]
pub fn clear_session_cookies(context: &Context) -> [String; 2] {
    [Cookie::Session, Cookie::Snapshot].map(|cookie| cookie.clear(context.is_secure))
}

/// The same for a session that was rejected: not for where it was presented, since it holds elsewhere.
#[must_use]
pub fn cookies_after_rejection(context: &Context, rejection: Rejection) -> Vec<String> {
    match rejection {
        Rejection::Address(_) => Vec::new(),
        _ => clear_session_cookies(context).into(),
    }
}
