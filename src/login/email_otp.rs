//! Mailed one-time codes: the letter, redeeming a code, and setting a password by one.

use crate::account::reset;
use crate::credentials::password::Password;
use crate::http::email;
use crate::http::fields::Fields;
use crate::login::sign_in_or_up;
use crate::login::sign_in_or_up::Arrival;
use crate::platform::error::{Error, Result, Wire};
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::request::context::Context;
use crate::session::open::Outcome;
use crate::session::{authenticate, proof};
use crate::users::store::code::{CodeKind, Verdict};
use crate::users::store::sign_in::{By, Loaded};
use crate::users::{limits, lockout, sign_in_decision};
use crate::{records, users};

/// The longest code read, in characters.
pub const LONGEST_CODE: usize = 20;

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

pub(crate) fn kind(name: &str) -> Result<CodeKind> {
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
pub fn letter(context: &Context, kind: CodeKind, code: &str) -> records::store::outbox::Mail {
    mail::code(&context.tenant().name, purpose(kind), code, context.config.code_seconds / 60)
}

/// The field `email`, and the refusal for what is none; other problems are told before it.
pub fn email_field(fields: &mut Fields) -> (String, Result<()>) {
    let text = fields.required("email", email::LONGEST);
    let address = email::normalise(&text);
    let refusal = || Error::refused(Wire::INVALID_EMAIL, "no e-mail address");
    let judged = if address.is_some() { Ok(()) } else { Err(refusal()) };
    (address.unwrap_or_default(), judged)
}

/// Counts an attempt and tries a code, in one round trip; what is over a limit is not tried. A wrong code counts
/// against the account like a wrong password.
///
/// # Errors
/// 400, 403 or 429.
pub async fn redeem(context: &Context, kind: CodeKind, by: By<'_>, typed: &str, kept: bool) -> Result<Loaded> {
    let counters = limits::codes(context, by.text());
    let watched = counters.watched(context);
    let mut tried = Vec::from(users::store::code::redeem(context, kind, by.text(), typed.trim(), Some(&watched), kept));
    let mails = limits::mails(context, "code", by.text());
    let forgotten = [counters.accounts(), mails.accounts()].concat();
    tried.extend(users::store::code::forgive(context, kind, by.text(), typed.trim(), (&forgotten, &counters.network)));
    let (loaded, mut answers) = users::store::sign_in::load_with(context, by, &counters, tried).await?;
    limits::within(context, &loaded.windows, &counters, ["codes by network", "codes by account"])?;
    let verdict = users::store::code::verdict(&mut answers, context.now)?;
    if verdict != Verdict::Right {
        // For nobody the same is written, about nobody, or the time taken would tell.
        let guessed = loaded.candidate.as_ref().filter(|_| verdict == Verdict::Wrong);
        let nobody = context.id()?;
        let counted = lockout::counted(context, guessed.map_or(&nobody, |known| &known.user_id))?;
        users::store::sign_in::record(context.db()?, Vec::from(counted)).await?;
        deliver_later(context);
    }
    accept(kind, verdict)?;
    if !loaded.tenant_is_active {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    Ok(loaded)
}

/// Signs in by a mailed code.
///
/// # Errors
/// 400 for a wrong code, or one that has expired or was tried too often; 403 where new users are not made; 429; 503.
pub async fn by_code(context: &Context, email: &str, otp: &str, name: &str, image: Option<&str>) -> Result<Outcome> {
    let loaded = redeem(context, CodeKind::SignIn, By::Email(email), otp, false).await?;
    let guest = if loaded.candidate.is_none() { authenticate::guest(context).await? } else { None };
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
    Ok(sign_in_or_up::arrive(context, &arrival, loaded.candidate.as_ref()).await?.0)
}

/// Sets a new password by a code. What is wrong with the password is found before the code is used up.
///
/// # Errors
/// 400 for a wrong code and for a password that does not do; 429; 503.
pub async fn set_password(context: &Context, kind: CodeKind, by: By<'_>, otp: &str, new: &Password) -> Result<()> {
    proof::acceptable_length(context, new)?;
    let asks = context.config.breached_passwords.is_some();
    let loaded = redeem(context, kind, by, otp, asks).await?;
    if asks {
        // One more round trip where breaches are asked about: nobody without the code makes us ask.
        proof::not_breached(context, new, None).await?;
        accept(kind, users::store::code::try_alone(context, kind, by.text(), otp.trim()).await?)?;
    }
    let user = loaded.candidate.ok_or_else(|| Error::refused(Wire::INVALID_OTP, "nobody has it"))?;
    sign_in_decision::admit(&user, context.now)
        .map_err(|refusal| Error::refused(Wire::BANNED_USER, refusal.as_str()))?;
    reset::replace(context, &user.user_id, new, "code", matches!(by, By::Email(_))).await
}
