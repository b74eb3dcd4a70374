//! One-time tokens: a session carried to another page of its owner's, such as a desktop application's browser.

use serde::{Deserialize, Serialize};

use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Millis, Session, User};
use crate::platform::secret::{OneTime, Token};
use crate::request::context::Context;
use crate::request::store::verification::{Claim, Used};
use crate::session::live_session::LiveSession;
use crate::session::open;
use crate::session::open::{Opened, Opening};
use crate::{request, session};

/// Life of a token, in milliseconds.
const LIFE: Millis = 180_000;

/// The session that a token carries.
#[derive(Serialize, Deserialize)]
struct CarriedSession {
    session: Id<Session>,
    user_id: Id<User>,
    method: String,
    amr: Vec<String>,
    authenticated_at: Millis,
    is_remembered: bool,
}

/// Makes a token that carries a session.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn issue_one_time_token(context: &Context, session: &LiveSession) -> Result<Token<OneTime>> {
    let carried = CarriedSession {
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
    Ok(token)
}

/// Uses a token up, and opens a session of this browser's own, as old as the one that it carries.
///
/// # Errors
/// 400 for a token that is not good, or whose session is over; 503.
pub async fn redeem_one_time_token(context: &Context, typed: &str) -> Result<Opened> {
    let bad = |reason: &str| Error::refused(Wire::INVALID_TOKEN, reason);
    let token: Token<OneTime> = Token::parse(typed).ok_or_else(|| bad("not of our making"))?;
    let statements = [
        request::store::verification::peek(context, &token.hash(), None),
        session::store::session::bound(context, &token.hash()),
    ];
    let mut answers = context.db()?.batch(statements).await?;
    let used: Option<Used> = answers.row()?;
    let used = used.ok_or_else(|| bad("unknown, used or expired"))?;
    answers.row::<Id<Session>>()?.ok_or_else(|| bad("its session is over"))?;
    let carried: CarriedSession = serde_json::from_slice(used.payload(context)?.expose())
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
    open::open_session(context, &opening, Vec::new()).await.map_err(Error::from)
}
