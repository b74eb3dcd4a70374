//! Going on with a sign-in by a second factor: a code of an authenticator app, a mailed one, or a backup code.

use crate::credentials::{backup_code, totp};
use crate::http::cookie::Cookie;
use crate::http::email;
use crate::login::email_otp;
use crate::platform::d1::{Answers, Statement};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::secret::{Purpose, SecondFactor, Token, TokenHash, TrustedDevice};
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::request::context::Context;
use crate::request::store::verification::Claim;
use crate::session::authenticate::Authenticated;
use crate::session::open::{FirstFactor, Opened, Opening};
use crate::session::{authenticate, live_session, open, policy};
use crate::users::person::Person;
use crate::users::store::code::{CodeKind, Verdict, digits};
use crate::users::store::second_factor::{Factor, MOST_ATTEMPTS, MOST_FAILURES, WaitingSignIn};
use crate::{records, request, users};

/// What was typed.
#[derive(Clone, Copy)]
pub enum TypedCode<'a> {
    /// A code of an authenticator app.
    Totp(&'a str),
    /// A mailed code.
    Mailed(&'a str),
    /// A backup code.
    Backup(&'a str),
    /// Six digits of either the app or a mail, as a page takes them.
    Digits(&'a str),
}

impl TypedCode<'_> {
    pub(crate) const fn wrong(self) -> Wire {
        match self {
            Self::Totp(_) | Self::Mailed(_) | Self::Digits(_) => Wire::INVALID_CODE,
            Self::Backup(_) => Wire::INVALID_BACKUP_CODE,
        }
    }
}

/// The sign-in that waits in this browser, by its cookie.
#[must_use]
pub fn read_pending_sign_in(context: &Context) -> Option<TokenHash<SecondFactor>> {
    let token: Token<SecondFactor> = Token::parse(&context.cookie(Cookie::SecondFactor)?)?;
    Some(token.hash())
}

/// The digests under which a user's backup code may be kept: by the authenticator's secret, or, of earlier ones, by a key of
/// `SECRETS`.
fn backup_digests(context: &Context, user: &Id<User>, seed: &[u8], code: &str) -> Vec<String> {
    let message = format!("backup\0{user}\0{}", backup_code::normalise(code));
    let mut digests = context.config.keyring.digests(Purpose::Code, message.as_bytes());
    digests.push(backup_code::digest(seed, user.as_str(), code));
    digests
}

/// Whether the tenant's policy takes a backup code for a second factor.
///
/// # Errors
/// 400.
pub fn backup_codes_allowed(context: &Context) -> Result<()> {
    if policy::policy_of_tenant(context)?.allows_backup_codes() {
        return Ok(());
    }
    Err(Error::refused(Wire::BACKUP_CODES_NOT_ENABLED, "the tenant's policy takes none"))
}

/// Goes on with a sign-in that waits.
///
/// # Errors
/// 400 without the factor or after too many codes, 401 for a wrong code or without a sign-in to go on with, 429 while locked.
pub async fn finish_sign_in(
    context: &Context,
    hash: &TokenHash<SecondFactor>,
    typed: TypedCode<'_>,
    trusts: bool,
) -> Result<Opened> {
    if matches!(typed, TypedCode::Backup(_)) {
        backup_codes_allowed(context)?;
    }
    let (waiting, factor, verdict) = load_attempt(context, hash, typed).await?;
    let user = &waiting.user_id;
    let Some((before, if_changed)) = judge_code(context, &factor, user, typed, verdict)? else {
        return Err(record_wrong_code(context, user, typed, &factor).await?);
    };
    let first: FirstFactor = serde_json::from_slice(waiting.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no first factor: {error}")))?;
    let guest = first.guest.map(TokenHash::trusted);
    let amr: Vec<&str> = live_session::add_second_factor(first.amr.iter().map(String::as_str));
    let opening = Opening {
        is_remembered: first.is_remembered,
        while_password: first.while_password.as_deref(),
        claim: Some(Claim { id: &waiting.id, if_changed }),
        otherwise: typed.wrong(),
        last_method: first.last_method.as_deref(),
        absorbs_guest: guest.is_some(),
        guest: guest.as_ref(),
        ..Opening::new(user, &first.method, &amr)
    };
    let mut opened = match open::open_session(context, &opening, vec![before]).await.map_err(Error::from) {
        // A backup code is found right or wrong by the statement that uses it up; and of one step, one session comes.
        Err(error) if error.wire() == typed.wrong() => {
            return Err(record_wrong_code(context, user, typed, &factor).await?);
        }
        other => other?,
    };
    if trusts && policy::policy_of_tenant(context)?.allows_trusted_devices() {
        // A third round trip, for those who ask for it: only once the session is there is the browser to be trusted.
        let token: Token<TrustedDevice> = Token::new(context.random()?);
        context.db()?.batch([users::store::second_factor::trust(context, user, &token)?]).await?;
        let seconds = context.config.trusted_device_seconds;
        opened.cookies.push(Cookie::TrustedDevice.set(context.is_secure, token.expose(), Some(seconds)));
    }
    Ok(opened)
}

/// Counts the attempt and loads what waits, in one round trip in which a mailed code is tried as well.
///
/// # Errors
/// 401 if nothing waits; 400 without a second factor, or after too many codes; 503.
pub async fn load_attempt(
    context: &Context,
    hash: &TokenHash<SecondFactor>,
    typed: TypedCode<'_>,
) -> Result<(WaitingSignIn, Factor, Option<Verdict>)> {
    let mut statements = vec![
        users::store::second_factor::asked(context, hash),
        users::store::second_factor::attempt(context, hash),
        users::store::second_factor::attempt_of_asked(context, hash),
    ];
    statements.extend(redeem_statements(context, hash.as_str(), typed));
    let mut answers = context.db()?.batch(statements).await?;
    let methods: Vec<String> = answers.row()?.unwrap_or_default();
    let waiting: Option<WaitingSignIn> = answers.row()?;
    let factor: Option<Factor> = answers.row()?;
    let waiting =
        waiting.ok_or_else(|| Error::refused(Wire::INVALID_SECOND_FACTOR_COOKIE, "nothing waits, or no more"))?;
    if waiting.attempts > MOST_ATTEMPTS {
        return Err(Error::refused(Wire::TOO_MANY_SECOND_FACTORS, "too many codes for one sign-in"));
    }
    let factor = factor.ok_or_else(|| Error::refused(Wire::TOTP_NOT_ENABLED, "switched off meanwhile"))?;
    let verdict = read_verdict(context, &mut answers, typed)?;
    let is_mailed = methods.iter().any(|method| method == "otp");
    Ok((waiting, factor, verdict.map(|verdict| if is_mailed { verdict } else { Verdict::None })))
}

pub(crate) fn redeem_statements(context: &Context, about: &str, typed: TypedCode<'_>) -> Vec<Statement> {
    match typed {
        TypedCode::Mailed(typed) | TypedCode::Digits(typed) => {
            Vec::from(users::store::code::redeem(context, CodeKind::SecondFactor, about, typed.trim(), None, false))
        }
        TypedCode::Totp(_) | TypedCode::Backup(_) => Vec::new(),
    }
}

pub(crate) fn read_verdict(context: &Context, answers: &mut Answers, typed: TypedCode<'_>) -> Result<Option<Verdict>> {
    match typed {
        TypedCode::Mailed(_) | TypedCode::Digits(_) => Ok(Some(users::store::code::verdict(answers, context.now)?)),
        TypedCode::Totp(_) | TypedCode::Backup(_) => Ok(None),
    }
}

/// The statement that accepts a code, and whether it alone decides; `None` for a wrong one.
///
/// # Errors
/// 429 while the factor is locked; 400 for a kind of code that the factor does not have.
pub fn judge_code(
    context: &Context,
    factor: &Factor,
    user: &Id<User>,
    typed: TypedCode<'_>,
    verdict: Option<Verdict>,
) -> Result<Option<(Statement, bool)>> {
    if factor.is_locked() {
        return Err(Error::refused(Wire::SECOND_FACTOR_LOCKED, "too many wrong codes in a row"));
    }
    match (typed, verdict) {
        (TypedCode::Mailed(_) | TypedCode::Digits(_), Some(Verdict::Right)) => {
            Ok(Some((users::store::second_factor::accept_mailed(context, user), false)))
        }
        (TypedCode::Totp(typed) | TypedCode::Digits(typed), _) => {
            let seed = factor.seed(context)?;
            let seed = seed.ok_or_else(|| Error::refused(Wire::TOTP_NOT_ENABLED, "mailed codes alone"))?;
            let step = totp::matches(seed.expose(), typed, context.now, factor.last_used_step);
            Ok(step.map(|step| (users::store::second_factor::accept_step(context, user, &factor.id, step), true)))
        }
        (TypedCode::Backup(typed), _) => {
            if factor.method != "totp" {
                return Err(Error::refused(Wire::BACKUP_CODES_NOT_ENABLED, "mailed codes alone"));
            }
            let seed = factor.seed(context)?;
            let seed = seed.ok_or_else(|| Error::refused(Wire::BACKUP_CODES_NOT_ENABLED, "no authenticator"))?;
            let digests = backup_digests(context, user, seed.expose(), typed);
            Ok(Some((users::store::second_factor::accept_backup_code(context, user, &digests), true)))
        }
        (TypedCode::Mailed(_), None | Some(Verdict::Wrong)) => Ok(None),
        (TypedCode::Mailed(_), Some(verdict)) => require_right_mailed_code(verdict).map(|()| None),
    }
}

/// Whether a mailed code was right.
///
/// # Errors
/// 401 for a wrong code; 400 for one that has expired or was tried too often.
pub fn require_right_mailed_code(verdict: Verdict) -> Result<()> {
    match verdict {
        Verdict::Right => Ok(()),
        Verdict::Wrong => Err(Error::refused(Wire::INVALID_CODE, "a wrong mailed code")),
        Verdict::Expired | Verdict::None => {
            Err(Error::refused(Wire::OTP_HAS_EXPIRED, "none was sent, or it came too late"))
        }
        Verdict::TooManyAttempts => {
            Err(Error::refused(Wire::TOO_MANY_SECOND_FACTORS, "one mailed code tried too often"))
        }
    }
}

pub(crate) async fn record_wrong_code(
    context: &Context,
    user: &Id<User>,
    typed: TypedCode<'_>,
    factor: &Factor,
) -> Result<Error> {
    let attempt = records::store::audit::Attempt {
        user_id: Some(user),
        session_id: None,
        failure: Some("wrong_second_factor"),
        method: "second-factor",
    };
    let history = records::store::audit::login(context, &context.row_id()?, attempt);
    let letter = mail::security_notice(
        &context.tenant().name,
        "Wrong codes at your second step",
        "Somebody got past the first step of signing in to your account and gave too many wrong codes for the second, which accepts none for a while. If it was not you, change your password.",
    );
    let mut statements = vec![history];
    if factor.failed_attempts == MOST_FAILURES {
        statements.push(records::store::outbox::queue_to_user(context, user, &letter, None)?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(Error::refused(typed.wrong(), "wrong, or used before"))
}

/// Mails a code to whoever is asked for a second factor, or signed in. It is good for this sign-in alone.
///
/// # Errors
/// 401 without a sign-in to go on with, 429.
pub async fn mail_second_factor_code(context: &Context) -> Result<Option<Authenticated>> {
    let limit = context.config.limit_mail;
    let gone = |reason: &str| Error::refused(Wire::INVALID_SECOND_FACTOR_COOKIE, reason);
    let (about, person, is_welcome, authenticated) = if let Some(hash) = read_pending_sign_in(context) {
        // By user, not by sign-in: whoever knows the password may begin many.
        let statements = [
            request::store::rate_limit::count_for_asked(context, "code", &hash, limit),
            users::store::second_factor::person(context, &hash),
            users::store::second_factor::asked(context, &hash),
        ];
        let mut answers = context.db()?.batch(statements).await?;
        check_mail_limit(context, answers.row()?)?;
        let person: Option<Person> = answers.row()?;
        let methods: Vec<String> = answers.row()?.unwrap_or_default();
        let person = person.ok_or_else(|| gone("nothing waits, or no more"))?;
        (hash.as_str().to_owned(), person, methods.iter().any(|method| method == "otp"), None)
    } else {
        let ticket =
            authenticate::require_ticket(context).map_err(|_| gone("neither a sign-in that waits nor a session"))?;
        let count = request::store::rate_limit::count_for_session(context, "code", &ticket.hash, limit);
        let (authenticated, mut answers) = authenticate::require_session(context, vec![count]).await?;
        check_mail_limit(context, answers.row()?)?;
        let user = &authenticated.session.user;
        if !user.email_verified || !email::is_mailbox(&user.email) {
            return Err(Error::refused(Wire::EMAIL_NOT_VERIFIED, "codes would go where nobody may read them"));
        }
        (ticket.hash.as_str().to_owned(), authenticated.session.user.clone(), true, Some(authenticated))
    };
    let code = digits(context.random()?);
    let mut statements = Vec::from(users::store::code::issue(context, CodeKind::SecondFactor, &about, &code)?);
    if is_welcome && email::is_mailbox(&person.email) {
        let letter = email_otp::code_mail(context, CodeKind::SecondFactor, &code);
        statements.push(records::store::outbox::queue(context, Some(&person.id), &person.email, &letter)?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(authenticated)
}

fn check_mail_limit(context: &Context, window: Option<request::store::rate_limit::Window>) -> Result<()> {
    let limit = context.config.limit_mail;
    match window.and_then(|window| window.retry_after(limit, context.now)) {
        Some(retry_after) => Err(Error::TooManyRequests { retry_after, limit: "codes by sign-in" }),
        None => Ok(()),
    }
}

/// What the page of second factors shows: the ways to go on; none if nothing waits.
///
/// # Errors
/// 503.
pub async fn load_methods(context: &Context) -> Result<Option<Vec<String>>> {
    match read_pending_sign_in(context) {
        Some(hash) => Ok(context.db()?.first(users::store::second_factor::asked(context, &hash)).await?),
        None => Ok(None),
    }
}
