//! An administrator who acts as a user: for an hour, without changing how that user signs in, and never unseen.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::handlers::Call;
use crate::handlers::admin::users::{found, overseer};
use crate::handlers::authenticate::{forget, judge, remember, session_cookie, snapshot_cookie};
use crate::http::cookie::Cookie;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::jobs::outbox::deliver_later;
use crate::secret::{SessionToken, Token};
use crate::session::{LiveSession, Record, cookie_value, read_cookie};
use crate::store;
use crate::store::record::{Deed, Severity};
use crate::store::session::Which;

/// How long an impersonation lasts at most, in seconds.
const LONGEST: i64 = 3600;

fn body(session: &LiveSession) -> Value {
    json!({ "session": session.session_json(), "user": session.user_json() })
}

/// The administrator's own session, put aside while they act as somebody.
fn put_aside(context: &Context) -> Option<Token<SessionToken>> {
    context.cookie(Cookie::Administrator).and_then(|value| read_cookie(&context.config.keyring, &value))
}

/// `POST /admin/impersonate-user`: a session of the user's, which names its administrator.
///
/// # Errors
/// 401, 403 for a user who is suspended, who administers, or whom the administrator may not act upon; 404.
pub async fn begin(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.line("userId", 100);
    fields.finish()?;
    let overseer = overseer(call, Action::ImpersonateUser).await?;
    let context = &call.context;
    let target = found(context, &id).await?;
    let own = call.presented()?.into_token();
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
        store::access::holds_still(&overseer.permit),
        store::access::covers_still(&overseer.permit, &[], Some(user)),
        store::session::impersonate(context, &overseer.permit, user, (&session_id, &hash), LONGEST),
        overseer.audited(context, user, "impersonation.begun", (Severity::High, json!({ "session": session_id })))?,
        store::session::load(&context.tenant().id, &hash),
    ];
    let record: Option<Record> = context.db()?.batch(statements).await?.last()?;
    let judged = record.map(|record| judge(context, record));
    let Some(Ok(judged)) = judged else {
        // Nobody has it: it does not stay behind.
        context.db()?.batch([store::session::discard(&context.tenant().id, &hash)]).await?;
        return Err(Error::refused(Wire::BANNED_USER, "the user may not sign in"));
    };
    let session = judged.session;
    remember(context, &hash, &session);
    let aside = cookie_value(&context.config.keyring, &own);
    // Nothing that outlives the browser opens a session that does not.
    let remembered = overseer.acting.session().is_remembered;
    let mut cookies = vec![
        session_cookie(context, &token, &session),
        Cookie::Administrator.set(context.is_secure, &aside, remembered.then_some(LONGEST)),
    ];
    cookies.push(snapshot(context, &hash, &session));
    Ok(Reply::json(200, &body(&session))?.with_cookies(cookies))
}

/// The snapshot's line, or the one that takes the former session's back.
fn snapshot(context: &Context, hash: &crate::secret::TokenHash<SessionToken>, session: &LiveSession) -> String {
    snapshot_cookie(context, hash, session).unwrap_or_else(|| Cookie::Snapshot.clear(context.is_secure))
}

/// `POST /admin/stop-impersonating`: ends that session, and goes back to the administrator's own.
///
/// # Errors
/// 400 for whoever impersonates nobody, 401 where the administrator's own session is over.
pub async fn stop(call: &mut Call) -> Result<Reply> {
    call.request.fields(Media::Json).await?.finish()?;
    let context = &call.context;
    let aside = put_aside(context);
    let mut more = Vec::new();
    if let Some(token) = &aside {
        more.push(store::session::load(&context.tenant().id, &token.hash()));
    }
    let (authenticated, mut answers) = call.confirmed(more).await?;
    let session = &authenticated.session;
    let Some(administrator) = &session.impersonated_by else {
        return Err(Error::refused(Wire::NOT_IMPERSONATING, "a session of one's own"));
    };
    let own: Option<Record> = if aside.is_some() { answers.row()? } else { None };
    let own = own.and_then(|record| judge(context, record).ok()).map(|judged| judged.session);
    // A cookie from elsewhere must not sign anybody in: only whoever began this goes back.
    let own = own.filter(|own| own.user.id == *administrator && own.impersonated_by.is_none());
    let deed = Deed {
        event: "impersonation.ended",
        severity: Severity::Medium,
        subject: Some(&session.user.id),
        details: json!({ "session": session.id }),
    };
    let statements = [
        store::session::revoke(context, &session.user.id, Which::One(&session.id), "impersonation_ended", None),
        store::record::deed(context, &context.tenant().id, session, &deed)?,
    ];
    let mut answers = context.db()?.batch(statements).await?;
    forget(context, store::session::revoked(&mut answers)?);
    deliver_later(context);
    let gone = Cookie::Administrator.clear(context.is_secure);
    let (Some(own), Some(token)) = (own, aside) else {
        let error = Error::refused(Wire::UNAUTHORIZED, "the administrator's own session is over");
        context.log(call.request.path(), &error);
        let mut cookies = Vec::from(crate::handlers::opening::cleared(context));
        cookies.push(gone);
        return Ok(crate::handlers::errors::json(&error)?.with_cookies(cookies));
    };
    let hash = token.hash();
    let cookies = vec![session_cookie(context, &token, &own), snapshot(context, &hash, &own), gone];
    Ok(Reply::json(200, &body(&own))?.with_cookies(cookies))
}

/// Ends the administrator's own session along with that in which they act as somebody: signed out is signed out. The
/// `Set-Cookie` line that goes with it.
///
/// # Errors
/// 503.
pub async fn end_aside(context: &Context) -> Result<Option<String>> {
    let Some(token) = put_aside(context) else {
        return Ok(None);
    };
    let hash = token.hash();
    context.db()?.batch([store::session::end(context, &hash, "signed_out")]).await?;
    forget(context, vec![hash]);
    Ok(Some(Cookie::Administrator.clear(context.is_secure)))
}
