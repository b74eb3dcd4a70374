//! Second factors set up and taken away. Each asks for the password first: a stolen session must not lock its owner out.

use serde_json::{Value, json};

use crate::credentials::password::{LONGEST_READ, Password};
use crate::credentials::{backup_code, totp};
use crate::http::fields::Fields;
use crate::http::reply::Reply;
use crate::platform::d1::{Statement, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::unicode::nfkc;
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::authenticate::{Authenticated, delete_session_copies};
use crate::session::live_session::{add_second_factor, has_two_factors};
use crate::session::open::{Opened, Opening};
use crate::session::proof::PasswordProof;
use crate::session::{authenticate, open, policy, proof};
use crate::users::store::second_factor::{Factor, NewFactor};
use crate::{records, users};

pub(crate) fn password_field(fields: &mut Fields) -> Option<Password> {
    fields.optional("password", LONGEST_READ).map(|typed| Password::new(typed, nfkc))
}

/// A factor that was begun: what its owner is shown, once.
pub struct BegunFactor {
    /// The URI for the authenticator app.
    pub uri: String,
    /// The seed for typing.
    pub seed: String,
    /// The backup codes.
    pub backup_codes: Vec<String>,
}

/// Proves who is there, and loads their factors: the one in use first.
///
/// # Errors
/// As [`proof::prove_by_password`](crate::session::proof::prove_by_password).
pub async fn prove_and_load_factors(
    context: &Context,
    password: Option<&Password>,
) -> Result<(PasswordProof, Vec<Factor>)> {
    let ticket = authenticate::require_ticket(context)?;
    let more = vec![users::store::second_factor::of_session(context, &ticket.hash)];
    let mut proof = proof::prove_by_password(context, password, "second-factor", more).await?;
    proof::refuse_impersonator(&proof.authenticated)?;
    let factors: Vec<Factor> = proof.answers.rows()?;
    Ok((proof, factors))
}

/// Whether the session was opened with a second factor, where its user has TOTP: the password alone, in a browser that is not
/// asked for more, must neither copy the factor nor take it away. A code given to `verify-totp` in this session does.
///
/// # Errors
/// 403.
pub fn require_second_factor(authenticated: &Authenticated, factors: &[Factor]) -> Result<()> {
    let amr = &authenticated.session.amr;
    let has_totp = factors.iter().any(|factor| factor.is_verified && factor.method == "totp");
    if !has_totp || has_two_factors(amr) || amr.iter().any(|method| method == "pop") {
        return Ok(());
    }
    Err(Error::refused(Wire::SECOND_FACTOR_NOT_GIVEN, "the password alone, in a trusted browser"))
}

/// Keeps a pending seed and backup codes.
///
/// # Errors
/// 400 if TOTP is in use; 503.
pub async fn begin_totp(
    context: &Context,
    authenticated: &Authenticated,
    factors: &[Factor],
    issuer: Option<&str>,
) -> Result<BegunFactor> {
    if factors.iter().any(|factor| factor.is_verified && factor.method == "totp") {
        return Err(Error::refused(Wire::TOTP_ALREADY_ENABLED, "in use"));
    }
    let user = &authenticated.session.user;
    let seed: [u8; totp::SEED] = context.random()?;
    let (backup_codes, digests) = make_backup_codes(context, &user.id, &seed)?;
    let id = context.row_id()?;
    let new = NewFactor { id: &id, user_id: &user.id, seed: Some(&seed), backup_codes: &digests };
    context.db()?.batch(users::store::second_factor::begin(context, &new)?).await?;
    let uri = totp::uri(&seed, issuer.unwrap_or(&context.tenant().name), &user.email);
    Ok(BegunFactor { uri, seed: totp::readable(&seed), backup_codes })
}

/// New backup codes of an authenticator with this secret, and the digests to keep.
fn make_backup_codes(context: &Context, user: &Id<User>, seed: &[u8]) -> Result<(Vec<String>, Vec<String>)> {
    let codes: Vec<String> =
        (0..backup_code::COUNT).map(|_| context.random().map(backup_code::code)).collect::<Result<_>>()?;
    let digests = codes.iter().map(|code| backup_code::digest(seed, user.as_str(), code)).collect();
    Ok((codes, digests))
}

pub(crate) fn enable_mailed_statements(context: &Context, user: &Id<User>) -> Result<Vec<Statement>> {
    let id = context.row_id()?;
    let new = NewFactor { id: &id, user_id: user, seed: None, backup_codes: &[] };
    let mut statements = Vec::from(users::store::second_factor::begin(context, &new)?);
    statements.extend(users::store::second_factor::verify(context, user, &id, 0));
    statements.extend(notify_statements(context, user, "second_factor.enabled", "on")?);
    Ok(statements)
}

/// Puts mailed codes to use for somebody who has no second factor and just gave one of them: instead of the password, which
/// `enable` asks for, the session must be fresh.
///
/// # Errors
/// 403 for a session that is not fresh.
pub async fn enable_mailed_codes(context: &Context, authenticated: Authenticated) -> Result<Reply> {
    proof::require_fresh_session(context, &authenticated)?;
    let before = enable_mailed_statements(context, &authenticated.session.user.id)?;
    let opened = replace_session(context, &authenticated, before, Some(Wire::INVALID_CODE)).await?;
    let body = json!({ "token": opened.session.id, "user": opened.session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
}

/// The step by which a pending factor's code proves it.
///
/// # Errors
/// If the seed does not open.
pub fn matching_step(context: &Context, pending: &Factor, typed: &str) -> Result<Option<i64>> {
    let seed = pending.seed(context)?;
    Ok(seed.and_then(|seed| totp::matches(seed.expose(), typed, context.now, pending.last_used_step)))
}

/// Puts a pending factor to use by a code of it. The session is replaced by one that says so.
///
/// # Errors
/// 400 without a pending factor, 401 for a wrong code.
pub async fn enable_pending_factor(
    context: &Context,
    authenticated: Authenticated,
    pending: Option<&Factor>,
    typed: &str,
) -> Result<Reply> {
    let opened = verify_pending_factor(context, authenticated, pending, typed).await?;
    let body = json!({ "token": opened.session.id, "user": opened.session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
}

/// [`enable_pending_factor`], for a page.
///
/// # Errors
/// The same.
pub async fn verify_pending_factor(
    context: &Context,
    authenticated: Authenticated,
    pending: Option<&Factor>,
    typed: &str,
) -> Result<Opened> {
    proof::refuse_impersonator(&authenticated)?;
    let pending = pending.ok_or_else(|| Error::refused(Wire::TOTP_NOT_ENABLED, "nothing pending"))?;
    if pending.is_locked() {
        return Err(Error::refused(Wire::SECOND_FACTOR_LOCKED, "too many wrong codes of a pending factor"));
    }
    let Some(step) = matching_step(context, pending, typed)? else {
        return Err(Error::refused(Wire::INVALID_CODE, "wrong code of a pending factor"));
    };
    let user = &authenticated.session.user.id;
    let mut before = Vec::from(users::store::second_factor::verify(context, user, &pending.id, step));
    // Of two requests with codes of one pending factor, one puts it to use.
    before.push(must_change());
    before.extend(notify_statements(context, user, "second_factor.enabled", "on")?);
    replace_session(context, &authenticated, before, Some(Wire::INVALID_CODE)).await
}

/// The statements that tell the owner, and the auditor.
fn notify_statements(context: &Context, user: &Id<User>, event: &str, how: &str) -> Result<[Statement; 2]> {
    let subject = format!("Two-step sign-in is {how}");
    let what = format!("Two-step sign-in was switched {how} for your account.");
    let letter = mail::security_notice(&context.tenant().name, &subject, &what);
    let id = context.row_id()?;
    Ok([
        records::store::audit::audit(context, &id, Some(user), event, Severity::Medium, &json!({})),
        records::store::outbox::queue_to_user(context, user, &letter, None)?,
    ])
}

/// Ends this session and opens another in its place: what could be done with the one before should not go on with it.
/// With `given`, a second factor was just given; that is what a request is told that comes too late with it.
///
/// # Errors
/// `given`; 503.
pub async fn replace_session(
    context: &Context,
    authenticated: &Authenticated,
    before: Vec<Statement>,
    given: Option<Wire>,
) -> Result<Opened> {
    let session = &authenticated.session;
    let first = session.amr.iter().map(String::as_str);
    let amr: Vec<&str> = if given.is_some() { add_second_factor(first) } else { first.collect() };
    let opening = Opening {
        is_remembered: session.is_remembered,
        replaces: Some(&session.id),
        // Nobody proved anything that a later change should rely on.
        authenticated_at: Some(session.authenticated_at),
        otherwise: given.unwrap_or(Wire::UNAUTHORIZED),
        ..Opening::new(&session.user.id, &session.login_method, &amr)
    };
    let opened = open::open_session(context, &opening, before).await.map_err(Error::from)?;
    delete_session_copies(context, vec![authenticated.hash.clone()]);
    deliver_later(context);
    Ok(opened)
}

/// Replaces the backup codes.
///
/// # Errors
/// 400 without TOTP, 403 as [`require_second_factor`]; 503.
pub async fn replace_backup_codes(
    context: &Context,
    authenticated: &Authenticated,
    factors: &[Factor],
) -> Result<Vec<String>> {
    require_second_factor(authenticated, factors)?;
    let user = &authenticated.session.user.id;
    let no_totp = || Error::refused(Wire::SECOND_FACTOR_NOT_ENABLED, "no TOTP in use");
    let authenticators = || factors.iter().filter(|factor| factor.method == "totp");
    let factor = authenticators().find(|factor| factor.is_verified).or_else(|| authenticators().next());
    let factor = factor.ok_or_else(no_totp)?;
    let seed = factor.seed(context)?.ok_or_else(no_totp)?;
    let (codes, digests) = make_backup_codes(context, user, seed.expose())?;
    let details = Value::Object(serde_json::Map::new());
    let id = context.row_id()?;
    let statements = [
        users::store::second_factor::replace_backup_codes(context, user, &factor.id, &digests),
        records::store::audit::audit(context, &id, Some(user), "backup_codes.replaced", Severity::Medium, &details),
    ];
    let replaced: Option<String> = context.db()?.batch(statements).await?.row()?;
    replaced.ok_or_else(no_totp)?;
    Ok(codes)
}

/// Takes a user's second factors away, and the trust in their browsers.
///
/// # Errors
/// 403 as [`require_second_factor`]; 503.
pub async fn disable_second_factor(
    context: &Context,
    authenticated: &Authenticated,
    factors: &[Factor],
) -> Result<Opened> {
    let user = &authenticated.session.user.id;
    policy::check_factor_removal(context, &authenticated.session)?;
    require_second_factor(authenticated, factors)?;
    let mut before =
        vec![users::store::second_factor::disable(user), users::store::second_factor::distrust(context, user, None)];
    if factors.iter().any(|factor| factor.is_verified) {
        before.extend(notify_statements(context, user, "second_factor.disabled", "off")?);
    }
    replace_session(context, authenticated, before, None).await
}
