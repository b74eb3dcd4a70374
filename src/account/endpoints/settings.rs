//! The hosted pages of one's own account.

use crate::account::overview::{AccountOverview, load_account_overview};
use crate::account::pages::account::AccountPage;
use crate::account::pages::second_factor::FactorState;
use crate::account::{pages, passkey_registration, second_factor_setup as setup};
use crate::credentials::password::{LONGEST_READ, Password};
use crate::http::email;
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::unicode::nfkc;
use crate::provider::consents;
use crate::request::{errors, origins};
use crate::session::authenticate::{Authentication, Depth, snapshot_cookie, write_session_copy};
use crate::session::call::Call;
use crate::session::cookies::cookies_after_rejection;
use crate::session::proof;
use crate::users;
use crate::users::store::second_factor::Factor;

/// `GET /account`.
///
/// # Errors
/// 503.
pub async fn account(call: &mut Call) -> Result<Reply> {
    let authenticated = match call.visitor(Depth::Snapshot).await? {
        Authentication::Authenticated(authenticated) => authenticated,
        Authentication::NotPresented => return Ok(Reply::redirect(302, &Target::own("/login"))),
        Authentication::Rejected(rejection) => {
            let reply = Reply::redirect(302, &Target::own("/login"));
            return Ok(reply.with_cookies(cookies_after_rejection(&call.context, rejection)));
        }
    };
    let context = &call.context;
    let overview = match load_account_overview(context, &authenticated).await? {
        Ok(overview) => overview,
        Err(rejection) => {
            let reply = Reply::redirect(302, &Target::own("/login"));
            return Ok(reply.with_cookies(cookies_after_rejection(context, rejection)));
        }
    };
    let AccountOverview { session, passkeys, trusted_devices, consents } = overview;
    let page = pages::account::page(
        &context.frame("You are signed in"),
        &AccountPage {
            session: &session,
            asks_proof: !session.user.email_verified && email::is_mailbox(&session.user.email),
            passkeys: &passkeys,
            passkeys_are_open: context.config.ways_in.passkey,
            trusted_devices,
            consents: &consents,
        },
    );
    write_session_copy(context, &authenticated.hash, &session);
    let mut cookies = authenticated.cookies;
    cookies.extend(snapshot_cookie(context, &authenticated.hash, &session));
    Ok(Reply::page_with_script(200, page).with_cookies(cookies))
}

/// `POST /account/passkey/delete`.
///
/// # Errors
/// 401, 404, 503.
pub async fn delete_passkey(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let id = fields.required("id", 100);
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    passkey_registration::delete_passkey(&call.context, &authenticated, &id).await?;
    Ok(Reply::redirect(303, &Target::own("/account")).with_cookies(authenticated.cookies))
}

/// `POST /account/consents/withdraw`: what a client was allowed is taken back, and what it has with it.
///
/// # Errors
/// 401, 404, 503.
pub async fn withdraw_consent(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let id = fields.required("id", 100);
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    consents::withdraw_consent(&call.context, &authenticated, &id).await?;
    Ok(Reply::redirect(303, &Target::own("/account")).with_cookies(authenticated.cookies))
}

/// `POST /account/devices/forget`: no browser is trusted any more.
///
/// # Errors
/// 401, 503.
pub async fn forget_devices(call: &mut Call) -> Result<Reply> {
    call.request.fields(Media::Form).await.ok();
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    proof::refuse_impersonator(&authenticated)?;
    let context = &call.context;
    context.db()?.batch([users::store::second_factor::distrust(context, &authenticated.session.user.id, None)]).await?;
    Ok(Reply::redirect(303, &Target::own("/account")).with_cookies(authenticated.cookies))
}

const TITLE: &str = "Two-step sign-in";

/// The page of two-step sign-in, as its user's factors stand now.
async fn show_second_factor(call: &Call, status: u16, problem: Option<&str>, back: Option<&str>) -> Result<Reply> {
    let ticket = call.presented()?;
    let more = vec![
        users::store::second_factor::of_session(&call.context, &ticket.hash),
        users::store::password::of_session(&call.context, &ticket.hash),
    ];
    let (authenticated, mut answers) = call.confirmed(more).await?;
    let factors: Vec<Factor> = answers.rows()?;
    let settings = pages::second_factor::FactorSettings {
        problem,
        standing: standing(&factors),
        has_password: answers.row::<users::store::password::Current>()?.is_some(),
        back,
        must_enrol: authenticated.session.must_enrol,
        passkeys_are_open: call.context.config.ways_in.passkey,
    };
    let page = pages::second_factor::settings(&call.context.frame(TITLE), &settings);
    Ok(Reply::page_with_script(status, page).with_cookies(authenticated.cookies))
}

/// Where whoever was led here goes on; none for what is not to be trusted.
fn back(call: &Call, given: Option<&str>) -> Option<Target> {
    origins::check_target(&call.context, given, Wire::INVALID_CALLBACK_URL).ok().flatten()
}

fn standing(factors: &[Factor]) -> FactorState {
    match factors.iter().find(|factor| factor.is_verified) {
        None => FactorState::Off,
        Some(factor) if factor.method == "totp" => FactorState::Totp,
        Some(_) => FactorState::Mailed,
    }
}

/// `GET /account/second-factor`.
///
/// # Errors
/// 401, 503.
pub async fn second_factor(call: &mut Call) -> Result<Reply> {
    let back = back(call, call.request.param("continue").as_deref());
    show_second_factor(call, 200, None, back.as_ref().map(Target::as_str)).await
}

/// `POST /account/second-factor`: begins, takes away, or makes new backup codes.
///
/// # Errors
/// 401, 503. A wrong password is told on the page.
pub async fn change_second_factor(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let password = fields.optional("password", LONGEST_READ).map(|typed| Password::new(typed, nfkc));
    let action = fields.required("action", 20);
    let given = fields.optional("continue", Target::LONGEST);
    fields.finish()?;
    let back = back(call, given.as_deref());
    let back = back.as_ref().map(Target::as_str);
    let result = act(call, &action, password.as_ref(), back).await;
    let error = match result {
        Ok(reply) => return Ok(reply),
        Err(error) => error,
    };
    if !matches!(error.wire().status, 400 | 403 | 429) {
        return Err(error);
    }
    call.context.log(call.request.path(), &error);
    let words = errors::error_words(&error).unwrap_or_else(|| error.message().into());
    show_second_factor(call, error.wire().status, Some(&words), back).await
}

async fn act(call: &Call, action: &str, password: Option<&Password>, back: Option<&str>) -> Result<Reply> {
    let context = &call.context;
    let (proof, factors) = setup::prove_and_load_factors(&call.context, password).await?;
    let cookies = proof.authenticated.cookies.clone();
    match action {
        "begin" => {
            let begun = setup::begin_totp(context, &proof.authenticated, &factors, None).await?;
            let frame = context.frame("Set up an authenticator app");
            let page = pages::second_factor::begun(&frame, (&begun.uri, &begun.seed), &begun.backup_codes, back);
            Ok(Reply::page(200, page).with_cookies(cookies))
        }
        "codes" => {
            let codes = setup::replace_backup_codes(context, &proof.authenticated, &factors).await?;
            Ok(Reply::page(200, pages::second_factor::new_codes(&context.frame("Backup codes"), &codes))
                .with_cookies(cookies))
        }
        "disable" => {
            let opened = setup::disable_second_factor(&call.context, &proof.authenticated, &factors).await?;
            Ok(Reply::redirect(303, &Target::own("/account/second-factor")).with_cookies(opened.cookies))
        }
        _ => Err(Error::Validation("[body.action] Invalid option".to_owned())),
    }
}

/// `POST /account/second-factor/verify`.
///
/// # Errors
/// 401, 503. A wrong code is told on the page.
pub async fn verify_second_factor(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let code = fields.required("code", 20);
    let given = fields.optional("continue", Target::LONGEST);
    fields.finish()?;
    let back = back(call, given.as_deref());
    let ticket = call.presented()?;
    let attempt = users::store::second_factor::attempt_of_session(&call.context, &ticket.hash);
    let (authenticated, mut answers) = call.confirmed(vec![attempt]).await?;
    let factors: Vec<Factor> = answers.rows()?;
    let pending = factors.iter().find(|factor| !factor.is_verified);
    match setup::verify_pending_factor(&call.context, authenticated, pending, &code).await {
        Ok(opened) => {
            let on = back.unwrap_or_else(|| Target::own("/account/second-factor"));
            Ok(Reply::redirect(303, &on).with_cookies(opened.cookies))
        }
        Err(error) if error.wire() == Wire::INVALID_CODE => {
            call.context.log(call.request.path(), &error);
            Ok(Reply::page(
                400,
                pages::second_factor::verify(
                    &call.context.frame(TITLE),
                    "This is not the code.",
                    back.as_ref().map(Target::as_str),
                ),
            ))
        }
        Err(error) => Err(error),
    }
}
