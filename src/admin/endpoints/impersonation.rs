//! An administrator who acts as a user: for an hour, without changing how that user signs in, and never unseen.

use serde_json::{Value, json};

use crate::admin::impersonation::{begin_impersonation, snapshot_or_clearing};
use crate::http::cookie::Cookie;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::records::deliver::deliver_later;
use crate::records::store::audit::Severity;
use crate::request::errors;
use crate::session;
use crate::session::authenticate::{delete_session_copies, judge_session, session_cookie};
use crate::session::call::Call;
use crate::session::live_session::{LiveSession, SessionRecord};
use crate::session::store::deed::Deed;
use crate::session::store::session::WhichSessions;
use crate::session::{cookies, impersonation};

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
    let opened = begin_impersonation(&call.context, &id).await?;
    Ok(Reply::json(200, &body(&opened.session))?.with_cookies(opened.cookies))
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
    let cookies = vec![session_cookie(context, &token, &own), snapshot_or_clearing(context, &hash, &own), gone];
    Ok(Reply::json(200, &body(&own))?.with_cookies(cookies))
}
