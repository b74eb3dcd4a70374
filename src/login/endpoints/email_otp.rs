//! Six digits by mail: for signing in, proving an address, a new password, a new address.

use serde_json::json;

use crate::credentials::password::{LONGEST_READ, Password};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::login::email_otp;
use crate::login::email_otp::LONGEST_CODE;
use crate::platform::error::Result;
use crate::platform::unicode::nfkc;
use crate::request::origins;
use crate::session::call::Call;
use crate::session::protocol;
use crate::users::fields::{LONGEST_IMAGE, LONGEST_NAME};
use crate::users::store::code::CodeKind;
use crate::users::store::sign_in::LookupBy;

/// `POST /email-otp/send-verification-otp`: known and unknown addresses are answered alike.
///
/// # Errors
/// 400 for bad fields, 404 where codes are not a way in, 429.
pub async fn send(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (email, judged) = email_otp::email_field(&mut fields);
    let named = fields.required("type", 50);
    fields.finish()?;
    judged?;
    email_otp::send_email_code(&call.context, &email, email_otp::code_kind(&named)?).await?;
    Reply::json(200, &json!({ "success": true }))
}

/// `POST /email-otp/check-verification-otp`: whether a code is right, which does not use it up.
///
/// # Errors
/// 400, 403, 429.
pub async fn check(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (email, judged) = email_otp::email_field(&mut fields);
    let named = fields.required("type", 50);
    let otp = fields.required("otp", LONGEST_CODE);
    fields.finish()?;
    judged?;
    email_otp::redeem_code(&call.context, email_otp::code_kind(&named)?, LookupBy::Email(&email), &otp, true).await?;
    Reply::json(200, &json!({ "success": true }))
}

/// `POST /sign-in/email-otp`.
///
/// # Errors
/// 400 for bad fields or a wrong code, 403 for a banned user, 404 where codes are not a way in, 429.
pub async fn sign_in(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (email, judged) = email_otp::email_field(&mut fields);
    let otp = fields.required("otp", LONGEST_CODE);
    let name = fields.optional_name("name", LONGEST_NAME).unwrap_or_default();
    let image = fields.optional("image", LONGEST_IMAGE);
    fields.finish()?;
    judged?;
    let outcome = email_otp::sign_in_by_code(&call.context, &email, &otp, &name, image.as_deref()).await?;
    outcome.json(|session| json!({ "token": session.id, "user": session.user_json() }))
}

/// `POST /email-otp/verify-email`.
///
/// # Errors
/// 400, 403, 429.
pub async fn verify_email(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (email, judged) = email_otp::email_field(&mut fields);
    let otp = fields.required("otp", LONGEST_CODE);
    fields.finish()?;
    judged?;
    let person = email_otp::verify_email(&call.context, &email, &otp).await?;
    let user = protocol::UserJson::new(&person, &[]);
    Reply::json(200, &json!({ "status": true, "token": null, "user": user }))
}

/// `POST /email-otp/request-password-reset`, and its older name `POST /forget-password/email-otp`.
///
/// # Errors
/// 400, 404, 429.
pub async fn request_reset(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    fields.finish()?;
    email_otp::send_email_code(&call.context, &email, CodeKind::Reset).await?;
    Reply::json(200, &json!({ "success": true }))
}

/// `POST /email-otp/reset-password`.
///
/// # Errors
/// 400 for bad fields, a bad password or a wrong code, 403, 429.
pub async fn reset_password(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    let otp = fields.required("otp", LONGEST_CODE);
    let new = Password::new(fields.required("password", LONGEST_READ), nfkc);
    fields.finish()?;
    email_otp::reset_password_by_code(&call.context, CodeKind::Reset, LookupBy::Email(&email), &otp, &new).await?;
    Reply::json(200, &json!({ "success": true }))
}

/// `POST /email-otp/request-email-change`: a code to the new address, from a session whose own address agrees by a code.
///
/// # Errors
/// 400, 401, 403, 404, 429.
pub async fn request_change(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let new = fields.email("newEmail");
    let otp = fields.optional("otp", LONGEST_CODE);
    fields.finish()?;
    let cookies = email_otp::request_email_change(&call.context, &new, otp.as_deref()).await?;
    Ok(Reply::json(200, &json!({ "success": true }))?.with_cookies(cookies))
}

/// `POST /email-otp/change-email`.
///
/// # Errors
/// 400, 401, 403, 404, 429.
pub async fn change(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let new = fields.email("newEmail");
    let otp = fields.required("otp", LONGEST_CODE);
    fields.finish()?;
    let cookies = email_otp::change_email_by_code(&call.context, &new, &otp).await?;
    Ok(Reply::json(200, &json!({ "success": true }))?.with_cookies(cookies))
}
