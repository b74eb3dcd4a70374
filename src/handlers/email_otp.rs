//! Six digits by mail: for signing in, proving an address, a new password, a new address.

use serde_json::json;

use crate::context::{Context, nfkc};
use crate::credentials::password::{LONGEST_READ, Password};
use crate::error::{Error, Result, Wire};
use crate::handlers::arrival::{self, Arrival};
use crate::handlers::opening::Outcome;
use crate::handlers::sign_up::{LONGEST_IMAGE, LONGEST_NAME};
use crate::handlers::verification::{self, Proven};
use crate::handlers::{Call, change_email, counting, guard, mailing, proof, reset, sign_in, user};
use crate::http::email;
use crate::http::fields::Fields;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::id::{Id, User};
use crate::jobs::outbox::deliver_later;
use crate::pages::mail;
use crate::store;
use crate::store::code::{self, CodeKind, Verdict, digits};

use crate::store::sign_in::{By, Loaded};

/// The longest code read, in characters.
const LONGEST_CODE: usize = 20;

/// The protocol's refusal of a code.
///
/// # Errors
/// Unless it was right.
pub fn accept(kind: CodeKind, verdict: Verdict) -> Result<()> {
    match verdict {
        Verdict::Right => Ok(()),
        Verdict::Wrong => Err(Error::refused(Wire::INVALID_OTP, "wrong")),
        Verdict::None if kind == CodeKind::Phone => Err(Error::refused(Wire::OTP_NOT_FOUND, "there is none")),
        Verdict::None => Err(Error::refused(Wire::INVALID_OTP, "there is none")),
        Verdict::TooManyAttempts => Err(Error::refused(Wire::TOO_MANY_ATTEMPTS, "tried too often")),
        Verdict::Expired => Err(Error::refused(Wire::OTP_EXPIRED, "came too late")),
    }
}

fn kind(name: &str) -> Result<CodeKind> {
    match name {
        "sign-in" => Ok(CodeKind::SignIn),
        "email-verification" => Ok(CodeKind::EmailProof),
        "forget-password" => Ok(CodeKind::Reset),
        // Asked for by whoever is signed in, elsewhere.
        "change-email" => Err(Error::refused(Wire::INVALID_OTP_TYPE, "change-email")),
        _ => Err(Error::Validation(
            "[body.type] Invalid option: expected one of \
             \"email-verification\"|\"sign-in\"|\"forget-password\"|\"change-email\""
                .to_owned(),
        )),
    }
}

const fn purpose(kind: CodeKind) -> &'static str {
    match kind {
        CodeKind::SignIn | CodeKind::Phone => "to sign in",
        CodeKind::EmailProof => "to confirm your e-mail address",
        CodeKind::Reset | CodeKind::PhoneReset => "to set a new password",
        CodeKind::ChangeEmail => "to confirm your new e-mail address",
        CodeKind::SecondFactor => "to finish signing in",
    }
}

/// The mail of a code.
#[must_use]
pub fn letter(context: &Context, kind: CodeKind, code: &str) -> store::outbox::Mail {
    mail::code(&context.tenant().name, purpose(kind), code, context.config.code_seconds / 60)
}

/// The field `email`, and the refusal for what is none; other problems are told before it.
fn email_field(fields: &mut Fields) -> (String, Result<()>) {
    let text = fields.required("email", email::LONGEST);
    let address = email::normalise(&text);
    let refusal = || Error::refused(Wire::INVALID_EMAIL, "no e-mail address");
    let judged = if address.is_some() { Ok(()) } else { Err(refusal()) };
    (address.unwrap_or_default(), judged)
}

/// `POST /email-otp/send-verification-otp`: known and unknown addresses are answered alike.
///
/// # Errors
/// 400 for bad fields, 404 where codes are not a way in, 429.
pub async fn send(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (email, judged) = email_field(&mut fields);
    let named = fields.required("type", 50);
    fields.finish()?;
    judged?;
    send_code(&call.context, &email, kind(&named)?).await?;
    Reply::json(200, &json!({ "success": true }))
}

/// Mails a code to whoever has the address, or may have an account with it.
///
/// # Errors
/// 429, 503.
pub async fn send_code(context: &Context, email: &str, kind: CodeKind) -> Result<()> {
    let user = mailing::addressee(context, "code", By::Email(email)).await?;
    let is_welcome = user.is_some() || (kind == CodeKind::SignIn && context.config.sign_up_open);
    let code = digits(context.random()?);
    let mut statements = Vec::from(code::issue(context, kind, email, &code)?);
    let user_id = user.as_ref().map(|user| &user.user_id);
    if is_welcome {
        statements.push(store::outbox::queue(context, user_id, email, &letter(context, kind, &code))?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(())
}

/// Counts an attempt and tries a code, in one round trip; what is over a limit is not tried. A wrong code counts
/// against the account like a wrong password.
///
/// # Errors
/// 400, 403 or 429.
pub async fn redeem(context: &Context, kind: CodeKind, by: By<'_>, typed: &str, kept: bool) -> Result<Loaded> {
    let counters = counting::codes(context, by.text());
    let watched = counters.watched(context);
    let mut tried = Vec::from(code::redeem(context, kind, by.text(), typed.trim(), Some(&watched), kept));
    let mails = counting::mails(context, "code", by.text());
    let forgotten = [counters.accounts(), mails.accounts()].concat();
    tried.extend(code::forgive(context, kind, by.text(), typed.trim(), (&forgotten, &counters.network)));
    let (loaded, mut answers) = store::sign_in::load_with(context, by, &counters, tried).await?;
    guard::within(context, &loaded.windows, &counters, ["codes by network", "codes by account"])?;
    let verdict = code::verdict(&mut answers, context.now)?;
    if verdict != Verdict::Right {
        // For nobody the same is written, about nobody, or the time taken would tell.
        let guessed = loaded.candidate.as_ref().filter(|_| verdict == Verdict::Wrong);
        let nobody = context.id()?;
        let counted = sign_in::counted(context, guessed.map_or(&nobody, |known| &known.user_id))?;
        store::sign_in::record(context.db()?, Vec::from(counted)).await?;
        deliver_later(context);
    }
    accept(kind, verdict)?;
    if !loaded.tenant_is_active {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    Ok(loaded)
}

/// `POST /email-otp/check-verification-otp`: whether a code is right, which does not use it up.
///
/// # Errors
/// 400, 403, 429.
pub async fn check(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (email, judged) = email_field(&mut fields);
    let named = fields.required("type", 50);
    let otp = fields.required("otp", LONGEST_CODE);
    fields.finish()?;
    judged?;
    redeem(&call.context, kind(&named)?, By::Email(&email), &otp, true).await?;
    Reply::json(200, &json!({ "success": true }))
}

/// `POST /sign-in/email-otp`.
///
/// # Errors
/// 400 for bad fields or a wrong code, 403 for a banned user, 404 where codes are not a way in, 429.
pub async fn sign_in(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (email, judged) = email_field(&mut fields);
    let otp = fields.required("otp", LONGEST_CODE);
    let name = fields.optional_name("name", LONGEST_NAME).unwrap_or_default();
    let image = fields.optional("image", LONGEST_IMAGE);
    fields.finish()?;
    judged?;
    let outcome = by_code(call, &email, &otp, &name, image.as_deref()).await?;
    outcome.json(|session| json!({ "token": session.id, "user": session.user_json() }))
}

/// Signs in by a mailed code.
///
/// # Errors
/// As [`sign_in`].
pub async fn by_code(call: &Call, email: &str, otp: &str, name: &str, image: Option<&str>) -> Result<Outcome> {
    let context = &call.context;
    let loaded = redeem(context, CodeKind::SignIn, By::Email(email), otp, false).await?;
    let guest = if loaded.candidate.is_none() { call.guest().await? } else { None };
    let arrival = Arrival {
        email,
        phone_number: None,
        name,
        image,
        method: "email-otp",
        amr: &["otp", "email"],
        claim: None,
        otherwise: Wire::INVALID_OTP,
        guest: guest.as_ref(),
        absorbs_guest: true,
    };
    Ok(arrival::arrive(context, &arrival, loaded.candidate.as_ref()).await?.0)
}

/// `POST /email-otp/verify-email`.
///
/// # Errors
/// 400, 403, 429.
pub async fn verify_email(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (email, judged) = email_field(&mut fields);
    let otp = fields.required("otp", LONGEST_CODE);
    fields.finish()?;
    judged?;
    let context = &call.context;
    let loaded = redeem(context, CodeKind::EmailProof, By::Email(&email), &otp, false).await?;
    let user = loaded.candidate.ok_or_else(|| Error::refused(Wire::INVALID_OTP, "nobody has the address"))?;
    let proven = verification::prove(call, &user.user_id, &email).await?;
    let person: Option<crate::session::Person> =
        context.db()?.first(store::user::person(context, &user.user_id)).await?;
    let Some(person) = person.filter(|_| proven != Proven::No) else {
        return Err(Error::refused(Wire::INVALID_OTP, "the address is another by now"));
    };
    let user = crate::session::UserJson::new(&person, &[]);
    Reply::json(200, &json!({ "status": true, "token": null, "user": user }))
}

/// `POST /email-otp/request-password-reset`, and its older name `POST /forget-password/email-otp`.
///
/// # Errors
/// 400, 404, 429.
pub async fn request_reset(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.email_otp)?;
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
    guard::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    let otp = fields.required("otp", LONGEST_CODE);
    let new = Password::new(fields.required("password", LONGEST_READ), nfkc);
    fields.finish()?;
    set_password(&call.context, CodeKind::Reset, By::Email(&email), &otp, &new).await?;
    Reply::json(200, &json!({ "success": true }))
}

/// Sets a new password by a code. What is wrong with the password is found before the code is used up.
///
/// # Errors
/// As [`reset_password`].
pub async fn set_password(context: &Context, kind: CodeKind, by: By<'_>, otp: &str, new: &Password) -> Result<()> {
    proof::acceptable_length(context, new)?;
    let asks = context.config.breached_passwords.is_some();
    let loaded = redeem(context, kind, by, otp, asks).await?;
    if asks {
        // One more round trip where breaches are asked about: nobody without the code makes us ask.
        proof::not_breached(context, new, None).await?;
        accept(kind, code::try_alone(context, kind, by.text(), otp.trim()).await?)?;
    }
    let user = loaded.candidate.ok_or_else(|| Error::refused(Wire::INVALID_OTP, "nobody has it"))?;
    crate::credentials::sign_in::admit(&user, context.now)
        .map_err(|refusal| Error::refused(Wire::BANNED_USER, refusal.as_str()))?;
    reset::replace(context, &user.user_id, new, "code", matches!(by, By::Email(_))).await
}

/// `POST /email-otp/request-email-change`: a code to the new address, from a session whose own address agrees by a code.
///
/// # Errors
/// 400, 401, 403, 404, 429.
pub async fn request_change(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let new = fields.email("newEmail");
    let otp = fields.optional("otp", LONGEST_CODE);
    fields.finish()?;
    let context = &call.context;
    let counters = counting::mails(context, "change-email", &new);
    let (authenticated, is_free) = change_email::wish(call, &new, &counters).await?;
    let user = &authenticated.session.user;
    if user.email_verified && email::is_mailbox(&user.email) {
        // The old address agrees: by the code that `send-verification-otp` mails to it.
        let otp = otp.ok_or_else(|| Error::refused(Wire::OTP_REQUIRED, "no code of the present address"))?;
        redeem(context, CodeKind::EmailProof, By::Email(&user.email), &otp, false).await?;
    }
    // By whom and for what: the code of one user's wish is no other's.
    let code = digits(context.random()?);
    let mut statements = Vec::from(code::issue(context, CodeKind::ChangeEmail, &bound(&user.id, &new), &code)?);
    if is_free {
        let letter = letter(context, CodeKind::ChangeEmail, &code);
        statements.push(store::outbox::queue(context, Some(&user.id), &new, &letter)?);
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
    guard::open_way(call.context.config.ways_in.email_otp)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let new = fields.email("newEmail");
    let otp = fields.required("otp", LONGEST_CODE);
    fields.finish()?;
    let context = &call.context;
    // Guesses are counted by the address that they would prove: of accounts that guess there may be any number.
    let (authenticated, _) = change_email::wish(call, &new, &counting::codes(context, &new)).await?;
    let user = &authenticated.session.user;
    let verdict = code::try_alone(context, CodeKind::ChangeEmail, &bound(&user.id, &new), otp.trim()).await?;
    accept(CodeKind::ChangeEmail, verdict)?;
    if !change_email::carry_out(context, &user.id, &user.email, &new).await? {
        return Err(Error::refused(Wire::EMAIL_ALREADY_IN_USE, "taken meanwhile"));
    }
    let cookies = user::refreshed(context, &authenticated).await?;
    Ok(Reply::json(200, &json!({ "success": true }))?.with_cookies(cookies))
}
