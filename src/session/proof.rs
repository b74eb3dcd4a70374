//! Proving once more who is there, before something sensitive; and whether a new password will do.

use serde_json::json;

use crate::credentials::password::Password;
use crate::platform::d1::{Answers, Statement};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::secret::Secret;
use crate::platform::webcrypto;
use crate::records::deliver::deliver_later;
use crate::records::store::audit::{Attempt, Severity};
use crate::request::context::Context;
use crate::request::fetch::Outgoing;
use crate::request::{fetch, password_hash};
use crate::session::authenticate;
use crate::session::authenticate::Authenticated;
use crate::users::lockout;
use crate::users::sign_in_decision::Refusal;
use crate::{records, request, users};

/// Who proved to be there.
pub struct PasswordProof {
    /// The session.
    pub authenticated: Authenticated,
    /// The hash of the password that was compared; none of a user without one.
    pub current: Option<Secret<String>>,
    /// The answers of the further statements.
    pub answers: Answers,
}

/// The session, confirmed by D1, and its user's password, compared. A user without a password proves themselves by a
/// fresh sign-in. `more` statements come along in the first round trip.
///
/// # Errors
/// 400 for a wrong or missing password, 401, 403 for a session that is not fresh, 429.
pub async fn prove_by_password(
    context: &Context,
    typed: Option<&Password>,
    purpose: &'static str,
    more: Vec<Statement>,
) -> Result<PasswordProof> {
    let ticket = authenticate::require_ticket(context)?;
    let limit = context.config.limit_change_password;
    let mut statements = vec![
        request::store::rate_limit::count_for_session(context, "change-password", &ticket.hash, limit),
        users::store::password::of_session(context, &ticket.hash),
    ];
    statements.extend(more);
    let (authenticated, mut answers) = authenticate::require_session(context, statements).await?;
    let window: Option<request::store::rate_limit::Window> = answers.row()?;
    if let Some(retry_after) = window.and_then(|window| window.retry_after(limit, context.now)) {
        return Err(Error::TooManyRequests { retry_after, limit: "passwords in a session's name" });
    }
    let current: Option<users::store::password::Current> = answers.row()?;
    let Some(current) = current else {
        require_fresh_session(context, &authenticated)?;
        return Ok(PasswordProof { authenticated, current: None, answers });
    };
    let stored = Secret::new(current.password_hash);
    let typed = typed.ok_or_else(|| Error::refused(Wire::INVALID_PASSWORD, "no password was given"))?;
    let is_right = password_hash::verify_password(context, typed, Some(&stored)).await?.is_right;
    // A stolen session must not be a quieter place to guess than the login page: a lock holds here as well, and what is
    // wrong here counts towards one. That is a third round trip, for the wrong ones alone.
    let is_locked = current.locked_until.is_some_and(|until| until > context.now);
    if is_locked || !is_right {
        let refusal = if is_locked { Refusal::Locked } else { Refusal::WrongPassword };
        record_refusal(context, &authenticated.session.user.id, refusal, purpose).await?;
        return Err(Error::refused(Wire::INVALID_PASSWORD, refusal.as_str()));
    }
    Ok(PasswordProof { authenticated, current: Some(stored), answers })
}

async fn record_refusal(context: &Context, user: &Id<User>, refusal: Refusal, purpose: &'static str) -> Result<()> {
    let attempt = Attempt { user_id: Some(user), session_id: None, failure: Some(refusal.as_str()), method: purpose };
    let mut statements = vec![records::store::audit::login(context, &context.row_id()?, attempt)];
    if refusal == Refusal::WrongPassword {
        statements.extend(lockout::failed_sign_in_statements(context, user)?);
    }
    users::store::sign_in::record(context.db()?, statements).await?;
    deliver_later(context);
    Ok(())
}

/// Whether the session's owner signed in lately enough for something sensitive.
///
/// # Errors
/// 403 `SESSION_NOT_FRESH`.
pub fn require_fresh_session(context: &Context, authenticated: &Authenticated) -> Result<()> {
    if authenticated.session.is_fresh(&context.config, context.now) {
        return Ok(());
    }
    Err(Error::refused(Wire::SESSION_NOT_FRESH, "signed in too long ago"))
}

/// Whether this is an administrator in somebody else's session, who changes no credentials there.
///
/// # Errors
/// 403.
pub fn refuse_impersonator(authenticated: &Authenticated) -> Result<()> {
    if authenticated.session.impersonated_by.is_none() {
        return Ok(());
    }
    Err(Error::refused(Wire::FORBIDDEN, "an impersonating administrator"))
}

/// Whether a new password has an acceptable length: asked first, because it costs nothing.
///
/// # Errors
/// `PASSWORD_TOO_SHORT`, `PASSWORD_TOO_LONG`.
pub fn check_password_length(context: &Context, password: &Password) -> Result<()> {
    let length = password.length();
    if length < context.config.password_min {
        return Err(Error::refused(Wire::PASSWORD_TOO_SHORT, format!("{length} characters")));
    }
    if length > context.config.password_max {
        return Err(Error::refused(Wire::PASSWORD_TOO_LONG, format!("{length} characters")));
    }
    Ok(())
}

/// Whether a new password is in a breach, if that is to be asked: five digits of its SHA-1 go out, and all that begin
/// with them come back (k-anonymity). A service that does not answer keeps nobody from having a password; it is audited.
///
/// # Errors
/// `PASSWORD_COMPROMISED`.
pub async fn check_password_breach(context: &Context, password: &Password, user: Option<&Id<User>>) -> Result<()> {
    let Some(api) = &context.config.breached_passwords else {
        return Ok(());
    };
    let digest = webcrypto::sha1_hex(password.bytes()).await?;
    let (prefix, suffix) = digest.split_at(5);
    match fetch_breach_range(context, &format!("{api}{prefix}")).await {
        Ok(list) if lists_suffix(&list, suffix) => Err(Error::refused(Wire::PASSWORD_COMPROMISED, "in a known breach")),
        Ok(_) => Ok(()),
        Err(problem) => {
            context.note(&format!("breached passwords: {problem}"));
            let details = json!({ "problem": problem });
            let id = context.row_id()?;
            let event = records::store::audit::audit(
                context,
                &id,
                user,
                "password.breach_unchecked",
                Severity::Medium,
                &details,
            );
            context.db()?.batch([event]).await?;
            Ok(())
        }
    }
}

async fn fetch_breach_range(context: &Context, url: &str) -> std::result::Result<String, String> {
    // Padding: the length of the answer would tell an eavesdropper the prefix.
    let outgoing = Outgoing { url, form: None, authorization: None, header: Some(("add-padding", "true")) };
    let answer = fetch::send_request(context, outgoing).await?;
    if answer.status != 200 {
        return Err(format!("status {}", answer.status));
    }
    String::from_utf8(answer.body).map_err(|_| "not text".to_owned())
}

/// Whether `SUFFIX:count` is in the list with a count; padding has none.
fn lists_suffix(list: &str, suffix: &str) -> bool {
    list.lines().filter_map(|line| line.trim().split_once(':')).any(|(listed, count)| {
        listed.eq_ignore_ascii_case(suffix) && count.trim().parse::<u64>().is_ok_and(|count| count > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::lists_suffix;

    #[test]
    fn a_suffix_is_listed_with_a_count() {
        let list = "0018A45C4D1DEF81644B54AB7F969B88D65:1\r\n00D4F6E8FA6EECAD2A3AA415EEC418D38EC:0\r\n";
        assert!(lists_suffix(list, "0018A45C4D1DEF81644B54AB7F969B88D65"));
        assert!(lists_suffix(list, "0018a45c4d1def81644b54ab7f969b88d65"));
        assert!(!lists_suffix(list, "00D4F6E8FA6EECAD2A3AA415EEC418D38EC"));
        assert!(!lists_suffix(list, "0018A45C4D1DEF81644B54AB7F969B88D6"));
        assert!(!lists_suffix("<html>", "html"));
    }
}
