//! Sessions, as their owner sees and ends them.

use serde::Serialize;
use serde_json::{Value, json};

use crate::access::action::{Action, Permit};
use crate::error::{Error, Result, Wire};
use crate::handlers::Call;
use crate::handlers::admin::{impersonation, in_anothers_name};
use crate::handlers::authenticate::{Authentication, Depth, Look, Prolong, Ticket, authenticate, forget};
use crate::handlers::opening::{cleared, taken_back};
use crate::handlers::{multi_session, token};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::id::Id;
use crate::jobs::outbox::deliver_later;
use crate::session::{LiveSession, SessionJson, UserJson};
use crate::store;
use crate::store::access::holds_still;
use crate::store::outbox::has_logouts;
use crate::store::record::{Deed, Severity};
use crate::store::session::Which;

/// A session and its user, as `get-session` answers them.
#[derive(Serialize)]
struct Seen<'a> {
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
    match authenticate(&call.context, &call.request, look).await? {
        Authentication::NotPresented => Reply::json(200, &Value::Null),
        Authentication::Rejected(rejection) => {
            call.context.log(call.request.path(), &Error::refused(Wire::UNAUTHORIZED, format!("{rejection:?}")));
            Ok(Reply::json(200, &Value::Null)?.with_cookies(taken_back(&call.context, rejection)))
        }
        Authentication::Authenticated(authenticated) => {
            let session = &authenticated.session;
            let body = Seen { session: session.session_json(), user: session.user_json() };
            let reply = Reply::json(200, &body)?;
            let reply =
                if with_jwt { reply.with(SET_AUTH_JWT, token::mint(&call.context, session).await?) } else { reply };
            Ok(reply.with_cookies(authenticated.cookies))
        }
    }
}

/// The header in which `get-session` carries a JWT, where that is switched on.
pub const SET_AUTH_JWT: &str = "set-auth-jwt";

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
    let statement = store::session::list(&context.tenant().id, user, context.now);
    let listed: Vec<store::session::Listed> = context.db()?.batch([statement]).await?.rows()?;
    let body: Vec<SessionJson<'_>> = listed.iter().map(store::session::Listed::json).collect();
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
        end(call, &authenticated.session, Which::One(&id), ("revoked", ends)).await?;
        if id == authenticated.session.id {
            cookies = cleared(&call.context).into();
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
    end(call, &authenticated.session, Which::All, ("revoked", ends)).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(cleared(&call.context)))
}

/// `POST /revoke-other-sessions`: ends all of the user's sessions but this one.
///
/// # Errors
/// 401, 503.
pub async fn revoke_others(call: &mut Call) -> Result<Reply> {
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let session = &authenticated.session;
    let ends = may_end(call, session).await?;
    end(call, session, Which::AllBut(&session.id), ("revoked", ends)).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(authenticated.cookies))
}

/// `POST /sign-out`: ends this session, and those of protected hosts that hang on it. Nobody to sign out is no error.
///
/// # Errors
/// 503: a session that could not be ended must not look ended.
pub async fn sign_out(call: &mut Call) -> Result<Reply> {
    let gone = end_this(call).await?;
    Ok(Reply::json(200, &json!({ "success": true }))?.with_cookies(gone))
}

/// Ends the session of this request, if there is one, and those of the browser's other accounts; answers the cookies that
/// go with them.
///
/// # Errors
/// 503.
pub async fn end_this(call: &Call) -> Result<Vec<String>> {
    let mut gone = Vec::from(cleared(&call.context));
    // What ends sessions is done whether or not this one has ended by itself.
    call.context.db()?.let_go();
    gone.extend(multi_session::end_others(call).await?);
    gone.extend(impersonation::end_aside(&call.context).await?);
    let authenticated = match call.visitor(Depth::Database).await? {
        Authentication::Authenticated(authenticated) => authenticated,
        // What keeps it from holding here and now may pass, an address, a suspension, a policy: signed out is signed out.
        Authentication::Rejected(_) => {
            let Ok(Ticket { hash, .. }) = call.presented() else {
                return Ok(gone);
            };
            let context = &call.context;
            let statements = [store::session::end_family(context, &hash, "signed_out"), has_logouts(context.now)];
            let mut answers = context.db()?.batch(statements).await?;
            forget(context, store::session::revoked(&mut answers)?);
            if answers.row()? == Some(true) {
                deliver_later(context);
            }
            return Ok(gone);
        }
        Authentication::NotPresented => return Ok(gone),
    };
    call.context.db()?.let_go();
    let session = &authenticated.session;
    // A protected host's session ends with the one that it hangs on, and so do its siblings: signed out is signed out.
    let id = session.parent_id.as_ref().unwrap_or(&session.id);
    end(call, session, Which::One(id), ("signed_out", None)).await?;
    Ok(gone)
}

/// What lets an administrator end the sessions of the user as whom they act; none in a session of one's own.
async fn may_end(call: &Call, session: &LiveSession) -> Result<Option<Permit>> {
    in_anothers_name(&call.context, session, Action::RevokeUserSessions).await
}

async fn end(
    call: &Call,
    session: &LiveSession,
    which: Which<'_>,
    (reason, permit): (&str, Option<Permit>),
) -> Result<()> {
    let context = &call.context;
    let event = match which {
        Which::One(_) => "session.ended",
        Which::All | Which::AllBut(_) => "sessions.ended",
    };
    let user = &session.user.id;
    let details = json!({ "reason": reason, "by_session": session.id });
    // The administrator who acts as somebody did it, and not they.
    let audit = if session.impersonated_by.is_some() {
        let deed = Deed { event, severity: Severity::Medium, subject: Some(user), details };
        store::record::deed(context, &session.tenant_id, session, &deed)?
    } else {
        store::record::audit(context, &context.row_id()?, Some(user), event, Severity::Low, &details)
    };
    let mut statements =
        vec![store::session::revoke(context, user, which, reason, None), audit, has_logouts(context.now)];
    // Ending all sessions ends what was begun in them as well: a change of address waits for no session.
    if !matches!(which, Which::One(_)) {
        statements.push(store::verification::forget(context, user));
    }
    statements.extend(permit.iter().map(holds_still));
    let mut answers = context.db()?.batch(statements).await?;
    forget(context, store::session::revoked(&mut answers)?);
    if answers.skip(1).row()? == Some(true) {
        deliver_later(context);
    }
    Ok(())
}
