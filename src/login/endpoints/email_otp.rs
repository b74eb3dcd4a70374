//! Six digits by mail: for signing in, proving an address, a new password, a new address.

use serde_json::json;

use crate::account::verification::Proven;
use crate::account::{change_email, user, verification};
use crate::credentials::password::{LONGEST_READ, Password};
use crate::http::email;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::login::email_otp;
use crate::login::email_otp::LONGEST_CODE;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::unicode::nfkc;
use crate::records::deliver::deliver_later;
use crate::request::context::Context;
use crate::request::origins;
use crate::session::call::Call;
use crate::session::protocol;
use crate::users::fields::{LONGEST_IMAGE, LONGEST_NAME};
use crate::users::store::code::{CodeKind, digits};
use crate::users::store::sign_in::By;
use crate::users::{addressee, limits, person};
use crate::{records, users};

/// `POST /email-otp/send-verification-otp`: known and unknown addresses are answered alike.
///
/// # Errors
/// 400 for bad fields, 404 where codes are not a way in, 429.
pub async fn send(call: &mut Call) -> Result<Reply> {
    origins::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (email, judged) = email_otp::email_field(&mut fields);
    let named = fields.required("type", 50);
    fields.finish()?;
    judged?;
    send_code(&call.context, &email, email_otp::kind(&named)?).await?;
    Reply::json(200, &json!({ "success": true }))
}

/// Mails a code to whoever has the address, or may have an account with it.
///
/// # Errors
/// 429, 503.
pub async fn send_code(context: &Context, email: &str, kind: CodeKind) -> Result<()> {
    let user = addressee::addressee(context, "code", By::Email(email)).await?;
    let is_welcome = user.is_some() || (kind == CodeKind::SignIn && context.config.sign_up_open);
    let code = digits(context.random()?);
    let mut statements = Vec::from(users::store::code::issue(context, kind, email, &code)?);
    let user_id = user.as_ref().map(|user| &user.user_id);
    if is_welcome {
        statements.push(records::store::outbox::queue(
            context,
            user_id,
            email,
            &email_otp::letter(context, kind, &code),
        )?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(())
}

/// `POST /email-otp/check-verification-otp`: whether a code is right, which does not use it up.
///
/// # Errors
/// 400, 403, 429.
pub async fn check(call: &mut Call) -> Result<Reply> {
    origins::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (email, judged) = email_otp::email_field(&mut fields);
    let named = fields.required("type", 50);
    let otp = fields.required("otp", LONGEST_CODE);
    fields.finish()?;
    judged?;
    email_otp::redeem(&call.context, email_otp::kind(&named)?, By::Email(&email), &otp, true).await?;
    Reply::json(200, &json!({ "success": true }))
}

/// `POST /sign-in/email-otp`.
///
/// # Errors
/// 400 for bad fields or a wrong code, 403 for a banned user, 404 where codes are not a way in, 429.
pub async fn sign_in(call: &mut Call) -> Result<Reply> {
    origins::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (email, judged) = email_otp::email_field(&mut fields);
    let otp = fields.required("otp", LONGEST_CODE);
    let name = fields.optional_name("name", LONGEST_NAME).unwrap_or_default();
    let image = fields.optional("image", LONGEST_IMAGE);
    fields.finish()?;
    judged?;
    let outcome = email_otp::by_code(&call.context, &email, &otp, &name, image.as_deref()).await?;
    outcome.json(|session| json!({ "token": session.id, "user": session.user_json() }))
}

/// `POST /email-otp/verify-email`.
///
/// # Errors
/// 400, 403, 429.
pub async fn verify_email(call: &mut Call) -> Result<Reply> {
    origins::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (email, judged) = email_otp::email_field(&mut fields);
    let otp = fields.required("otp", LONGEST_CODE);
    fields.finish()?;
    judged?;
    let context = &call.context;
    let loaded = email_otp::redeem(context, CodeKind::EmailProof, By::Email(&email), &otp, false).await?;
    let user = loaded.candidate.ok_or_else(|| Error::refused(Wire::INVALID_OTP, "nobody has the address"))?;
    let proven = verification::prove(&call.context, &user.user_id, &email).await?;
    let person: Option<person::Person> =
        context.db()?.first(users::store::user::person(context, &user.user_id)).await?;
    let Some(person) = person.filter(|_| proven != Proven::No) else {
        return Err(Error::refused(Wire::INVALID_OTP, "the address is another by now"));
    };
    let user = protocol::UserJson::new(&person, &[]);
    Reply::json(200, &json!({ "status": true, "token": null, "user": user }))
}

/// `POST /email-otp/request-password-reset`, and its older name `POST /forget-password/email-otp`.
///
/// # Errors
/// 400, 404, 429.
pub async fn request_reset(call: &mut Call) -> Result<Reply> {
    origins::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    fields.finish()?;
    send_code(&call.context, &email, CodeKind::Reset).await?;
    Reply::json(200, &json!({ "success": true }))
}

/// `POST /email-otp/reset-password`.
///
/// # Errors
/// 400 for bad fields, a bad password or a wrong code, 403, 429.
pub async fn reset_password(call: &mut Call) -> Result<Reply> {
    origins::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    let otp = fields.required("otp", LONGEST_CODE);
    let new = Password::new(fields.required("password", LONGEST_READ), nfkc);
    fields.finish()?;
    email_otp::set_password(&call.context, CodeKind::Reset, By::Email(&email), &otp, &new).await?;
    Reply::json(200, &json!({ "success": true }))
}

/// `POST /email-otp/request-email-change`: a code to the new address, from a session whose own address agrees by a code.
///
/// # Errors
/// 400, 401, 403, 404, 429.
pub async fn request_change(call: &mut Call) -> Result<Reply> {
    origins::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let new = fields.email("newEmail");
    let otp = fields.optional("otp", LONGEST_CODE);
    fields.finish()?;
    let context = &call.context;
    let counters = limits::mails(context, "change-email", &new);
    let (authenticated, is_free) = change_email::wish(&call.context, &new, &counters).await?;
    let user = &authenticated.session.user;
    if user.email_verified && email::is_mailbox(&user.email) {
        // The old address agrees: by the code that `send-verification-otp` mails to it.
        let otp = otp.ok_or_else(|| Error::refused(Wire::OTP_REQUIRED, "no code of the present address"))?;
        email_otp::redeem(context, CodeKind::EmailProof, By::Email(&user.email), &otp, false).await?;
    }
    // By whom and for what: the code of one user's wish is no other's.
    let code = digits(context.random()?);
    let mut statements =
        Vec::from(users::store::code::issue(context, CodeKind::ChangeEmail, &bound(&user.id, &new), &code)?);
    if is_free {
        let letter = email_otp::letter(context, CodeKind::ChangeEmail, &code);
        statements.push(records::store::outbox::queue(context, Some(&user.id), &new, &letter)?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(Reply::json(200, &json!({ "success": true }))?.with_cookies(authenticated.cookies))
}

fn bound(user: &Id<User>, email: &str) -> String {
    format!("{user} {email}")
}

/// `POST /email-otp/change-email`.
///
/// # Errors
/// 400, 401, 403, 404, 429.
pub async fn change(call: &mut Call) -> Result<Reply> {
    origins::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let new = fields.email("newEmail");
    let otp = fields.required("otp", LONGEST_CODE);
    fields.finish()?;
    let context = &call.context;
    // Guesses are counted by the address that they would prove: of accounts that guess there may be any number.
    let (authenticated, _) = change_email::wish(&call.context, &new, &limits::codes(context, &new)).await?;
    let user = &authenticated.session.user;
    let verdict =
        users::store::code::try_alone(context, CodeKind::ChangeEmail, &bound(&user.id, &new), otp.trim()).await?;
    email_otp::accept(CodeKind::ChangeEmail, verdict)?;
    if !change_email::carry_out(context, &user.id, &user.email, &new).await? {
        return Err(Error::refused(Wire::EMAIL_ALREADY_IN_USE, "taken meanwhile"));
    }
    let cookies = user::refreshed(context, &authenticated).await?;
    Ok(Reply::json(200, &json!({ "success": true }))?.with_cookies(cookies))
}
