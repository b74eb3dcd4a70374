//! The second factor: a code of an authenticator app, a mailed one, or a backup code. Asked for after a first factor, or
//! given once more by whoever is signed in.

use serde_json::json;

use crate::account::second_factor_setup;
use crate::http::cookie::Cookie;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::login::second_factor;
use crate::login::second_factor::TypedCode;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::secret::{SecondFactor, TokenHash};
use crate::request::store::verification::Claim;
use crate::session::call::Call;
use crate::session::live_session::{LiveSession, has_two_factors};
use crate::session::proof;
use crate::session::protocol::UserJson;
use crate::users::person::Person;
use crate::users::store::second_factor::Factor;
use crate::{request, users};

/// The longest code read, in characters.
const LONGEST_CODE: usize = 40;

/// `POST /two-factor/verify-totp`.
///
/// # Errors
/// 400 without TOTP or after too many codes, 401 for a wrong one or without a sign-in to go on with, 429 while locked.
pub async fn verify_totp(call: &mut Call) -> Result<Reply> {
    let (code, trusts, _) = fields(call).await?;
    verify(call, TypedCode::Totp(&code), trusts).await
}

/// `POST /two-factor/verify-otp`.
///
/// # Errors
/// As [`verify_totp`].
pub async fn verify_mailed(call: &mut Call) -> Result<Reply> {
    let (code, trusts, _) = fields(call).await?;
    verify(call, TypedCode::Mailed(&code), trusts).await
}

/// `POST /two-factor/verify-backup-code`.
///
/// # Errors
/// As [`verify_totp`].
pub async fn verify_backup(call: &mut Call) -> Result<Reply> {
    let (code, trusts, disable_session) = fields(call).await?;
    second_factor::backup_codes_allowed(&call.context)?;
    match second_factor::read_pending_sign_in(&call.context) {
        Some(hash) if disable_session => without_session(call, &hash, &code).await,
        _ => verify(call, TypedCode::Backup(&code), trusts).await,
    }
}

async fn fields(call: &mut Call) -> Result<(String, bool, bool)> {
    let mut fields = call.request.fields(Media::Json).await?;
    let code = fields.required("code", LONGEST_CODE);
    let trusts = fields.boolean("trustDevice").unwrap_or(false);
    let disable_session = fields.boolean("disableSession").unwrap_or(false);
    fields.finish()?;
    Ok((code, trusts, disable_session))
}

async fn verify(call: &Call, typed: TypedCode<'_>, trusts: bool) -> Result<Reply> {
    let answer = |session: &LiveSession| json!({ "token": session.id, "user": session.user_json() });
    match second_factor::read_pending_sign_in(&call.context) {
        Some(hash) => {
            let opened = second_factor::finish_sign_in(&call.context, &hash, typed, trusts).await?;
            Ok(Reply::json(200, &answer(&opened.session))?.with_cookies(opened.cookies))
        }
        None => again(call, typed).await,
    }
}

/// A code of somebody who is signed in: their pending factor is put to use by it, or the one in use is proven again.
async fn again(call: &Call, typed: TypedCode<'_>) -> Result<Reply> {
    let context = &call.context;
    let ticket = call.presented().map_err(|_| {
        Error::refused(Wire::INVALID_SECOND_FACTOR_COOKIE, "neither a sign-in that waits nor a session")
    })?;
    let mut more = vec![users::store::second_factor::attempt_of_session(context, &ticket.hash)];
    more.extend(second_factor::redeem_statements(context, ticket.hash.as_str(), typed));
    let (authenticated, mut answers) = call.confirmed(more).await?;
    let factors: Vec<Factor> = answers.rows()?;
    let verdict = second_factor::read_verdict(context, &mut answers, typed)?;
    proof::refuse_impersonator(&authenticated)?;
    let user = &authenticated.session.user.id;
    // A pending seed proves itself while the old factor still holds.
    let in_use = factors.iter().find(|factor| factor.is_verified);
    let pending = factors.iter().find(|factor| !factor.is_verified);
    if let (TypedCode::Totp(typed), Some(factor)) = (typed, pending) {
        let replaces_mailed_codes = in_use.is_none_or(|factor| factor.method != "totp");
        if replaces_mailed_codes || second_factor_setup::matching_step(context, factor, typed)?.is_some() {
            return second_factor_setup::enable_pending_factor(&call.context, authenticated, Some(factor), typed).await;
        }
    }
    let Some(factor) = in_use else {
        if let Some(verdict) = verdict {
            second_factor::require_right_mailed_code(verdict)?;
            return second_factor_setup::enable_mailed_codes(&call.context, authenticated).await;
        }
        let wire =
            if matches!(typed, TypedCode::Totp(_)) { Wire::TOTP_NOT_ENABLED } else { Wire::SECOND_FACTOR_NOT_ENABLED };
        return Err(Error::refused(wire, "no second factor"));
    };
    let Some((accept, decides)) = second_factor::judge_code(context, factor, user, typed, verdict)? else {
        return Err(second_factor::record_wrong_code(context, user, typed, factor).await?);
    };
    let accepted: Option<String> = context.db()?.batch([accept]).await?.row()?;
    if decides && accepted.is_none() {
        return Err(second_factor::record_wrong_code(context, user, typed, factor).await?);
    }
    let session = &authenticated.session;
    if !has_two_factors(&session.amr) {
        // A trusted browser was not asked for it: from now on the session says that it was given.
        let opened =
            second_factor_setup::replace_session(&call.context, &authenticated, Vec::new(), Some(typed.wrong()))
                .await?;
        let body = json!({ "token": opened.session.id, "user": opened.session.user_json() });
        return Ok(Reply::json(200, &body)?.with_cookies(opened.cookies));
    }
    let body = json!({ "token": session.id, "user": session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies))
}

/// A backup code given without wanting a session: it is used up, and so is the sign-in that waited.
async fn without_session(call: &Call, hash: &TokenHash<SecondFactor>, typed: &str) -> Result<Reply> {
    let context = &call.context;
    let code = TypedCode::Backup(typed);
    let (waiting, factor, _) = second_factor::load_attempt(context, hash, code).await?;
    let user = &waiting.user_id;
    let Some((accept, if_changed)) = second_factor::judge_code(context, &factor, user, code, None)? else {
        return Err(second_factor::record_wrong_code(context, user, code, &factor).await?);
    };
    let claim = request::store::verification::claim(context, Claim { id: &waiting.id, if_changed }, &context.id()?);
    let mut answers = context.db()?.batch([accept, claim, users::store::user::person(context, user)]).await?;
    if answers.row::<String>()?.is_none() {
        return Err(second_factor::record_wrong_code(context, user, code, &factor).await?);
    }
    let person: Option<Person> = answers.skip(1).row()?;
    let user: Option<UserJson<'_>> = person.as_ref().map(|person| UserJson::new(person, &[]));
    Ok(Reply::json(200, &json!({ "user": user }))?.with_cookie(Cookie::SecondFactor.clear(context.is_secure)))
}

/// `POST /two-factor/send-otp`.
///
/// # Errors
/// 401 without a sign-in to go on with, 429.
pub async fn send(call: &mut Call) -> Result<Reply> {
    call.request.fields(Media::Json).await?.finish()?;
    let authenticated = second_factor::mail_second_factor_code(&call.context).await?;
    let cookies = authenticated.map(|authenticated| authenticated.cookies).unwrap_or_default();
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(cookies))
}
