//! An administrator who acts as a user: for an hour, without changing how that user signs in, and never unseen.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::admin::users::{authorize_user_admin, load_user};
use crate::http::cookie::Cookie;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::secret;
use crate::platform::secret::{SessionToken, Token};
use crate::records::deliver::deliver_later;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::request::errors;
use crate::session;
use crate::session::authenticate::{
    delete_session_copies, judge_session, session_cookie, snapshot_cookie, write_session_copy,
};
use crate::session::call::Call;
use crate::session::live_session::{LiveSession, SessionRecord, cookie_value};
use crate::session::store::deed::Deed;
use crate::session::store::session::WhichSessions;
use crate::session::{cookies, impersonation};

/// How long an impersonation lasts at most, in seconds.
const LONGEST: i64 = 3600;

fn body(session: &LiveSession) -> Value {
    json!({ "session": session.session_json(), "user": session.user_json() })
}

/// `POST /admin/impersonate-user`: a session of the user's, which names its administrator.
///
/// # Errors
/// 401, 403 for a user who is suspended, who administers, or whom the administrator may not act upon; 404.
pub async fn begin(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.line("userId", 100);
    fields.finish()?;
    let overseer = authorize_user_admin(&call.context, Action::ImpersonateUser).await?;
    let context = &call.context;
    let target = load_user(context, &id).await?;
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
    cookies.push(snapshot(context, &hash, &session));
    Ok(Reply::json(200, &body(&session))?.with_cookies(cookies))
}

/// The snapshot's line, or the one that takes the former session's back.
fn snapshot(context: &Context, hash: &secret::TokenHash<SessionToken>, session: &LiveSession) -> String {
    snapshot_cookie(context, hash, session).unwrap_or_else(|| Cookie::Snapshot.clear(context.is_secure))
}

/// `POST /admin/stop-impersonating`: ends that session, and goes back to the administrator's own.
///
/// # Errors
/// 400 for whoever impersonates nobody, 401 where the administrator's own session is over.
pub async fn stop(call: &mut Call) -> Result<Reply> {
    call.request.fields(Media::Json).await?.finish()?;
    let context = &call.context;
    let aside = impersonation::set_session_aside(context);
    let mut more = Vec::new();
    if let Some(token) = &aside {
        more.push(session::store::session::load(&context.tenant().id, &token.hash()));
    }
    let (authenticated, mut answers) = call.confirmed(more).await?;
    let session = &authenticated.session;
    let Some(administrator) = &session.impersonated_by else {
        return Err(Error::refused(Wire::NOT_IMPERSONATING, "a session of one's own"));
    };
    let own: Option<SessionRecord> = if aside.is_some() { answers.row()? } else { None };
    let own = own.and_then(|record| judge_session(context, record).ok()).map(|judged| judged.session);
    // A cookie from elsewhere must not sign anybody in: only whoever began this goes back.
    let own = own.filter(|own| own.user.id == *administrator && own.impersonated_by.is_none());
    let deed = Deed {
        event: "impersonation.ended",
        severity: Severity::Medium,
        subject: Some(&session.user.id),
        details: json!({ "session": session.id }),
    };
    let statements = [
        session::store::session::revoke(
            context,
            &session.user.id,
            WhichSessions::One(&session.id),
            "impersonation_ended",
            None,
        ),
        session::store::deed::deed(context, &context.tenant().id, session, &deed)?,
    ];
    let mut answers = context.db()?.batch(statements).await?;
    delete_session_copies(context, session::store::session::revoked(&mut answers)?);
    deliver_later(context);
    let gone = Cookie::Administrator.clear(context.is_secure);
    let (Some(own), Some(token)) = (own, aside) else {
        let error = Error::refused(Wire::UNAUTHORIZED, "the administrator's own session is over");
        context.log(call.request.path(), &error);
        let mut cookies = Vec::from(cookies::clear_session_cookies(context));
        cookies.push(gone);
        return Ok(errors::login_json(&error)?.with_cookies(cookies));
    };
    let hash = token.hash();
    let cookies = vec![session_cookie(context, &token, &own), snapshot(context, &hash, &own), gone];
    Ok(Reply::json(200, &body(&own))?.with_cookies(cookies))
}
