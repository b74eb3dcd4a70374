//! Proving an e-mail address by a mailed link.

use serde_json::{Value, json};

use crate::account::verification::{AddressClaim, PAGE, Proven};
use crate::account::{reset, verification};
use crate::http::cookie::Cookie;
use crate::http::email;
use crate::http::incoming::Media;
use crate::http::page::mailed;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::secret::{EmailProof, Token};
use crate::records::deliver::deliver_later;
use crate::request::origins;
use crate::request::store::verification::Proof;
use crate::session::authenticate::{Authentication, Depth};
use crate::session::call::Call;
use crate::users::addressee;
use crate::users::store::sign_in::LookupBy;
use crate::{request, users};

/// `POST /send-verification-email`: known and unknown addresses are answered alike.
///
/// # Errors
/// 400 for bad fields, 403 for a bad `callbackURL`, 429.
pub async fn send(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    let given = fields.optional("callbackURL", Target::LONGEST);
    fields.finish()?;
    let context = &call.context;
    let target = origins::check_target(context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    // Whoever is signed in asks about themselves, and may be told.
    if context.cookie(Cookie::Session).is_some()
        && let Authentication::Authenticated(authenticated) = call.visitor(Depth::Database).await?
    {
        let user = &authenticated.session.user;
        if user.email != email {
            return Err(Error::refused(Wire::EMAIL_MISMATCH, "another address than the session's"));
        }
        if user.email_verified {
            return Err(Error::refused(Wire::EMAIL_ALREADY_VERIFIED, "proven already"));
        }
    }
    let user = addressee::load_addressee(context, "verification", LookupBy::Email(&email)).await?;
    // For nobody the same two statements are run, about nobody, or the time taken would tell.
    let user = user.filter(|user| !user.email_verified);
    let is_known = user.is_some();
    let user_id = match user {
        Some(user) => user.user_id,
        None => context.id()?,
    };
    context.db()?.batch(verification::make_verification_link(context, &user_id, &email, target)?).await?;
    if is_known {
        deliver_later(context);
    }
    Reply::json(200, &json!({ "status": true }))
}

/// `POST /verify-email/send`: mails a link to the signed-in user.
///
/// # Errors
/// 401, 429, 503.
pub async fn send_again(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let given = fields.optional("continue", 4096);
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let context = &call.context;
    let user = &authenticated.session.user;
    let target = origins::check_target(context, given.as_deref(), Wire::INVALID_CALLBACK_URL).ok().flatten();
    if user.email_verified || !email::is_mailbox(&user.email) {
        let target = target.unwrap_or_else(|| Target::own("/account"));
        return Ok(Reply::redirect(303, &target).with_cookies(authenticated.cookies));
    }
    // Counted as every mail to this address is.
    addressee::load_addressee(context, "verification", LookupBy::Email(&user.email)).await?;
    let on = target.as_ref().map_or("/account", Target::as_str).to_owned();
    context.db()?.batch(verification::make_verification_link(context, &user.id, &user.email, target)?).await?;
    deliver_later(context);
    let page = mailed::proof_sent(&context.frame("Look into your mail"), &user.email, &on);
    Ok(Reply::page(200, page).with_cookies(authenticated.cookies))
}

/// What a link says, and how the user stands whose address it proves.
struct VerificationLetter {
    claim: AddressClaim,
    is_proven: bool,
    has_password: bool,
}

async fn read(call: &Call, token: Option<String>) -> Result<Option<VerificationLetter>> {
    let context = &call.context;
    let Some(token) = token.as_deref().and_then(Token::<EmailProof>::parse) else {
        return Ok(None);
    };
    let found: Option<Proof> = context.db()?.first(request::store::verification::look(context, &token.hash())).await?;
    let Some(found) = found else {
        return Ok(None);
    };
    let claim: AddressClaim = serde_json::from_slice(found.used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no claim: {error}")))?;
    let is_theirs = claim.email == found.email;
    let letter = VerificationLetter { claim, is_proven: found.is_proven, has_password: found.has_password };
    Ok(is_theirs.then_some(letter))
}

/// `GET /api/auth/verify-email`: proves the address for a script of a trusted origin; everybody else gets our page, which asks.
///
/// # Errors
/// 401 for a link that is not good and has nowhere to go; 403 for a bad `callbackURL`; 503.
pub async fn verify(call: &mut Call) -> Result<Reply> {
    if !origins::asked_by_script(&call.context, &call.request) {
        return Ok(origins::redirect_to_page(&call.request, PAGE));
    }
    let given = call.request.param("callbackURL").filter(|given| !given.is_empty());
    let target = origins::check_target(&call.context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let is_proven = match read(call, call.request.param("token")).await? {
        Some(letter) => {
            verification::prove_email(&call.context, &letter.claim.user_id, &letter.claim.email).await? != Proven::No
        }
        None => false,
    };
    match (is_proven, target) {
        (true, Some(target)) => Ok(Reply::redirect(302, &target)),
        (true, None) => Reply::json(200, &json!({ "status": true, "user": Value::Null })),
        (false, Some(target)) => Ok(Reply::redirect(302, &target.with_query("error", "INVALID_TOKEN"))),
        (false, None) => {
            Err(Error::refused(Wire::EMAIL_NOT_PROVEN, "unknown or expired, or the address is another by now"))
        }
    }
}

/// A link that is not good: told by the front-end that asked for the mail, or on our page.
async fn spent(call: &Call, status: u16, target: Option<&Target>) -> Result<Reply> {
    let context = &call.context;
    if let Some(target) = target.filter(|target| origins::is_elsewhere(context, target)) {
        return Ok(Reply::redirect(status, &target.with_query("error", "INVALID_TOKEN")));
    }
    let user = call.signed_in_user().await?;
    let reader = user.as_ref().map(|user| mailed::ProofReader {
        email: &user.email,
        is_proven: user.email_verified || !email::is_mailbox(&user.email),
    });
    let target = target.map_or("/account", Target::as_str);
    let frame = context.frame("This link has been used or is too old");
    Ok(Reply::page(400, mailed::spent_proof(&frame, reader, target)))
}

fn confirmed(call: &Call, email: &str, target: Option<&Target>) -> Reply {
    let frame = call.context.frame("Your address is confirmed");
    let target = target.map_or("/account", Target::as_str);
    Reply::page(200, mailed::proven(&frame, email, target))
}

/// `GET /verify-email?token=…`, where the mail leads: asks whether the address is the reader's. Looking proves nothing: mail
/// scanners look as well.
///
/// # Errors
/// 403 for a bad `callbackURL`; 503.
pub async fn page(call: &mut Call) -> Result<Reply> {
    let given = call.request.param("callbackURL").filter(|given| !given.is_empty());
    let target = origins::check_target(&call.context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let token = call.request.param("token");
    let Some(letter) = read(call, token.clone()).await? else {
        return spent(call, 302, target.as_ref()).await;
    };
    if letter.is_proven {
        return Ok(confirmed(call, &letter.claim.email, target.as_ref()));
    }
    let asked = mailed::ProofQuestion {
        token: token.as_deref().unwrap_or_default(),
        callback: target.as_ref().map(Target::as_str),
        email: &letter.claim.email,
        is_own_browser: verification::is_browser_of(&call.context, &letter.claim.user_id).await?,
    };
    Ok(Reply::page(200, mailed::ask_proof(&call.context.frame("Is this your address?"), &asked)))
}

/// `POST /verify-email`: proves the address. In another browser than the account's own, its owner then sets a password.
///
/// # Errors
/// 403 for a bad `callbackURL`; 503.
pub async fn press(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let (token, given) = (fields.optional("token", 200), fields.optional("callbackURL", Target::LONGEST));
    fields.finish()?;
    let target = origins::check_target(&call.context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let Some(letter) = read(call, token).await? else {
        return spent(call, 303, target.as_ref()).await;
    };
    let AddressClaim { user_id, email } = &letter.claim;
    let proven = verification::prove_email(&call.context, user_id, email).await?;
    if proven == Proven::No {
        return spent(call, 303, target.as_ref()).await;
    }
    let context = &call.context;
    let lost_password = letter.has_password && !letter.is_proven && context.config.ways_in.password;
    if proven == Proven::Elsewhere && lost_password {
        let token = Token::new(context.random()?);
        context.db()?.batch(users::store::password_reset::request(context, user_id, email, &token)?).await?;
        let page = Target::own(reset::PAGE).with_query("token", token.expose()).with_query("confirmed", "true");
        return Ok(Reply::redirect(303, &page));
    }
    Ok(match target {
        Some(target) if origins::is_elsewhere(context, &target) => Reply::redirect(303, &target),
        target => confirmed(call, email, target.as_ref()),
    })
}
