//! One-time tokens: a session carried to another page of its owner's, such as a desktop application's browser.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Millis, Session, User};
use crate::platform::secret::{OneTime, Token};
use crate::request::store::verification::{Claim, Used};
use crate::session::call::Call;
use crate::session::open::Opening;
use crate::session::{open, proof};
use crate::{request, session};

/// Life of a token, in milliseconds.
const LIFE: Millis = 180_000;

/// What is carried.
#[derive(Serialize, Deserialize)]
struct Carried {
    session: Id<Session>,
    user_id: Id<User>,
    method: String,
    amr: Vec<String>,
    authenticated_at: Millis,
    is_remembered: bool,
}

/// `GET /one-time-token/generate`.
///
/// # Errors
/// 401, 403 for an impersonating administrator, 503.
pub async fn generate(call: &mut Call) -> Result<Reply> {
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    proof::not_impersonated(&authenticated)?;
    let (context, session) = (&call.context, &authenticated.session);
    let carried = Carried {
        session: session.id.clone(),
        user_id: session.user.id.clone(),
        method: session.login_method.clone(),
        amr: session.amr.clone(),
        authenticated_at: session.authenticated_at,
        is_remembered: session.is_remembered,
    };
    let token: Token<OneTime> = Token::new(context.random()?);
    let payload = serde_json::to_vec(&carried).map_err(|error| Error::Internal(error.to_string()))?;
    let about = session.id.as_str();
    let keep =
        request::store::verification::keep(context, &context.tenant().id, &token, about, &payload, context.now + LIFE)?;
    context.db()?.batch([keep]).await?;
    Ok(Reply::json(200, &json!({ "token": token.expose() }))?.with_cookies(authenticated.cookies))
}

/// `POST /one-time-token/verify`: a session of this browser's own, as old as the one it was carried from and no fresher.
///
/// # Errors
/// 400 for a token that is not good, or whose session is over.
pub async fn verify(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let typed = fields.required("token", 200);
    fields.finish()?;
    let context = &call.context;
    let bad = |reason: &str| Error::refused(Wire::INVALID_TOKEN, reason);
    let token: Token<OneTime> = Token::parse(&typed).ok_or_else(|| bad("not of our making"))?;
    let statements = [
        request::store::verification::peek(context, &token.hash(), None),
        session::store::session::bound(context, &token.hash()),
    ];
    let mut answers = context.db()?.batch(statements).await?;
    let used: Option<Used> = answers.row()?;
    let used = used.ok_or_else(|| bad("unknown, used or expired"))?;
    answers.row::<Id<Session>>()?.ok_or_else(|| bad("its session is over"))?;
    let carried: Carried = serde_json::from_slice(used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed carries no session: {error}")))?;
    let amr: Vec<&str> = carried.amr.iter().map(String::as_str).collect();
    let opening = Opening {
        is_remembered: carried.is_remembered,
        claim: Some(Claim { id: &used.id, if_changed: false }),
        while_session: Some(&carried.session),
        authenticated_at: Some(carried.authenticated_at),
        otherwise: Wire::INVALID_TOKEN,
        ..Opening::new(&carried.user_id, &carried.method, &amr)
    };
    let opened = open::open(context, &opening, Vec::new()).await.map_err(Error::from)?;
    let body = json!({ "session": opened.session.session_json(), "user": opened.session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
}
