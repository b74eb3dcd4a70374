//! Administrators who act as a user: beginning, and going back.

use serde_json::json;

use crate::access::action::Action;
use crate::admin::users::{authorize_user_admin, load_user};
use crate::http::cookie::Cookie;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::secret;
use crate::platform::secret::{SessionToken, Token};
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session;
use crate::session::authenticate;
use crate::session::authenticate::{judge_session, session_cookie, snapshot_cookie, write_session_copy};
use crate::session::live_session::{LiveSession, SessionRecord, cookie_value};
use crate::session::open::Opened;

/// How long an impersonation lasts at most, in seconds.
const LONGEST: i64 = 3600;

/// Opens a session of a user's that names its administrator, whose own session is set aside.
///
/// # Errors
/// 401, 403 for a user who is suspended, who administers, or whom the administrator may not act upon; 404; 503.
pub async fn begin_impersonation(context: &Context, id: &str) -> Result<Opened> {
    let overseer = authorize_user_admin(context, Action::ImpersonateUser).await?;
    let target = load_user(context, id).await?;
    let own = authenticate::require_ticket(context)?.into_token();
    if target.roles.iter().any(|role| role == "owner" || role == "admin") {
        overseer.acting.permit(Action::ImpersonateAdministrator)?;
    }
    if target.person.id == overseer.acting.standing.user_id {
        return Err(Error::refused(Wire::CANNOT_IMPERSONATE_ADMINS, "oneself"));
    }
    overseer.may_act_upon(&target, Action::ImpersonateUser)?;
    let (token, session_id) = (Token::new(context.random()?), context.id()?);
    let hash = token.hash();
    let user = &target.person.id;
    let statements = [
        session::store::permission::holds_still(&overseer.permit),
        session::store::permission::covers_still(&overseer.permit, &[], Some(user)),
        session::store::session::impersonate(context, &overseer.permit, user, (&session_id, &hash), LONGEST),
        overseer.audited(context, user, "impersonation.begun", (Severity::High, json!({ "session": session_id })))?,
        session::store::session::load(&context.tenant().id, &hash),
    ];
    let record: Option<SessionRecord> = context.db()?.batch(statements).await?.last()?;
    let judged = record.map(|record| judge_session(context, record));
    let Some(Ok(judged)) = judged else {
        // Nobody has it: it does not stay behind.
        context.db()?.batch([session::store::session::discard(&context.tenant().id, &hash)]).await?;
        return Err(Error::refused(Wire::BANNED_USER, "the user may not sign in"));
    };
    let session = judged.session;
    write_session_copy(context, &hash, &session);
    let aside = cookie_value(&context.config.keyring, &own);
    // Nothing that outlives the browser opens a session that does not.
    let remembered = overseer.acting.session().is_remembered;
    let mut cookies = vec![
        session_cookie(context, &token, &session),
        Cookie::Administrator.set(context.is_secure, &aside, remembered.then_some(LONGEST)),
    ];
    cookies.push(snapshot_or_clearing(context, &hash, &session));
    Ok(Opened { session, cookies })
}

/// The snapshot's `Set-Cookie` line, or the one that takes the former session's back.
#[must_use]
pub fn snapshot_or_clearing(
    context: &Context,
    hash: &secret::TokenHash<SessionToken>,
    session: &LiveSession,
) -> String {
    snapshot_cookie(context, hash, session).unwrap_or_else(|| Cookie::Snapshot.clear(context.is_secure))
}
