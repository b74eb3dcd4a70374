//! Sessions, as their owner sees and ends them.

use serde::Serialize;
use serde_json::{Value, json};

use crate::access::action::{Action, Permit};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::Id;
use crate::session::authenticate::{Authentication, Depth, Look, Prolong, authenticate};
use crate::session::call::Call;
use crate::session::cookies::{clear_session_cookies, cookies_after_rejection};
use crate::session::impersonation::require_own_permission;
use crate::session::live_session::LiveSession;
use crate::session::protocol::{SessionJson, UserJson};
use crate::session::sessions::SET_AUTH_JWT;
use crate::session::store::session::{ListedSession, WhichSessions};
use crate::session::{sessions, token};

/// A session and its user, as `get-session` answers them.
#[derive(Serialize)]
struct SessionAndUser<'a> {
    session: SessionJson<'a>,
    user: UserJson<'a>,
}

/// `GET /get-session`: the session, or `null`.
///
/// # Errors
/// 503 if D1 must be asked and does not answer.
pub async fn get(call: &mut Call) -> Result<Reply> {
    // Most requests have no query, and parsing none costs nothing.
    let asks = |name: &str| call.request.query().contains(name) && call.request.param(name).as_deref() == Some("true");
    let with_jwt = call.context.config.session_jwt;
    // What mints a token asks D1.
    let depth = if with_jwt || asks("disableCookieCache") { Depth::Database } else { Depth::Snapshot };
    let prolong = if asks("disableRefresh") { Prolong::No } else { Prolong::Now };
    let look = Look { depth, prolong };
    match authenticate(&call.context, look).await? {
        Authentication::NotPresented => Reply::json(200, &Value::Null),
        Authentication::Rejected(rejection) => {
            call.context.log(call.request.path(), &Error::refused(Wire::UNAUTHORIZED, format!("{rejection:?}")));
            Ok(Reply::json(200, &Value::Null)?.with_cookies(cookies_after_rejection(&call.context, rejection)))
        }
        Authentication::Authenticated(authenticated) => {
            let session = &authenticated.session;
            let body = SessionAndUser { session: session.session_json(), user: session.user_json() };
            let reply = Reply::json(200, &body)?;
            let reply = if with_jwt {
                reply.with(SET_AUTH_JWT, token::sign_session_jwt(&call.context, session).await?)
            } else {
                reply
            };
            Ok(reply.with_cookies(authenticated.cookies))
        }
    }
}

/// `POST /update-session`: fields that a front-end adds to sessions. Ours have none; those of the protocol's own have
/// endpoints of their own.
///
/// # Errors
/// 400 always, once somebody is signed in.
pub async fn update(call: &mut Call) -> Result<Reply> {
    const NOT_ALLOWED: [&str; 3] = ["activeOrganizationId", "activeTeamId", "impersonatedBy"];
    let fields = call.request.fields(Media::Json).await?;
    call.confirmed(Vec::new()).await?;
    if let Some(name) = NOT_ALLOWED.iter().find(|name| fields.has(name)) {
        return Err(Error::refused(Wire::FIELD_NOT_ALLOWED, *name));
    }
    Err(Error::refused(Wire::NO_FIELDS_TO_UPDATE, "no field of a session's"))
}

/// `GET /list-sessions`: the user's sessions that can be ended.
///
/// # Errors
/// 401, 503.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let authenticated = call.session()?;
    let (context, user) = (&call.context, &authenticated.session.user.id);
    let listed = sessions::list_sessions(context, user).await?;
    let body: Vec<SessionJson<'_>> = listed.iter().map(ListedSession::json).collect();
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies.clone()))
}

/// `POST /revoke-session`: ends one session of the user's own, by its handle. Another's, or none, is the same answer.
///
/// # Errors
/// 400, 401, 503.
pub async fn revoke_one(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let handle = fields.required("token", 100);
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let mut cookies = authenticated.cookies;
    if let Some(id) = Id::parse(&handle) {
        // An administrator who acts as a user may leave, and ends none of that user's sessions by it.
        let ends = if id == authenticated.session.id { None } else { may_end(call, &authenticated.session).await? };
        sessions::end_sessions(&call.context, &authenticated.session, WhichSessions::One(&id), ("revoked", ends))
            .await?;
        if id == authenticated.session.id {
            cookies = clear_session_cookies(&call.context).into();
        }
    }
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(cookies))
}

/// `POST /revoke-sessions`: ends all of the user's sessions, this one included.
///
/// # Errors
/// 401, 503.
pub async fn revoke_all(call: &mut Call) -> Result<Reply> {
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let ends = may_end(call, &authenticated.session).await?;
    sessions::end_sessions(&call.context, &authenticated.session, WhichSessions::All, ("revoked", ends)).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(clear_session_cookies(&call.context)))
}

/// `POST /revoke-other-sessions`: ends all of the user's sessions but this one.
///
/// # Errors
/// 401, 503.
pub async fn revoke_others(call: &mut Call) -> Result<Reply> {
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let session = &authenticated.session;
    let ends = may_end(call, session).await?;
    sessions::end_sessions(&call.context, session, WhichSessions::AllBut(&session.id), ("revoked", ends)).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(authenticated.cookies))
}

/// `POST /sign-out`: ends this session, and those of protected hosts that hang on it. Nobody to sign out is no error.
///
/// # Errors
/// 503: a session that could not be ended must not look ended.
pub async fn sign_out(call: &mut Call) -> Result<Reply> {
    let gone = sessions::end_current_session(&call.context).await?;
    Ok(Reply::json(200, &json!({ "success": true }))?.with_cookies(gone))
}

/// What lets an administrator end the sessions of the user as whom they act; none in a session of one's own.
async fn may_end(call: &Call, session: &LiveSession) -> Result<Option<Permit>> {
    require_own_permission(&call.context, session, Action::RevokeUserSessions).await
}
