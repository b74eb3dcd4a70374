//! Phone numbers: proven by a code, and then as good as an address.

use serde_json::{Value, json};

use crate::account::user;
use crate::credentials::password::{LONGEST_READ, Password};
use crate::http::fields::Fields;
use crate::http::incoming::Media;
use crate::http::phone;
use crate::http::reply::Reply;
use crate::login::sign_in_or_up::ProvenArrival;
use crate::login::{email_otp, sign_in_or_up};
use crate::platform::d1::StoreError;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::unicode::nfkc;
use crate::records::deliver::deliver_later;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::request::origins;
use crate::session::call::Call;
use crate::session::proof;
use crate::session::protocol::UserJson;
use crate::users::person::Person;
use crate::users::sign_in_decision::Candidate;
use crate::users::store::code::{CodeKind, digits};
use crate::users::store::sign_in::LookupBy;
use crate::users::store::sign_up::NewUser;
use crate::users::{addressee, sign_in_decision};
use crate::{records, users};

/// The longest code read, in characters.
const LONGEST_CODE: usize = 20;

fn number_field(fields: &mut Fields) -> String {
    fields.required("phoneNumber", phone::LONGEST_READ)
}

fn check_open(context: &Context) -> Result<()> {
    origins::require_open_way(context.config.ways_in.phone)?;
    if context.config.sms_webhook.is_none() && !context.config.development {
        return Err(Error::refused(Wire::SEND_OTP_NOT_IMPLEMENTED, "SMS_WEBHOOK is not set"));
    }
    Ok(())
}

/// `POST /phone-number/send-otp`: known and unknown numbers are answered alike.
///
/// # Errors
/// 400 for what is no number, 404 where phones are not a way in, 429, 501 without `SMS_WEBHOOK`.
pub async fn send(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let typed = number_field(&mut fields);
    fields.finish()?;
    let context = &call.context;
    check_open(context)?;
    send_code(context, &phone::require_phone_number(&typed)?, CodeKind::Phone).await?;
    Reply::json(200, &json!({ "message": "code sent" }))
}

async fn send_code(context: &Context, number: &str, kind: CodeKind) -> Result<()> {
    let user = addressee::load_addressee(context, "code", LookupBy::Phone(number)).await?;
    let code = digits(context.random()?);
    let mut statements = Vec::from(users::store::code::issue(context, kind, number, &code)?);
    let minutes = context.config.code_seconds / 60;
    let text = format!("{code} is your code for {}, for {minutes} minutes. Tell it to nobody.", context.tenant().name);
    let user_id = user.as_ref().map(|user| &user.user_id);
    // A number that is nobody's yet may be about to be proven; a password is set only for whoever has one.
    if kind == CodeKind::Phone || user.is_some() {
        statements.push(records::store::outbox::queue_sms(context, user_id, number, &text)?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(())
}

/// `POST /phone-number/verify`: signs in, up, or with `updatePhoneNumber` gives the session's user this number.
///
/// # Errors
/// 400 for a wrong code or a number that somebody has, 401, 403, 404, 429.
pub async fn verify(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let typed = number_field(&mut fields);
    let otp = fields.required("code", LONGEST_CODE);
    let disable_session = fields.boolean("disableSession").unwrap_or(false);
    let update = fields.boolean("updatePhoneNumber").unwrap_or(false);
    fields.finish()?;
    check_open(&call.context)?;
    let number = phone::require_phone_number(&typed)?;
    if update {
        return update_number(call, &number, &otp).await;
    }
    let context = &call.context;
    let loaded = email_otp::redeem_code(context, CodeKind::Phone, LookupBy::Phone(&number), &otp, false).await?;
    // The address stands in for the one that nobody gave: mail to it goes nowhere (RFC 2606, section 2). It is made of
    // chance, or a number that somebody gave up could not be another's, nor one whose stand-in somebody took first.
    let email = format!("{}@phone.placeholder.invalid", context.row_id()?);
    if disable_session {
        return without_session(context, &number, &email, loaded.candidate.as_ref()).await;
    }
    let guest = if loaded.candidate.is_none() { call.guest().await? } else { None };
    let arrival = ProvenArrival {
        email: &email,
        phone_number: Some(&number),
        name: &number,
        image: None,
        method: "phone",
        amr: &["otp", "sms"],
        claim: None,
        otherwise: Wire::INVALID_OTP,
        guest: guest.as_ref(),
        absorbs_guest: true,
    };
    let (outcome, _) = sign_in_or_up::sign_in_or_up(context, &arrival, loaded.candidate.as_ref()).await?;
    outcome.json(|session| json!({ "status": true, "token": session.id, "user": session.user_json() }))
}

/// What `disableSession` asks for: a number proven, and its user made if there is none. Who has a second factor is shown
/// to nobody who gave but one.
async fn without_session(context: &Context, number: &str, email: &str, known: Option<&Candidate>) -> Result<Reply> {
    let user_id = match known {
        Some(known) => {
            sign_in_decision::decide_admission(known, context.now)
                .map_err(|refusal| Error::refused(Wire::BANNED_USER, refusal.as_str()))?;
            known.user_id.clone()
        }
        None if !context.config.sign_up_open => {
            return Err(Error::refused(Wire::INVALID_OTP, "nobody, and SIGN_UP is closed"));
        }
        None => context.id()?,
    };
    let mut statements = Vec::new();
    if known.is_none() {
        let user = NewUser { phone_number: Some(number), ..NewUser::new(&user_id, email, number) };
        statements.extend(users::store::sign_up::create(context, &user)?);
        let details = json!({ "method": "phone" });
        let id = context.row_id()?;
        let event = records::store::audit::audit(context, &id, Some(&user_id), "user.created", Severity::Low, &details);
        statements.push(event);
    }
    let skipped = statements.len();
    statements.push(users::store::user::person(context, &user_id));
    let mut answers = match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(_)) => return Err(Error::refused(Wire::INVALID_OTP, "taken meanwhile")),
        other => other?.skip(skipped),
    };
    let person: Option<Person> = answers.row()?;
    let mut body = json!({ "status": true, "token": Value::Null });
    if let Some(person) = person.filter(|person| !person.two_factor_enabled) {
        body["user"] = json!(UserJson::new(&person, &[]));
    }
    Reply::json(200, &body)
}

async fn update_number(call: &Call, number: &str, otp: &str) -> Result<Reply> {
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let context = &call.context;
    proof::refuse_impersonator(&authenticated)?;
    proof::require_fresh_session(context, &authenticated)?;
    let loaded = email_otp::redeem_code(context, CodeKind::Phone, LookupBy::Phone(number), otp, false).await?;
    if loaded.candidate.is_some() {
        return Err(Error::refused(Wire::PHONE_NUMBER_EXIST, "somebody has it"));
    }
    let user: &Id<User> = &authenticated.session.user.id;
    let details = json!({ "number": number });
    let id = context.row_id()?;
    let statements = [
        users::store::user::change_phone(context, user, Some(number)),
        records::store::audit::audit(context, &id, Some(user), "phone_number.changed", Severity::Medium, &details),
        users::store::user::person(context, user),
    ];
    let mut answers = match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(_)) => return Err(Error::refused(Wire::PHONE_NUMBER_EXIST, "taken meanwhile")),
        other => other?.skip(2),
    };
    let person: Option<Person> = answers.row()?;
    let shown = person.as_ref().map(|person| UserJson::new(person, &authenticated.session.roles));
    let body = json!({ "status": true, "token": authenticated.session.id, "user": shown });
    let cookies = user::refresh_session_copy(context, &authenticated).await?;
    Ok(Reply::json(200, &body)?.with_cookies(cookies))
}

/// `POST /phone-number/request-password-reset`: known and unknown numbers are answered alike.
///
/// # Errors
/// 400, 404, 429, 501.
pub async fn request_reset(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let typed = number_field(&mut fields);
    fields.finish()?;
    check_open(&call.context)?;
    send_code(&call.context, &phone::require_phone_number(&typed)?, CodeKind::PhoneReset).await?;
    Reply::json(200, &json!({ "status": true }))
}

/// `POST /phone-number/reset-password`.
///
/// # Errors
/// 400 for a wrong code or a bad password, 403, 404, 429.
pub async fn reset_password(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let typed = number_field(&mut fields);
    let otp = fields.required("otp", LONGEST_CODE);
    let new = Password::new(fields.required("newPassword", LONGEST_READ), nfkc);
    fields.finish()?;
    check_open(&call.context)?;
    let number = phone::require_phone_number(&typed)?;
    email_otp::reset_password_by_code(&call.context, CodeKind::PhoneReset, LookupBy::Phone(&number), &otp, &new)
        .await?;
    Reply::json(200, &json!({ "status": true }))
}
