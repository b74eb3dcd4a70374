//! Opening a session, whichever way its owner proved who they are; and taking its cookies back.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::cookie;
use crate::http::cookie::Cookie;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::d1::{Statement, StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Millis, Session, User};
use crate::platform::secret::{SecondFactor, SessionToken, Token, TokenHash, TrustedDevice};
use crate::records::deliver::deliver_later;
use crate::records::store::audit::Attempt;
use crate::request::context::Context;
use crate::request::store::verification::Claim;
use crate::request::write_later::write_later;
use crate::session::authenticate::{
    delete_session_copies, judge_session, read_session_token, session_cookie, snapshot_cookie, write_session_copy,
};
use crate::session::live_session::{LiveSession, Rejection, SessionRecord};
use crate::session::store::session::NewSession;
use crate::session::{cookies, multi_session, store};
use crate::{records, request, users};

/// How long the second factor may take, in milliseconds.
const SECOND_FACTOR_LIFE: Millis = 600_000;

/// A session to be opened.
#[derive(Clone)]
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
    /// The one-time value that this sign-in uses up: whoever used it first has the session, and nobody else.
    pub claim: Option<Claim<'a>>,
    /// The address that must be the user's: of two who make a user of one guest at once, one does.
    pub while_email: Option<&'a str>,
    /// The session that this one takes the place of: of many that would, one does.
    pub replaces: Option<&'a Id<Session>>,
    /// The session that must still hold: what it is carried to ends with it.
    pub while_session: Option<&'a Id<Session>>,
    /// Whether a guest whose browser this is becomes this user, and is deleted as a guest.
    pub absorbs_guest: bool,
    /// The guest's session, if it is not the one that the browser brings now.
    pub guest: Option<&'a TokenHash<SessionToken>>,
    /// When they proved who they are, if that was not just now.
    pub authenticated_at: Option<Millis>,
    /// What whoever lost a race to another request is told.
    pub otherwise: Wire,
    /// What the client's `lastLoginMethod` plugin is told; none where the protocol tells it nothing.
    pub last_method: Option<&'a str>,
}

impl<'a> Opening<'a> {
    /// An opening without conditions.
    #[must_use]
    pub const fn new(user_id: &'a Id<User>, method: &'a str, amr: &'a [&'a str]) -> Self {
        Self {
            user_id,
            method,
            amr,
            is_remembered: true,
            while_password: None,
            claim: None,
            while_email: None,
            replaces: None,
            while_session: None,
            absorbs_guest: true,
            guest: None,
            authenticated_at: None,
            otherwise: Wire::INVALID_EMAIL_OR_PASSWORD,
            last_method: None,
        }
    }
}

/// An open session and its `Set-Cookie` lines.
pub struct Opened {
    /// The session.
    pub session: LiveSession,
    /// Its cookies.
    pub cookies: Vec<String>,
}

/// A sign-in that waits for its second factor.
pub struct AskedSecondFactor {
    /// The factors that the user has: `totp`, `otp`.
    pub methods: Vec<String>,
    /// The cookie that waits, and those that a former session leaves.
    pub cookies: Vec<String>,
}

/// How a first factor ends.
pub enum Outcome {
    /// In a session.
    Opened(Box<Opened>),
    /// In a question.
    AskSecondFactor(AskedSecondFactor),
}

impl Outcome {
    /// The answer of the login protocol: `body` of the session, or `twoFactorRedirect`.
    ///
    /// # Errors
    /// None that happens.
    pub fn json(self, body: impl FnOnce(&LiveSession) -> Value) -> Result<Reply> {
        match self {
            Self::Opened(opened) => Ok(Reply::json(200, &body(&opened.session))?.with_cookies(opened.cookies)),
            Self::AskSecondFactor(asked) => {
                let body = json!({ "twoFactorRedirect": true, "twoFactorMethods": asked.methods });
                Ok(Reply::json(200, &body)?.with_cookies(asked.cookies))
            }
        }
    }

    /// The answer of `sign-in/…`: the session's handle and user, and where to go.
    ///
    /// # Errors
    /// None that happens.
    pub fn answer(self, target: Option<&Target>) -> Result<Reply> {
        let is_open = matches!(self, Self::Opened(_));
        let reply = self.json(|session| sign_in_body(session, target))?;
        Ok(match target.filter(|_| is_open) {
            Some(target) => reply.with("location", target.as_str().to_owned()),
            None => reply,
        })
    }

    /// The answer to a browser that follows links: to `target`, by way of our page of second factors if need be.
    #[must_use]
    pub fn redirect(self, status: u16, target: &Target) -> Reply {
        match self {
            Self::Opened(opened) => Reply::redirect(status, target).with_cookies(opened.cookies),
            Self::AskSecondFactor(asked) => {
                let page = Target::own("/second-factor").with_query("continue", target.as_str());
                Reply::redirect(status, &page).with_cookies(asked.cookies)
            }
        }
    }
}

fn sign_in_body(session: &LiveSession, target: Option<&Target>) -> Value {
    let mut body = json!({ "redirect": target.is_some(), "token": session.id, "user": session.user_json() });
    if let Some(target) = target {
        body["url"] = json!(target.as_str());
    }
    body
}

/// What is kept of a first factor until the second is given.
#[derive(Serialize, Deserialize)]
pub struct FirstFactor {
    /// Whose.
    pub user_id: Id<User>,
    /// How.
    pub method: String,
    /// References.
    pub amr: Vec<String>,
    /// Whether the cookie will outlive the browser.
    pub is_remembered: bool,
    /// The password's hash that was compared.
    pub while_password: Option<String>,
    /// What the client's `lastLoginMethod` plugin is told.
    pub last_method: Option<String>,
    /// The hash of the token of the guest whose browser it is, or may be.
    pub guest: Option<String>,
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

impl From<StoreError> for OpeningError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(column) => Self::Conflict(column),
            other => Self::Other(other.into()),
        }
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

/// Opens a session in one batch with what comes `before` it, and reads it back as every later request will. Asks for
/// no second factor: for whoever has given it, or needs none.
///
/// # Errors
/// [`OpeningError`]; nothing was written then.
pub async fn open_session(
    context: &Context,
    opening: &Opening<'_>,
    before: Vec<Statement>,
) -> std::result::Result<Opened, OpeningError> {
    match try_to_open(context, opening, before, false).await? {
        Outcome::Opened(opened) => Ok(*opened),
        Outcome::AskSecondFactor(_) => {
            Err(Error::Internal("a second factor was asked for where none is".to_owned()).into())
        }
    }
}

/// The same after a first factor: a user who has a second one is asked for it, whichever the first was. Whether they
/// have one is decided by the statement that opens the session, so no way of signing in can forget it.
///
/// # Errors
/// As [`open_session`].
pub async fn open_session_or_ask(
    context: &Context,
    opening: &Opening<'_>,
    before: Vec<Statement>,
) -> std::result::Result<Outcome, OpeningError> {
    try_to_open(context, opening, before, true).await
}

async fn try_to_open(
    context: &Context,
    opening: &Opening<'_>,
    before: Vec<Statement>,
    asks: bool,
) -> std::result::Result<Outcome, OpeningError> {
    let token = Token::new(context.random()?);
    let hash = token.hash();
    let id = context.id()?;
    let amr = serde_json::to_string(opening.amr).unwrap_or_default();
    let trusted: Option<Token<TrustedDevice>> =
        context.cookie(Cookie::TrustedDevice).filter(|_| asks).and_then(|text| Token::parse(&text));
    let trusted = trusted.map(|token| token.hash());
    let new = NewSession {
        id: &id,
        hash: &hash,
        user_id: opening.user_id,
        login_method: opening.method,
        amr: &amr,
        is_remembered: opening.is_remembered,
        while_password: opening.while_password,
        authenticated_at: opening.authenticated_at.unwrap_or(context.now),
        while_email: opening.while_email,
        replaces: opening.replaces,
        while_session: opening.while_session,
        claim: opening.claim.map(|claim| claim.id),
        asks_second_factor: asks,
        trusted_device: trusted.as_ref(),
    };
    let attempt =
        Attempt { user_id: Some(opening.user_id), session_id: Some(&id), failure: None, method: opening.method };
    let mut statements = before;
    statements.extend(opening.claim.map(|claim| request::store::verification::claim(context, claim, &id)));
    if let Some(old) = opening.replaces {
        // Of many that would replace it one does, and what the others brought along is not done either.
        statements.push(store::session::replace(context, opening.user_id, old, &id));
        statements.push(must_change());
    }
    statements.push(store::session::open(context, &new));
    // What is carried from another session was counted when that was opened.
    if !opening.amr.contains(&"mfa") && opening.while_session.is_none() {
        statements.push(store::session::count_grace(context, opening.user_id, &id));
    }
    statements.push(users::store::sign_in::succeeded(context, opening.user_id, &id));
    statements.push(records::store::audit::login(context, &context.row_id()?, attempt));
    let pending: Token<SecondFactor> = Token::new(context.random()?);
    if asks {
        let payload = serde_json::to_vec(&first_factor(context, opening)).unwrap_or_default();
        let until = context.now + SECOND_FACTOR_LIFE;
        statements.extend(users::store::second_factor::used_device(context, trusted.as_ref(), &id));
        statements.push(store::waiting_sign_in::ask(context, &new, &pending, &payload, until)?);
    }
    let skipped = statements.len();
    statements.push(store::session::load(&context.tenant().id, &hash));
    if asks {
        statements.push(users::store::second_factor::asked(context, &pending.hash()));
    }
    let mut answers = match context.db().map_err(Error::from)?.batch(statements).await {
        Err(StoreError::Unchanged) => {
            return Err(Error::refused(opening.otherwise, "what it depends on is not so any more").into());
        }
        other => other?.skip(skipped),
    };
    // The session that asked may have been replaced by this one.
    context.db().map_err(Error::from)?.let_go();
    let record = store::session::read(&mut answers).map_err(Error::from)?;
    let Some(record) = record else {
        let methods: Option<Vec<String>> = if asks { answers.row()? } else { None };
        let lost = || Error::refused(opening.otherwise, "another request was quicker, or the password was changed");
        let methods = methods.ok_or_else(lost)?;
        let mut cookies = Vec::from(cookies::clear_session_cookies(context));
        cookies.push(Cookie::SecondFactor.set(context.is_secure, pending.expose(), Some(SECOND_FACTOR_LIFE / 1000)));
        return Ok(Outcome::AskSecondFactor(AskedSecondFactor { methods, cookies }));
    };
    let session = settle_session(context, opening.user_id, (&id, &hash), record).await?;
    context.db().map_err(Error::from)?.hold_to(store::session::must_live(&context.tenant().id, &hash));
    let mut cookies = vec![session_cookie(context, &token, &session)];
    cookies.extend(snapshot_cookie(context, &hash, &session));
    cookies.extend(multi_session::add_account(context, &token, session.is_remembered));
    cookies.extend(opening.last_method.map(|method| cookie::last_method(context.is_secure, method)));
    if context.cookie(Cookie::SecondFactor).is_some() {
        cookies.push(Cookie::SecondFactor.clear(context.is_secure));
    }
    if let Some(former) = guest_of_browser(context, opening) {
        // After the answer: what is left undone is a row that cron deletes.
        write_later(context, Vec::from(users::store::user::absorb_guest(context, &former, opening.user_id)));
    }
    write_session_copy(context, &hash, &session);
    Ok(Outcome::Opened(Box::new(Opened { session, cookies })))
}

/// Judges a session that was just opened as every later request will, and ends those that are too many with it. One that
/// does not hold is taken back before anybody had it, and ends no other: a third round trip, where the tenant's policy asks for
/// it.
async fn settle_session(
    context: &Context,
    user: &Id<User>,
    (id, hash): (&Id<Session>, &TokenHash<SessionToken>),
    record: SessionRecord,
) -> Result<LiveSession> {
    let judged = match judge_session(context, record) {
        Ok(judged) => judged,
        Err(rejection) => {
            context.db()?.batch([store::session::discard(&context.tenant().id, hash)]).await?;
            return Err(match rejection {
                Rejection::TenantNotActive => Error::refused(Wire::TENANT_UNAVAILABLE, "tenant suspended meanwhile"),
                Rejection::UserNotActive => Error::refused(Wire::BANNED_USER, "user suspended meanwhile"),
                Rejection::Address(refusal) => Error::refused(Wire::ADDRESS_NOT_ALLOWED, refusal.as_str()),
                Rejection::SecondFactorMissing => {
                    Error::refused(Wire::SECOND_FACTOR_REQUIRED, "opened without the second factor that is asked for")
                }
                other => Error::Internal(format!("a new session does not hold: {other:?}")),
            });
        }
    };
    if judged.policy.max_sessions().is_some() {
        let mut answers = context.db()?.batch([store::session::end_surplus(context, user, id)]).await?;
        let surplus = store::session::revoked(&mut answers)?;
        if !surplus.is_empty() {
            delete_session_copies(context, surplus);
            deliver_later(context);
        }
    }
    Ok(judged.session)
}

fn first_factor(context: &Context, opening: &Opening<'_>) -> FirstFactor {
    FirstFactor {
        user_id: opening.user_id.clone(),
        method: opening.method.to_owned(),
        amr: opening.amr.iter().map(|&method| method.to_owned()).collect(),
        is_remembered: opening.is_remembered,
        while_password: opening.while_password.map(str::to_owned),
        last_method: opening.last_method.map(str::to_owned),
        guest: guest_of_browser(context, opening).map(|hash| hash.as_str().to_owned()),
    }
}

/// The session of the guest that this browser may be: a guest who signs in as a user is one no more.
fn guest_of_browser(context: &Context, opening: &Opening<'_>) -> Option<TokenHash<SessionToken>> {
    if !opening.absorbs_guest || !context.config.ways_in.anonymous {
        return None;
    }
    opening.guest.cloned().or_else(|| read_session_token(context).map(|token| token.hash()))
}
