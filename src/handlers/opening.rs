//! Opening a session, whichever way its owner proved who they are; and taking its cookies back.

use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::handlers::authenticate::{remember, session_cookie, snapshot_cookie};
use crate::http::cookie::Cookie;
use crate::id::{Id, User};
use crate::secret::Token;
use crate::session::{LiveSession, Rejection};
use crate::store;
use crate::store::database::{Statement, StoreError};
use crate::store::record::Attempt;
use crate::store::session::NewSession;

/// A session to be opened.
pub struct Opening<'a> {
    /// Whose.
    pub user_id: &'a Id<User>,
    /// How they signed in: `password`, an issuer's name …
    pub method: &'a str,
    /// Authentication Method References (RFC 8176).
    pub amr: &'a [&'a str],
    /// Whether the cookie outlives the browser.
    pub is_remembered: bool,
    /// The hash of the password that was compared: if it is not the user's any more, nothing is opened.
    pub while_password: Option<&'a str>,
}

/// An open session and its `Set-Cookie` lines.
pub struct Opened {
    /// The session.
    pub session: LiveSession,
    /// Its cookies.
    pub cookies: Vec<String>,
}

/// Why a session was not opened.
pub enum OpeningError {
    /// A UNIQUE column, named as `table.column`: somebody else was quicker.
    Conflict(String),
    /// Anything else.
    Other(Error),
}

impl From<Error> for OpeningError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<OpeningError> for Error {
    fn from(error: OpeningError) -> Self {
        match error {
            OpeningError::Conflict(column) => StoreError::Conflict(column).into(),
            OpeningError::Other(error) => error,
        }
    }
}

/// Opens a session in one batch with what comes `before` it, and reads it back as every later request will.
///
/// # Errors
/// [`OpeningError`]; nothing was written then.
pub async fn open(
    context: &Context,
    opening: &Opening<'_>,
    before: Vec<Statement>,
) -> std::result::Result<Opened, OpeningError> {
    let token = Token::new(context.random()?);
    let hash = token.hash();
    let id = context.id()?;
    let amr = serde_json::to_string(opening.amr).unwrap_or_default();
    let new = NewSession {
        id: &id,
        hash: &hash,
        user_id: opening.user_id,
        login_method: opening.method,
        amr: &amr,
        is_remembered: opening.is_remembered,
        while_password: opening.while_password,
    };
    let attempt =
        Attempt { user_id: Some(opening.user_id), session_id: Some(&id), failure: None, method: opening.method };
    let count = before.len() + 3;
    let mut statements = before;
    statements.push(store::session::open(context, &new));
    statements.push(store::sign_in::succeeded(context, opening.user_id, &id));
    statements.push(store::record::login(context, &context.row_id()?, attempt));
    statements.push(store::session::load(&context.tenant().id, &hash));
    let answers = context.db().map_err(Error::from)?.batch(statements).await;
    let mut answers = match answers {
        Ok(answers) => answers.skip(count),
        Err(StoreError::Conflict(column)) => return Err(OpeningError::Conflict(column)),
        Err(error) => return Err(OpeningError::Other(error.into())),
    };
    let record = store::session::read(&mut answers).map_err(Error::from)?;
    let record = record.ok_or_else(|| match opening.while_password {
        Some(_) => Error::refused(Wire::INVALID_EMAIL_OR_PASSWORD, "the password was changed meanwhile"),
        None => Error::Storage("session: not there after it was opened".to_owned()),
    })?;
    // A user or tenant that was suspended between the decision and the write opens nothing.
    let judged = record.judge(None, context.now);
    let (session, _) = judged.map_err(|rejection| match rejection {
        Rejection::TenantNotActive => Error::refused(Wire::TENANT_UNAVAILABLE, "tenant suspended meanwhile"),
        Rejection::UserNotActive => Error::refused(Wire::BANNED_USER, "user suspended meanwhile"),
        other => Error::Internal(format!("a new session does not hold: {other:?}")),
    })?;
    let mut cookies = vec![session_cookie(context, &token, &session)];
    cookies.extend(snapshot_cookie(context, &hash, &session));
    remember(context, &hash, &session);
    Ok(Opened { session, cookies })
}

/// `Set-Cookie` lines that take a session's cookies back.
#[must_use]
pub fn cleared(context: &Context) -> [String; 2] {
    [Cookie::Session, Cookie::Snapshot].map(|cookie| cookie.clear(context.is_secure))
}

/// Reads a redirect target that a client gave.
///
/// # Errors
/// The refusal of that parameter.
pub fn target(
    context: &Context,
    given: Option<&str>,
    refusal: crate::error::Wire,
) -> Result<Option<crate::http::redirect::Target>> {
    let Some(text) = given else {
        return Ok(None);
    };
    let here = context.auth_origin();
    let trusts = |origin: &crate::http::origin::Origin| super::guard::trusts(context, origin);
    let target = crate::http::redirect::Target::check(text, &here, trusts);
    target.map(Some).ok_or_else(|| Error::refused(refusal, format!("{text:?}")))
}
