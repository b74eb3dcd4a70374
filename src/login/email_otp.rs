//! Mailed one-time codes: the letter, redeeming a code, and setting a password by one.

use crate::account::verification::Proven;
use crate::account::{change_email, reset, user, verification};
use crate::credentials::password::Password;
use crate::http::email;
use crate::http::fields::Fields;
use crate::login::sign_in_or_up;
use crate::login::sign_in_or_up::ProvenArrival;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::request::context::Context;
use crate::session::open::Outcome;
use crate::session::{authenticate, proof};
use crate::users::person::Person;
use crate::users::store::code::{CodeKind, Verdict, digits};
use crate::users::store::sign_in::{LoadedSignIn, LookupBy};
use crate::users::{addressee, limits, lockout, sign_in_decision};
use crate::{records, users};

/// The longest code read, in characters.
pub const LONGEST_CODE: usize = 20;

/// The protocol's refusal of a code.
///
/// # Errors
/// Unless it was right.
pub fn require_right_code(kind: CodeKind, verdict: Verdict) -> Result<()> {
    match verdict {
        Verdict::Right => Ok(()),
        Verdict::Wrong => Err(Error::refused(Wire::INVALID_OTP, "wrong")),
        Verdict::None if kind == CodeKind::Phone => Err(Error::refused(Wire::OTP_NOT_FOUND, "there is none")),
        Verdict::None => Err(Error::refused(Wire::INVALID_OTP, "there is none")),
        Verdict::TooManyAttempts => Err(Error::refused(Wire::TOO_MANY_ATTEMPTS, "tried too often")),
        Verdict::Expired => Err(Error::refused(Wire::OTP_EXPIRED, "came too late")),
    }
}

pub(crate) fn code_kind(name: &str) -> Result<CodeKind> {
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
pub fn code_mail(context: &Context, kind: CodeKind, code: &str) -> records::store::outbox::Mail {
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
pub async fn redeem_code(
    context: &Context,
    kind: CodeKind,
    by: LookupBy<'_>,
    typed: &str,
    kept: bool,
) -> Result<LoadedSignIn> {
    let counters = limits::code_counters(context, by.text());
    let watched = counters.watched(context);
    let mut tried = Vec::from(users::store::code::redeem(context, kind, by.text(), typed.trim(), Some(&watched), kept));
    let mails = limits::mail_counters(context, "code", by.text());
    let forgotten = [counters.accounts(), mails.accounts()].concat();
    tried.extend(users::store::code::forgive(context, kind, by.text(), typed.trim(), (&forgotten, &counters.network)));
    let (loaded, mut answers) = users::store::sign_in::load_with(context, by, &counters, tried).await?;
    limits::check_limits(context, &loaded.windows, &counters, ["codes by network", "codes by account"])?;
    let verdict = users::store::code::verdict(&mut answers, context.now)?;
    if verdict != Verdict::Right {
        // For nobody the same is written, about nobody, or the time taken would tell.
        let guessed = loaded.candidate.as_ref().filter(|_| verdict == Verdict::Wrong);
        let nobody = context.id()?;
        let counted = lockout::failed_sign_in_statements(context, guessed.map_or(&nobody, |known| &known.user_id))?;
        users::store::sign_in::record(context.db()?, Vec::from(counted)).await?;
        deliver_later(context);
    }
    require_right_code(kind, verdict)?;
    if !loaded.tenant_is_active {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    Ok(loaded)
}

/// Signs in by a mailed code.
///
/// # Errors
/// 400 for a wrong code, or one that has expired or was tried too often; 403 where new users are not made; 429; 503.
pub async fn sign_in_by_code(
    context: &Context,
    email: &str,
    otp: &str,
    name: &str,
    image: Option<&str>,
) -> Result<Outcome> {
    let loaded = redeem_code(context, CodeKind::SignIn, LookupBy::Email(email), otp, false).await?;
    let guest = if loaded.candidate.is_none() { authenticate::identify_guest(context).await? } else { None };
    let arrival = ProvenArrival {
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
    Ok(sign_in_or_up::sign_in_or_up(context, &arrival, loaded.candidate.as_ref()).await?.0)
}

/// Sets a new password by a code. What is wrong with the password is found before the code is used up.
///
/// # Errors
/// 400 for a wrong code and for a password that does not do; 429; 503.
pub async fn reset_password_by_code(
    context: &Context,
    kind: CodeKind,
    by: LookupBy<'_>,
    otp: &str,
    new: &Password,
) -> Result<()> {
    proof::check_password_length(context, new)?;
    let asks = context.config.breached_passwords.is_some();
    let loaded = redeem_code(context, kind, by, otp, asks).await?;
    if asks {
        // One more round trip where breaches are asked about: nobody without the code makes us ask.
        proof::check_password_breach(context, new, None).await?;
        require_right_code(kind, users::store::code::try_alone(context, kind, by.text(), otp.trim()).await?)?;
    }
    let user = loaded.candidate.ok_or_else(|| Error::refused(Wire::INVALID_OTP, "nobody has it"))?;
    sign_in_decision::decide_admission(&user, context.now)
        .map_err(|refusal| Error::refused(Wire::BANNED_USER, refusal.as_str()))?;
    reset::replace_password(context, &user.user_id, new, "code", matches!(by, LookupBy::Email(_))).await
}

/// Mails a code to the user who has the address, or to an address that may sign up.
///
/// # Errors
/// 429, 503.
pub async fn send_email_code(context: &Context, email: &str, kind: CodeKind) -> Result<()> {
    let user = addressee::load_addressee(context, "code", LookupBy::Email(email)).await?;
    let is_welcome = user.is_some() || (kind == CodeKind::SignIn && context.config.sign_up_open);
    let code = digits(context.random()?);
    let mut statements = Vec::from(users::store::code::issue(context, kind, email, &code)?);
    let user_id = user.as_ref().map(|user| &user.user_id);
    if is_welcome {
        statements.push(records::store::outbox::queue(context, user_id, email, &code_mail(context, kind, &code))?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(())
}

/// Proves an address by a code, and answers its user.
///
/// # Errors
/// 400 for a wrong code, or an address that is another by now; 403, 429, 503.
pub async fn verify_email(context: &Context, email: &str, otp: &str) -> Result<Person> {
    let loaded = redeem_code(context, CodeKind::EmailProof, LookupBy::Email(email), otp, false).await?;
    let user = loaded.candidate.ok_or_else(|| Error::refused(Wire::INVALID_OTP, "nobody has the address"))?;
    let proven = verification::prove_email(context, &user.user_id, email).await?;
    let person: Option<Person> = context.db()?.first(users::store::user::person(context, &user.user_id)).await?;
    person
        .filter(|_| proven != Proven::No)
        .ok_or_else(|| Error::refused(Wire::INVALID_OTP, "the address is another by now"))
}

/// Mails a code to the new address of the user who is asking, if their present address agrees by `otp`. The `Set-Cookie` lines
/// of their session.
///
/// # Errors
/// 400, 401, 403, 429, 503.
pub async fn request_email_change(context: &Context, new: &str, otp: Option<&str>) -> Result<Vec<String>> {
    let counters = limits::mail_counters(context, "change-email", new);
    let (authenticated, is_free) = change_email::check_email_change(context, new, &counters).await?;
    let user = &authenticated.session.user;
    if user.email_verified && email::is_mailbox(&user.email) {
        // The old address agrees: by the code that `send-verification-otp` mails to it.
        let otp = otp.ok_or_else(|| Error::refused(Wire::OTP_REQUIRED, "no code of the present address"))?;
        redeem_code(context, CodeKind::EmailProof, LookupBy::Email(&user.email), otp, false).await?;
    }
    // By whom and for what: the code of one user's wish is no other's.
    let code = digits(context.random()?);
    let mut statements =
        Vec::from(users::store::code::issue(context, CodeKind::ChangeEmail, &change_of(&user.id, new), &code)?);
    if is_free {
        let letter = code_mail(context, CodeKind::ChangeEmail, &code);
        statements.push(records::store::outbox::queue(context, Some(&user.id), new, &letter)?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(authenticated.cookies)
}

/// What a code for a change of address is about: the user and the new address.
fn change_of(user: &Id<User>, email: &str) -> String {
    format!("{user} {email}")
}

/// Changes the address of the user who is asking, by the code that was mailed to the new one. The `Set-Cookie` lines of their
/// session.
///
/// # Errors
/// 400, 401, 403, 429, 503.
pub async fn change_email_by_code(context: &Context, new: &str, otp: &str) -> Result<Vec<String>> {
    // Guesses are counted by the address that they would prove: of accounts that guess there may be any number.
    let (authenticated, _) =
        change_email::check_email_change(context, new, &limits::code_counters(context, new)).await?;
    let user = &authenticated.session.user;
    let verdict =
        users::store::code::try_alone(context, CodeKind::ChangeEmail, &change_of(&user.id, new), otp.trim()).await?;
    require_right_code(CodeKind::ChangeEmail, verdict)?;
    if !change_email::change_email(context, &user.id, &user.email, new).await? {
        return Err(Error::refused(Wire::EMAIL_ALREADY_IN_USE, "taken meanwhile"));
    }
    user::refresh_session_copy(context, &authenticated).await
}
