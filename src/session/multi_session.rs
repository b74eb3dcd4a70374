//! Several accounts in one browser.
//! Their session tokens stand in one further cookie, each signed as the session cookie is; D1 says which of them still hold.

use crate::http::cookie::Cookie;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Session};
use crate::platform::secret::{SessionToken, Token, TokenHash};
use crate::request::context::Context;
use crate::request::write_later::write_later;
use crate::session::authenticate::{
    Authenticated, delete_session_copies, judge_session, session_cookie, snapshot_cookie, write_session_copy,
};
use crate::session::cookies::clear_session_cookies;
use crate::session::live_session::{JudgedSession, LiveSession, cookie_value, read_cookie};
use crate::session::store::session::WhichSessions;
use crate::session::{policy, store};

/// The most accounts of a browser: what a cookie's 4 kB hold, and a person keeps apart.
const MOST: usize = 8;

/// Between two tokens.
const BETWEEN: char = '~';

/// A session's token that a browser brings, and whether it may outlive the browser.
struct BrowserToken {
    token: Token<SessionToken>,
    is_remembered: bool,
}

/// The tokens that a browser brings: those of the further cookies and the session cookie's.
fn read_tokens(context: &Context) -> Vec<BrowserToken> {
    let [remembered, others] =
        [Cookie::Others, Cookie::Unremembered].map(|cookie| context.cookie(cookie).unwrap_or_default());
    let current = context.cookie(Cookie::Session).unwrap_or_default();
    // Of a token that stands in no further cookie it is not known, and what is not known goes with the browser.
    // By the token, and not by the text: after a rotation of SECRETS one is signed anew, and the other not yet.
    let token_of = |value: &str| value.split('.').next().unwrap_or_default().to_owned();
    let is_listed = remembered.split(BETWEEN).any(|value| token_of(value) == token_of(&current));
    let current = std::iter::once((current.as_str(), is_listed));
    let further = remembered.split(BETWEEN).map(|value| (value, true));
    let further = further.chain(others.split(BETWEEN).map(|value| (value, false)));
    let mut tokens: Vec<BrowserToken> = Vec::new();
    for (value, is_remembered) in current.chain(further) {
        let Some(token) = read_cookie(&context.config.keyring, value) else {
            continue;
        };
        if tokens.len() < MOST && !tokens.iter().any(|known| known.token.expose() == token.expose()) {
            tokens.push(BrowserToken { token, is_remembered });
        }
    }
    tokens
}

/// The further cookies with these tokens, each with whether it may outlive the browser.
pub fn account_cookies<'a>(
    context: &Context,
    tokens: impl Iterator<Item = (&'a Token<SessionToken>, bool)>,
) -> Vec<String> {
    let (remembered, others): (Vec<_>, Vec<_>) = tokens.partition(|(_, is_remembered)| *is_remembered);
    let line = |cookie: Cookie, tokens: Vec<(&Token<SessionToken>, bool)>, seconds: Option<i64>| {
        if tokens.is_empty() {
            return context.cookie(cookie).map(|_| cookie.clear(context.is_secure));
        }
        let value = |(token, _): &(&Token<SessionToken>, bool)| cookie_value(&context.config.keyring, token);
        let values: Vec<String> = tokens.iter().map(value).collect();
        Some(cookie.set(context.is_secure, &values.join(&BETWEEN.to_string()), seconds))
    };
    let remembered = line(Cookie::Others, remembered, Some(context.config.session_seconds));
    remembered.into_iter().chain(line(Cookie::Unremembered, others, None)).collect()
}

/// The further cookies once a session is opened: it comes first, the others stay.
#[must_use]
pub fn add_account(context: &Context, new: &Token<SessionToken>, is_remembered: bool) -> Vec<String> {
    if !context.config.multi_session {
        return Vec::new();
    }
    let known = read_tokens(context);
    // A session that no cookie names any more could not be signed out.
    let dropped: Vec<TokenHash<SessionToken>> = known.iter().skip(MOST - 1).map(|kept| kept.token.hash()).collect();
    if !dropped.is_empty() {
        let end = |hash| store::session::end(context, hash, "displaced");
        write_later(context, dropped.iter().map(end).collect());
        delete_session_copies(context, dropped);
    }
    let known = known.iter().map(|kept| (&kept.token, kept.is_remembered));
    account_cookies(context, std::iter::once((new, is_remembered)).chain(known).take(MOST))
}

/// An account of the browser.
pub struct BrowserAccount {
    pub(crate) token: Token<SessionToken>,
    pub(crate) session: LiveSession,
}

impl BrowserAccount {
    pub(crate) const fn kept(&self) -> (&Token<SessionToken>, bool) {
        (&self.token, self.session.is_remembered)
    }
}

/// The accounts of the browser, one a user: of two sessions, the one opened last.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn load_accounts(context: &Context) -> Result<Vec<BrowserAccount>> {
    let mut accounts: Vec<BrowserAccount> = Vec::new();
    for one in load_sessions(context).await? {
        match accounts.iter_mut().find(|known| known.session.user.id == one.session.user.id) {
            Some(known) if known.session.created_at < one.session.created_at => *known = one,
            Some(_) => (),
            None => accounts.push(one),
        }
    }
    Ok(accounts)
}

/// The sessions of the browser that hold.
async fn load_sessions(context: &Context) -> Result<Vec<BrowserAccount>> {
    let tokens = read_tokens(context);
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    let tenant = &context.tenant().id;
    let statements: Vec<_> = tokens.iter().map(|kept| store::session::load(tenant, &kept.token.hash())).collect();
    let mut answers = context.db()?.batch(statements).await?;
    let mut sessions: Vec<BrowserAccount> = Vec::new();
    for BrowserToken { token, .. } in tokens {
        let record = store::session::read(&mut answers)?;
        let Some(Ok(JudgedSession { session, .. })) = record.map(|record| judge_session(context, record)) else {
            continue;
        };
        // Of an account that must set up a second factor first, nothing is shown or switched to.
        if policy::check_enrolment(context, &session).is_ok() {
            sessions.push(BrowserAccount { token, session });
        }
    }
    Ok(sessions)
}

/// Ends every session of the browser but the active one, which the caller ends: signed out is signed out.
///
/// # Errors
/// 503.
pub async fn end_other_accounts(context: &Context) -> Result<Vec<String>> {
    let brought = [Cookie::Others, Cookie::Unremembered].into_iter();
    let brought: Vec<Cookie> = brought.filter(|cookie| context.cookie(*cookie).is_some()).collect();
    if !context.config.multi_session || brought.is_empty() {
        return Ok(Vec::new());
    }
    let accounts = load_sessions(context).await?;
    let statements: Vec<_> = accounts
        .iter()
        .map(|BrowserAccount { session, .. }| {
            store::session::revoke(context, &session.user.id, WhichSessions::One(&session.id), "signed_out", None)
        })
        .collect();
    if !statements.is_empty() {
        let mut answers = context.db()?.batch(statements).await?;
        for _ in &accounts {
            delete_session_copies(context, store::session::revoked(&mut answers)?);
        }
    }
    Ok(brought.into_iter().map(|cookie| cookie.clear(context.is_secure)).collect())
}

/// The refusal of a session that is none of the browser's.
#[must_use]
pub fn unknown_session() -> Error {
    Error::refused(Wire::INVALID_SESSION_TOKEN, "no session of this browser")
}

/// The `Set-Cookie` lines by which an account becomes the active one.
#[must_use]
pub fn cookies_of_active(context: &Context, account: &BrowserAccount) -> Vec<String> {
    let hash = account.token.hash();
    write_session_copy(context, &hash, &account.session);
    let snapshot = snapshot_cookie(context, &hash, &account.session);
    // An old snapshot must not answer for the account before.
    let snapshot = snapshot.unwrap_or_else(|| Cookie::Snapshot.clear(context.is_secure));
    vec![session_cookie(context, &account.token, &account.session), snapshot]
}

/// Ends the session of this browser that has the handle. If it was the active one, another becomes active. The `Set-Cookie`
/// lines.
///
/// # Errors
/// 401 for a session that is not this browser's; 503.
pub async fn end_account(context: &Context, authenticated: Authenticated, handle: &str) -> Result<Vec<String>> {
    let accounts = load_accounts(context).await?;
    let ended = accounts.iter().find(|account| account.session.id.as_str() == handle).ok_or_else(unknown_session)?;
    let id: &Id<Session> = &ended.session.id;
    let revoke = store::session::revoke(context, &ended.session.user.id, WhichSessions::One(id), "revoked", None);
    let mut answers = context.db()?.batch([revoke]).await?;
    delete_session_copies(context, store::session::revoked(&mut answers)?);
    let left: Vec<&BrowserAccount> = accounts.iter().filter(|account| account.session.id != *id).collect();
    let mut cookie_lines = account_cookies(context, left.iter().map(|account| account.kept()));
    if *id == authenticated.session.id {
        match left.first() {
            Some(next) => cookie_lines.extend(cookies_of_active(context, next)),
            None => cookie_lines.extend(clear_session_cookies(context)),
        }
    } else {
        cookie_lines.extend(authenticated.cookies);
    }
    Ok(cookie_lines)
}
