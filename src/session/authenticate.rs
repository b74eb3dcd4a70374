//! Who is asking: three answers, by three layers.

use crate::http::cookie;
use crate::http::cookie::{Cookie, CookieValue};
use crate::platform::d1::{Answers, Statement};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::log::note;
use crate::platform::secret::{SessionToken, Token, TokenHash};
use crate::records;
use crate::request::context::Context;
use crate::request::write_later;
use crate::session::live_session::{JudgedSession, Life, LiveSession, Rejection, SessionRecord, read_cookie};
use crate::session::{live_session, policy, store};
use crate::users::person::Person;

/// How deep to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The snapshot cookie, then KV, then D1.
    Snapshot,
    /// D1, whatever the others say. What is written afterwards is held to the session ([`Database::hold_to`](crate::platform::d1::Database::hold_to)).
    Database,
}

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// How deep.
    pub depth: Depth,
    /// Whether looking counts as use, which prolongs a session that is due.
    pub prolong: Prolong,
}

/// When a session that is due is prolonged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prolong {
    /// Not by this look.
    No,
    /// At once.
    Now,
    /// Once it is known whether the answer can carry the cookie; see [`DueProlongation`].
    Later,
}

/// A genuine session cookie: we made it. Whether its session still holds is another question.
pub struct Ticket {
    token: Token<SessionToken>,
    /// Finds the session.
    pub hash: TokenHash<SessionToken>,
    snapshot: Option<String>,
    /// Whether the cookie is to be signed again, with the first key of `SECRETS`.
    is_by_former_key: bool,
}

impl Ticket {
    /// The token itself, to be put into another cookie.
    #[must_use]
    pub fn into_token(self) -> Token<SessionToken> {
        self.token
    }
}

/// A session that holds.
pub struct Authenticated {
    /// The session.
    pub session: LiveSession,
    /// Its token's hash.
    pub hash: TokenHash<SessionToken>,
    /// `Set-Cookie` lines that are due: a new snapshot, a prolonged cookie.
    pub cookies: Vec<String>,
    /// The prolongation that is due, with [`Prolong::Later`].
    pub due: Option<DueProlongation>,
}

/// A session's prolongation. It is written only when its cookie is sent: a session that lives on without its cookie would
/// not be due again before the cookie is gone.
pub struct DueProlongation {
    token: Token<SessionToken>,
    hash: TokenHash<SessionToken>,
    before: LiveSession,
    after: LiveSession,
}

impl DueProlongation {
    /// Prolongs the session, and answers its `Set-Cookie` lines; or leaves it as it is, for the next request.
    #[must_use]
    pub fn settle(self, context: &Context, is_sent: bool) -> Vec<String> {
        if !is_sent {
            write_session_copy(context, &self.hash, &self.before);
            return Vec::new();
        }
        let session = self.after;
        write_later::write_later(
            context,
            vec![store::session::prolong(context, &session.id, session.parent_id.as_ref())],
        );
        write_session_copy(context, &self.hash, &session);
        let mut cookies = vec![session_cookie(context, &self.token, &session)];
        cookies.extend(snapshot_cookie(context, &self.hash, &session));
        cookies
    }
}

/// The three answers. What was presented and is bad never becomes "not presented".
pub enum Authentication {
    /// Nothing was presented.
    NotPresented,
    /// A session that holds.
    Authenticated(Box<Authenticated>),
    /// Something was presented that does not hold.
    Rejected(Rejection),
}

/// The session cookie of a request.
///
/// # Errors
/// [`Rejection::Malformed`](crate::session::live_session::Rejection::Malformed) for one that we did not make, or several that differ.
pub fn read_ticket(context: &Context) -> std::result::Result<Option<Ticket>, Rejection> {
    let bearer = bearer_token(context);
    if let Some(token) = bearer.as_deref().and_then(|text| read_cookie(&context.config.keyring, text)) {
        return Ok(Some(Ticket { hash: token.hash(), token, snapshot: None, is_by_former_key: false }));
    }
    // A header that is not of our making may be meant for somebody else on the way: a cookie beside it still speaks.
    let nothing = || if bearer.is_some() { Err(Rejection::Malformed) } else { Ok(None) };
    let Some(header) = context.header("Cookie") else {
        return nothing();
    };
    let secure = context.is_secure;
    let value = match cookie::read(&header, Cookie::Session.name(secure)) {
        CookieValue::Nothing | CookieValue::Value("") => return nothing(),
        CookieValue::Conflict => return Err(Rejection::Malformed),
        CookieValue::Value(value) => value,
    };
    let token = read_cookie(&context.config.keyring, value).ok_or(Rejection::Malformed)?;
    let is_by_former_key = live_session::is_signed_by_former_key(&context.config.keyring, value);
    let snapshot = match cookie::read(&header, Cookie::Snapshot.name(secure)) {
        CookieValue::Value(text) => Some(text.to_owned()),
        _ => None,
    };
    Ok(Some(Ticket { hash: token.hash(), token, snapshot, is_by_former_key }))
}

/// What `Authorization: Bearer` carries (RFC 6750, section 2.1), where that is switched on: what `set-auth-token` gave.
/// A website behind the gate may use the header for its own.
fn bearer_token(context: &Context) -> Option<String> {
    if !context.config.bearer || context.app().is_some() {
        return None;
    }
    let header = context.header("Authorization")?;
    let (scheme, token) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim().to_owned())
}

/// The session token that a request brings, in its cookie or its header: genuine, and not yet looked up.
#[must_use]
pub fn read_session_token(context: &Context) -> Option<Token<SessionToken>> {
    let read = |value: String| read_cookie(&context.config.keyring, &value);
    bearer_token(context).and_then(read).or_else(|| context.cookie(Cookie::Session).and_then(read))
}

/// Who is asking.
///
/// # Errors
/// 503 if D1 must be asked and does not answer.
pub async fn authenticate(context: &Context, look: Look) -> Result<Authentication> {
    let ticket = match read_ticket(context) {
        Ok(Some(ticket)) => ticket,
        Ok(None) => return Ok(Authentication::NotPresented),
        Err(rejection) => return Ok(Authentication::Rejected(rejection)),
    };
    // A copy was made where its user was then; the tenant may not let in the network where they are now.
    if look.depth == Depth::Snapshot && policy::check_address(context).is_ok() {
        if let Some(session) = from_snapshot(context, &ticket) {
            policy::check_enrolment(context, &session)?;
            let authenticated = Authenticated { session, hash: ticket.hash, cookies: Vec::new(), due: None };
            return Ok(Authentication::Authenticated(Box::new(authenticated)));
        }
        if let Some(session) = from_kv(context, &ticket).await {
            policy::check_enrolment(context, &session)?;
            let cookies = snapshot_cookie(context, &ticket.hash, &session).into_iter().collect();
            let authenticated = Authenticated { session, hash: ticket.hash, cookies, due: None };
            return Ok(Authentication::Authenticated(Box::new(authenticated)));
        }
    }
    let (answer, _) = from_database(context, ticket, Vec::new(), look).await?;
    Ok(match answer {
        Ok(authenticated) => Authentication::Authenticated(Box::new(authenticated)),
        Err(rejection) => Authentication::Rejected(rejection),
    })
}

/// The session cookie, genuine but not yet looked up.
///
/// # Errors
/// 401 if there is none.
pub fn require_ticket(context: &Context) -> Result<Ticket> {
    read_ticket(context)
        .map_err(|rejection| Error::refused(Wire::UNAUTHORIZED, format!("{rejection:?}")))?
        .ok_or_else(|| Error::refused(Wire::UNAUTHORIZED, "not signed in"))
}

/// The session that was presented, confirmed by D1 in one batch with `more` statements, whose answers come along.
///
/// # Errors
/// 401 if it does not hold; 503 if D1 does not answer.
pub async fn require_session(context: &Context, more: Vec<Statement>) -> Result<(Authenticated, Answers)> {
    confirm_ticket(context, require_ticket(context)?, more).await
}

/// Who is asking, if anybody is signed in. What was presented and is bad counts as nobody here, so use this only
/// where nobody is welcome too.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn identify_visitor(context: &Context, depth: Depth) -> Result<Authentication> {
    authenticate(context, Look { depth, prolong: Prolong::Now }).await
}

/// The guest who is asking, if it is one: somebody who signs up in their browser becomes a user in their place.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn identify_guest(context: &Context) -> Result<Option<Id<User>>> {
    if !context.config.ways_in.anonymous || read_session_token(context).is_none() {
        return Ok(None);
    }
    let visitor = identify_visitor(context, Depth::Database).await?;
    // Nothing is written in this session's name: somebody signs in.
    context.db()?.let_go();
    match visitor {
        Authentication::Authenticated(one) if one.session.user.is_anonymous => Ok(Some(one.session.user.id)),
        _ => Ok(None),
    }
}

/// The user who is signed in in this browser, for a page that has another next step for them. A guest is nobody.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn signed_in_user(context: &Context) -> Result<Option<Person>> {
    if read_session_token(context).is_none() {
        return Ok(None);
    }
    Ok(match identify_visitor(context, Depth::Database).await? {
        Authentication::Authenticated(one) if !one.session.user.is_anonymous => Some(one.session.user),
        _ => None,
    })
}

/// Confirms a ticket with D1, in one batch with `more` statements.
///
/// # Errors
/// 401 if it does not hold; 503 if D1 does not answer.
pub async fn confirm_ticket(
    context: &Context,
    ticket: Ticket,
    more: Vec<Statement>,
) -> Result<(Authenticated, Answers)> {
    let (answer, answers) =
        from_database(context, ticket, more, Look { depth: Depth::Database, prolong: Prolong::Now }).await?;
    let authenticated = answer.map_err(rejection_error)?;
    Ok((authenticated, answers))
}

/// Judges a session that was presented with this request.
///
/// # Errors
/// Why it does not hold.
pub fn judge_session(context: &Context, record: SessionRecord) -> std::result::Result<JudgedSession, Rejection> {
    let (app, ip) = (context.app().map(|app| &app.id), &context.client().ip);
    let request = live_session::SessionRequest { app, ip, life: context.config.session_seconds, now: context.now };
    record.judge(&request)
}

/// What whoever presents a session that does not hold is told. Where it was presented is no fault of the session's.
#[must_use]
pub fn rejection_error(rejection: Rejection) -> Error {
    match rejection {
        Rejection::Address(refusal) => Error::refused(Wire::ADDRESS_NOT_ALLOWED, refusal.as_str()),
        other => Error::refused(Wire::UNAUTHORIZED, format!("{other:?}")),
    }
}

fn from_snapshot(context: &Context, ticket: &Ticket) -> Option<LiveSession> {
    let app = context.app().map(|app| &app.id);
    let text = ticket.snapshot.as_deref()?;
    LiveSession::from_snapshot(&context.config.keyring, text, &ticket.hash, (&context.tenant().id, app), context.now)
}

async fn from_kv(context: &Context, ticket: &Ticket) -> Option<LiveSession> {
    let found = store::kv::get(&context.env, &ticket.hash).await;
    let session = found.unwrap_or_else(|error| {
        context.note(&format!("KV get: {error}"));
        None
    })?;
    let app = context.app().map(|app| &app.id);
    let fits = session.tenant_id == context.tenant().id && session.app_id.as_ref() == app;
    (fits && session.good_until(&context.config) > context.now).then_some(session)
}

/// How old the noted activity may be before it is noted again, in milliseconds.
const ACTIVITY: i64 = 60_000;

async fn from_database(
    context: &Context,
    ticket: Ticket,
    more: Vec<Statement>,
    look: Look,
) -> Result<(std::result::Result<Authenticated, Rejection>, Answers)> {
    let tenant = &context.tenant().id;
    let statements = std::iter::once(store::session::load(tenant, &ticket.hash)).chain(more);
    let mut answers = context.db()?.batch(statements).await?;
    let record = store::session::read(&mut answers)?;
    let judged = record.ok_or(Rejection::Unknown).and_then(|record| judge_session(context, record));
    let JudgedSession { mut session, life, parent: above, last_activity_at, begins_grace, .. } = match judged {
        Ok(judged) => judged,
        Err(rejection) => {
            if !matches!(rejection, Rejection::Address(_)) {
                delete_session_copies(context, vec![ticket.hash]);
            }
            return Ok((Err(rejection), answers));
        }
    };
    policy::check_enrolment(context, &session)?;
    let mut cookies = Vec::new();
    let mut writes = Vec::new();
    if begins_grace {
        writes.push(store::session::begin_grace(tenant, &session.user.id, context.now));
    }
    // An impersonation ends when it was said to. A website that prolongs nothing prolongs no session elsewhere either.
    let may_prolong = look.prolong != Prolong::No && life.extends && session.impersonated_by.is_none();
    let is_due = |life: &Life| life.is_due(&context.config, context.now);
    let prolonged = may_prolong && (is_due(&life) || above.as_ref().is_some_and(is_due));
    let before = (prolonged && look.prolong == Prolong::Later).then(|| session.clone());
    if prolonged {
        let until = life.prolonged(context.now);
        session.expires_at = above.map_or(until, |above| until.min(above.prolonged(context.now)));
        session.updated_at = context.now;
        if before.is_none() {
            writes.push(store::session::prolong(context, &session.id, session.parent_id.as_ref()));
            cookies.push(renewed_cookie(context, &ticket.token, &session));
        }
    }
    if ticket.is_by_former_key && cookies.is_empty() {
        cookies.push(renewed_cookie(context, &ticket.token, &session));
    }
    if last_activity_at + ACTIVITY <= context.now {
        writes.push(records::store::audit::activity(tenant, &session.id, context.now));
    }
    if !writes.is_empty() {
        write_later::write_later(context, writes);
    }
    // A request that asks D1 may be about to write in this session's name.
    if look.depth == Depth::Database {
        context.db()?.hold_to(store::session::must_live(tenant, &ticket.hash));
    }
    if let Some(before) = before {
        let due =
            DueProlongation { token: ticket.token, hash: ticket.hash.clone(), before: before.clone(), after: session };
        return Ok((Ok(Authenticated { session: before, hash: ticket.hash, cookies, due: Some(due) }), answers));
    }
    // Whoever asks D1 each time need not write to KV each time.
    if look.depth == Depth::Snapshot || prolonged {
        write_session_copy(context, &ticket.hash, &session);
    }
    cookies.extend(snapshot_cookie(context, &ticket.hash, &session));
    Ok((Ok(Authenticated { session, hash: ticket.hash, cookies, due: None }), answers))
}

/// The session cookie's `Set-Cookie` line.
#[must_use]
pub fn session_cookie(context: &Context, token: &Token<SessionToken>, session: &LiveSession) -> String {
    let seconds = (session.expires_at - context.now) / 1000;
    let value = live_session::cookie_value(&context.config.keyring, token);
    Cookie::Session.set(context.is_secure, &value, session.is_remembered.then_some(seconds))
}

/// The longest that browsers keep a cookie, in seconds: 400 days.
const LONGEST_COOKIE: i64 = 34_560_000;

/// The same for a browser that we cannot set another one in when the session is prolonged.
#[must_use]
pub fn lasting_cookie(context: &Context, token: &Token<SessionToken>, session: &LiveSession) -> String {
    let value = live_session::cookie_value(&context.config.keyring, token);
    Cookie::Session.set(context.is_secure, &value, session.is_remembered.then_some(LONGEST_COOKIE))
}

/// The session cookie of a session that goes on: for a website that a proxy stands in front of, the lasting one.
fn renewed_cookie(context: &Context, token: &Token<SessionToken>, session: &LiveSession) -> String {
    let is_asked = context.app().is_some_and(|app| app.origin_url.is_none() && app.service_binding.is_none());
    if is_asked { lasting_cookie(context, token, session) } else { session_cookie(context, token, session) }
}

/// The snapshot's `Set-Cookie` line, if a snapshot is worth sending.
#[must_use]
pub fn snapshot_cookie(context: &Context, hash: &TokenHash<SessionToken>, session: &LiveSession) -> Option<String> {
    let (text, seconds) = session.snapshot(&context.config, hash, context.now)?;
    Some(Cookie::Snapshot.set(context.is_secure, &text, Some(seconds)))
}

/// Puts a session into KV, after the answer.
pub fn write_session_copy(context: &Context, hash: &TokenHash<SessionToken>, session: &LiveSession) {
    let (env, config, hash, session) = (context.env.clone(), context.config.clone(), hash.clone(), session.clone());
    let (now, request) = (context.now, context.request_id().to_owned());
    context.after(async move {
        if let Err(error) = store::kv::put(&env, &config, &hash, &session, now).await {
            note(&request, &format!("KV put: {error}"));
        }
    });
}

/// Takes sessions out of KV, after the answer. A copy that stays behind is worth nothing once it is
/// `SESSION_RECHECK_SECONDS` old.
pub fn delete_session_copies(context: &Context, hashes: Vec<TokenHash<SessionToken>>) {
    let (env, request) = (context.env.clone(), context.request_id().to_owned());
    context.after(async move {
        for hash in hashes {
            if let Err(error) = store::kv::delete(&env, &hash).await {
                note(&request, &format!("KV delete: {error}"));
            }
        }
    });
}
