//! Second factors set up and taken away. Each asks for the password first: a stolen session must not lock its owner out.

use serde_json::json;

use crate::account::second_factor_setup;
use crate::credentials::totp;
use crate::http::email;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::records::deliver::deliver_later;
use crate::session;
use crate::session::authenticate::{Authenticated, delete_session_copies};
use crate::session::call::Call;
use crate::session::cookies::clear_session_cookies;
use crate::users::fields;
use crate::users::store::second_factor::Factor;

/// `POST /two-factor/enable`: TOTP is pending until a code proves it; mailed codes need no more than a proven address.
///
/// # Errors
/// 400 for a wrong password or TOTP that is there already, 401, 403, 429.
pub async fn enable(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let password = second_factor_setup::password_field(&mut fields);
    let method = fields.optional("method", 20).unwrap_or_else(|| "totp".to_owned());
    let issuer = fields.optional("issuer", fields::LONGEST_NAME);
    fields.finish()?;
    if !matches!(method.as_str(), "totp" | "otp") {
        let text = "[body.method] Invalid option: expected one of \"otp\"|\"totp\"";
        return Err(Error::Validation(text.to_owned()));
    }
    let (proof, factors) = second_factor_setup::prove_and_load_factors(&call.context, password.as_ref()).await?;
    if method == "otp" {
        return enable_mailed(call, proof.authenticated, &factors).await;
    }
    let begun =
        second_factor_setup::begin_totp(&call.context, &proof.authenticated, &factors, issuer.as_deref()).await?;
    let body = json!({ "method": "totp", "totpURI": begun.uri, "backupCodes": begun.backup_codes });
    Ok(Reply::json(200, &body)?.with_cookies(proof.authenticated.cookies))
}

async fn enable_mailed(call: &Call, authenticated: Authenticated, factors: &[Factor]) -> Result<Reply> {
    let context = &call.context;
    let user = &authenticated.session.user;
    if !user.email_verified || !email::is_mailbox(&user.email) {
        return Err(Error::refused(Wire::EMAIL_NOT_VERIFIED, "codes would go where nobody may read them"));
    }
    // Whoever has TOTP has mailed codes with it.
    let has_factor = factors.iter().any(|factor| factor.is_verified);
    let mut before =
        if has_factor { Vec::new() } else { second_factor_setup::enable_mailed_statements(context, &user.id)? };
    if authenticated.session.must_enrol {
        // The policy asks for a code by mail now, which this session was not opened with: the next sign-in is.
        before.push(session::store::session::end(context, &authenticated.hash, "second factor enabled"));
        context.db()?.batch(before).await?;
        delete_session_copies(context, vec![authenticated.hash.clone()]);
        deliver_later(context);
        return Ok(Reply::json(200, &json!({ "method": "otp" }))?.with_cookies(clear_session_cookies(context)));
    }
    let opened = second_factor_setup::replace_session(&call.context, &authenticated, before, None).await?;
    Ok(Reply::json(200, &json!({ "method": "otp" }))?.with_cookies(opened.cookies))
}

/// `POST /two-factor/get-totp-uri`.
///
/// # Errors
/// 400 for a wrong password or without TOTP, 401, 403 as [`second_factor_setup::require_second_factor`](crate::account::second_factor_setup::require_second_factor), 429.
pub async fn uri(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let password = second_factor_setup::password_field(&mut fields);
    fields.finish()?;
    let (proof, factors) = second_factor_setup::prove_and_load_factors(&call.context, password.as_ref()).await?;
    second_factor_setup::require_second_factor(&proof.authenticated, &factors)?;
    let context = &call.context;
    let factor = factors.iter().find(|factor| factor.method == "totp");
    let seed = factor.map(|factor| factor.seed(context)).transpose()?.flatten();
    let seed = seed.ok_or_else(|| Error::refused(Wire::TOTP_NOT_ENABLED, "no TOTP"))?;
    let uri = totp::uri(seed.expose(), &context.tenant().name, &proof.authenticated.session.user.email);
    Ok(Reply::json(200, &json!({ "totpURI": uri }))?.with_cookies(proof.authenticated.cookies))
}

/// `POST /two-factor/generate-backup-codes`: new ones in the place of those that are left.
///
/// # Errors
/// 400 for a wrong password or without TOTP, 401, 403 as [`second_factor_setup::require_second_factor`](crate::account::second_factor_setup::require_second_factor), 429.
pub async fn backup_codes(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let password = second_factor_setup::password_field(&mut fields);
    fields.finish()?;
    let (proof, factors) = second_factor_setup::prove_and_load_factors(&call.context, password.as_ref()).await?;
    let codes = second_factor_setup::replace_backup_codes(&call.context, &proof.authenticated, &factors).await?;
    let body = json!({ "status": true, "backupCodes": codes });
    Ok(Reply::json(200, &body)?.with_cookies(proof.authenticated.cookies))
}

/// `POST /two-factor/disable`.
///
/// # Errors
/// 400 for a wrong password, 401, 429.
pub async fn disable(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let password = second_factor_setup::password_field(&mut fields);
    fields.finish()?;
    let (proof, factors) = second_factor_setup::prove_and_load_factors(&call.context, password.as_ref()).await?;
    let opened = second_factor_setup::disable_second_factor(&call.context, &proof.authenticated, &factors).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(opened.cookies))
}
