//! Hosted pages: login, sign-up, account.

use std::borrow::Cow;

use crate::account::sign_up::{Applicant, SignedUp};
use crate::account::{reset as resetting, sign_up as signing_up, verification};
use crate::credentials::password::{LONGEST_READ, Password};
use crate::federation::flow::begin::{AuthorizationWish, begin_authorization};
use crate::federation::store::issuer::Button;
use crate::gate::sign_in;
use crate::gate::sign_in::SIGNED_OUT;
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::http::{email, page};
use crate::login::magic_link::Targets;
use crate::login::pages::login::Login;
use crate::login::pages::second_factor::ChallengePage;
use crate::login::pages::sign_up::SignUp;
use crate::login::second_factor::TypedCode as SecondTyped;
use crate::login::sign_in::PasswordAttempt;
use crate::login::{hosted_pages, magic_link, pages, second_factor};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::unicode::nfkc;
use crate::request::{errors, origins};
use crate::session::authenticate::{Authentication, Depth};
use crate::session::call::Call;
use crate::session::cookies::clear_session_cookies;
use crate::session::sessions::end_current_session;
use crate::tenants::invitation_page;
use crate::users::fields::LONGEST_NAME;
use crate::users::store::sign_in::LookupBy;
use crate::{federation, login, provider};

/// Where a page without a purpose leads.
const HOME: &str = "/account";

/// The longest `continue` that a form carries, in characters.
const LONGEST_CONTINUE: usize = Target::LONGEST;

/// Where to go afterwards. What is not to be trusted leads home: a login page is no place for a riddle.
fn target(call: &Call, given: Option<&str>) -> Target {
    let checked = origins::check_target(&call.context, given, Wire::INVALID_CALLBACK_URL);
    checked.ok().flatten().unwrap_or_else(|| Target::own(HOME))
}

/// `GET /`.
///
/// # Errors
/// None.
pub async fn index(_call: &mut Call) -> Result<Reply> {
    Ok(Reply::redirect(302, &Target::own(HOME)))
}

/// `GET /login`. Whoever is signed in already goes on; a guest may want to be somebody.
///
/// # Errors
/// 503.
pub async fn login(call: &mut Call) -> Result<Reply> {
    let target = target(call, call.request.param("continue").as_deref());
    // Whoever is to sign in once more, or as somebody else, is asked whoever they are.
    match call.visitor(Depth::Database).await? {
        Authentication::Authenticated(one) if !again(call) && !one.session.user.is_anonymous => {
            return Ok(Reply::redirect(302, &target).with_cookies(one.cookies));
        }
        _ => (),
    }
    let hint = call.request.param("login_hint").filter(|hint| hint.len() <= email::LONGEST).unwrap_or_default();
    show_login(call, 200, None, &hint, &target).await
}

/// Whether the page was asked for by somebody who wants its reader to sign in once more.
fn again(call: &Call) -> bool {
    call.request.param("again").as_deref() == Some("true")
}

async fn show_login(call: &Call, status: u16, problem: Option<&str>, email: &str, target: &Target) -> Result<Reply> {
    let context = &call.context;
    let mut answers = context.db()?.batch([federation::store::issuer::buttons(&context.tenant().id)]).await?;
    let issuers: Vec<Button> = answers.rows()?;
    let config = &context.config;
    // Asked for by our own redirect after a sign-out, and by anybody who writes such a link.
    let is_asked = problem.is_none() && call.request.param(SIGNED_OUT).as_deref() == Some("true");
    let is_signed_out = is_asked && call.signed_in_user().await?.is_none();
    let website = if is_signed_out { sign_in::website_of(context, target) } else { None };
    let login = Login {
        problem,
        is_signed_out,
        website: website.as_deref(),
        email,
        target: target.as_str(),
        issuers: &issuers,
        sign_up_open: config.sign_up_open && config.ways_in.password,
        ways_in: config.ways_in,
        again: again(call),
    };
    Ok(Reply::page_with_script(status, pages::login::page(&context.frame("Sign in"), &login)))
}

/// `POST /login`.
///
/// # Errors
/// 503. Whatever the visitor can mend is said on the page.
pub async fn log_in(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let email = fields.optional("email", email::LONGEST).unwrap_or_default();
    let password = fields.optional("password", LONGEST_READ).unwrap_or_default();
    let remember = fields.boolean("rememberMe").unwrap_or(false);
    let given = fields.optional("continue", LONGEST_CONTINUE);
    fields.finish()?;
    let target = target(call, given.as_deref());
    origins::require_open_way(call.context.config.ways_in.password)?;
    let name = login::sign_in::normalise_typed_name(&email);
    let typed = PasswordAttempt {
        by: if name.contains('@') { LookupBy::Email(&name) } else { LookupBy::Username(&name) },
        password: Password::new(password, nfkc),
        is_remembered: remember,
        callback: Some(target.clone()),
    };
    match login::sign_in::sign_in_with_password(&call.context, &typed).await {
        Ok(outcome) => Ok(outcome.redirect(303, &target)),
        Err(error) => {
            let Some(words) = errors::sign_in_words(&error) else {
                return Err(error);
            };
            call.context.log(call.request.path(), &error);
            let reply = show_login(call, error.wire().status, Some(&words), &email, &target).await?;
            Ok(with_retry_after(reply, &error))
        }
    }
}

/// An error in sentences for the page on which it happened.
fn told(error: &Error) -> Cow<'_, str> {
    errors::error_words(error).unwrap_or_else(|| error.message().into())
}

fn with_retry_after(reply: Reply, error: &Error) -> Reply {
    match error {
        Error::TooManyRequests { retry_after, .. } => reply.with("retry-after", retry_after.to_string()),
        _ => reply,
    }
}

/// `POST /login/upstream`.
///
/// # Errors
/// 404 for an unknown issuer, 502 for one that does not answer, 503.
pub async fn log_in_upstream(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let provider = fields.required("provider", 100);
    let again = fields.boolean("again").unwrap_or(false);
    let given = fields.optional("continue", LONGEST_CONTINUE);
    fields.finish()?;
    let target = target(call, given.as_deref());
    let wish = AuthorizationWish {
        provider,
        again,
        callback_url: Some(target.as_str().to_owned()),
        ..AuthorizationWish::default()
    };
    let begun = begin_authorization(&call.context, &wish).await?;
    Ok(Reply::redirect(303, &Target::own(begun.url)).with_cookie(begun.cookie))
}

/// `GET /sign-up`.
///
/// # Errors
/// 400 if sign-up is closed.
pub async fn sign_up(call: &mut Call) -> Result<Reply> {
    let target = target(call, call.request.param("continue").as_deref());
    let invited = invitation_page::invitation_of_target(&call.context, &target).await?;
    if !call.context.config.sign_up_open && invited.is_none() {
        return Err(Error::refused(Wire::SIGN_UP_DISABLED, "SIGN_UP is closed"));
    }
    let email = invited.map(|(email, _)| email).unwrap_or_default();
    Ok(show_sign_up(call, 200, None, ("", &email), &target))
}

fn show_sign_up(call: &Call, status: u16, problem: Option<&str>, typed: (&str, &str), target: &Target) -> Reply {
    let page = SignUp {
        problem,
        name: typed.0,
        email: typed.1,
        target: target.as_str(),
        shortest: call.context.config.password_min,
    };
    Reply::page_with_script(status, pages::sign_up::page(&call.context.frame("Create an account"), &page))
}

/// `POST /sign-up`.
///
/// # Errors
/// 503. Whatever the visitor can mend is said on the page.
pub async fn create_account(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let name = fields.name("name", LONGEST_NAME);
    let typed = fields.required("email", email::LONGEST);
    let password = Password::new(fields.required("password", LONGEST_READ), nfkc);
    let given = fields.optional("continue", LONGEST_CONTINUE);
    fields.finish()?;
    let target = target(call, given.as_deref());
    let Some(email) = email::normalise(&typed) else {
        return Ok(show_sign_up(call, 400, Some("This is not an e-mail address."), (&name, &typed), &target));
    };
    let guest = call.guest().await?;
    let callback = Some(target.clone());
    // What was mailed to the address proves it, and lets its reader in where nobody else may sign up.
    let invited = invitation_page::invitation_of_target(&call.context, &target).await?;
    let invitation = invited.filter(|(invited, _)| *invited == email).map(|(_, hash)| hash);
    let applicant = Applicant { callback, guest, invitation, ..Applicant::new(email, name, password) };
    match signing_up::create_user(&call.context, &applicant).await {
        Ok(SignedUp::Opened(opened)) => Ok(Reply::redirect(303, &target).with_cookies(opened.cookies)),
        Ok(SignedUp::Mailed(person)) => {
            Ok(sent(call, &person.email).with_cookie(verification::maker_cookie(&call.context, &person.id)))
        }
        Err(error) => {
            let Some(words) = errors::sign_in_words(&error) else {
                return Err(error);
            };
            call.context.log(call.request.path(), &error);
            let reply = show_sign_up(call, error.wire().status, Some(&words), (&applicant.name, &typed), &target);
            Ok(with_retry_after(reply, &error))
        }
    }
}

/// `GET /forgot-password`.
///
/// # Errors
/// None.
pub async fn forgot(call: &mut Call) -> Result<Reply> {
    let frame = call.context.frame("Forgot your password?");
    Ok(Reply::page(200, pages::reset::forgot(&frame, None, "")))
}

/// `POST /forgot-password`.
///
/// # Errors
/// 503.
pub async fn send_link(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let typed = fields.required("email", email::LONGEST);
    fields.finish()?;
    let frame = call.context.frame("Forgot your password?");
    let Some(address) = email::normalise(&typed) else {
        let problem = Some("This is not an e-mail address.");
        return Ok(Reply::page(400, pages::reset::forgot(&frame, problem, &typed)));
    };
    match resetting::send_reset_link(&call.context, &address, None).await {
        Ok(()) => Ok(Reply::page(200, pages::reset::sent(&call.context.frame("Look into your mail"), &address))),
        Err(error @ Error::TooManyRequests { .. }) => {
            call.context.log(call.request.path(), &error);
            let page = pages::reset::forgot(&frame, Some(&told(&error)), &typed);
            Ok(with_retry_after(Reply::page(429, page), &error))
        }
        Err(error) => Err(error),
    }
}

/// `GET /reset-password?token=…`: where the mailed link ends when no other page was named for it.
///
/// # Errors
/// None.
pub async fn reset(call: &mut Call) -> Result<Reply> {
    let Some(token) = call.request.param("token") else {
        return Ok(Reply::page(400, pages::reset::spent(&call.context.frame("This link has been used or is too old"))));
    };
    // A user who proved their address in another browser than their account's comes here from there.
    let is_confirmed = call.request.param("confirmed").is_some();
    let title = if is_confirmed { "Your address is confirmed: set a password" } else { "Set a new password" };
    let frame = call.context.frame(title);
    let page = pages::reset::choose(&frame, None, &token, call.context.config.password_min);
    // `same-origin`, as every page: with `no-referrer` a browser would send this page's own form with `Origin: null`.
    Ok(Reply::page(200, page))
}

/// `POST /reset-password`.
///
/// # Errors
/// 503.
pub async fn set_password(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let token = fields.required("token", 200);
    let password = Password::new(fields.required("newPassword", LONGEST_READ), nfkc);
    fields.finish()?;
    match resetting::reset_password(&call.context, &token, &password).await {
        Ok(()) => {
            let page = pages::reset::done(&call.context.frame("Your password is set"));
            Ok(Reply::page(200, page).with_cookies(clear_session_cookies(&call.context)))
        }
        Err(error) if error.wire() == Wire::INVALID_TOKEN => {
            call.context.log(call.request.path(), &error);
            Ok(Reply::page(400, pages::reset::spent(&call.context.frame("This link has been used or is too old"))))
        }
        Err(error) if error.wire().status == 400 => {
            call.context.log(call.request.path(), &error);
            let frame = call.context.frame("Set a new password");
            let page = pages::reset::choose(&frame, Some(&told(&error)), &token, call.context.config.password_min);
            Ok(Reply::page(400, page))
        }
        Err(error) => Err(error),
    }
}

/// Says that a mail is on its way.
fn sent(call: &Call, email: &str) -> Reply {
    Reply::page(200, pages::login::sent(&call.context.frame("Look into your mail"), email))
}

/// `POST /login/link`: mails a link that signs in.
///
/// # Errors
/// 404 where links are not a way in; 503.
pub async fn log_in_by_link(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let typed = fields.required("email", email::LONGEST);
    let given = fields.optional("continue", LONGEST_CONTINUE);
    fields.finish()?;
    origins::require_open_way(call.context.config.ways_in.magic_link)?;
    let target = target(call, given.as_deref());
    let Some(address) = email::normalise(&typed) else {
        return show_login(call, 400, Some("This is not an e-mail address."), &typed, &target).await;
    };
    let ways = Targets { callback: Some(target.clone()), ..Targets::default() };
    match magic_link::mail_sign_in_link(&call.context, &address, "", &ways).await {
        Ok(()) => Ok(sent(call, &address)),
        Err(error @ Error::TooManyRequests { .. }) => {
            call.context.log(call.request.path(), &error);
            let reply = show_login(call, 429, Some(&told(&error)), &typed, &target).await?;
            Ok(with_retry_after(reply, &error))
        }
        Err(error) => Err(error),
    }
}

/// `GET /second-factor`: asks for the code of a sign-in that waits.
///
/// # Errors
/// 503.
pub async fn second_factor(call: &mut Call) -> Result<Reply> {
    let target = target(call, call.request.param("continue").as_deref());
    show_second_factor(call, 200, Said::default(), &target).await
}

/// What the page of second factors says beside its question.
#[derive(Clone, Copy, Default)]
struct Said<'a> {
    problem: Option<&'a str>,
    note: Option<&'a str>,
    is_mailed: bool,
}

async fn show_second_factor(call: &Call, status: u16, said: Said<'_>, target: &Target) -> Result<Reply> {
    let context = &call.context;
    let Some(methods) = second_factor::load_methods(context).await? else {
        return Ok(Reply::redirect(303, &Target::own("/login").with_query("continue", target.as_str())));
    };
    let Said { problem, note, is_mailed } = said;
    let challenge = ChallengePage { problem, note, methods: &methods, is_mailed, target: target.as_str() };
    Ok(Reply::page(status, pages::second_factor::challenge(&context.frame("One more step"), &challenge)))
}

/// `POST /second-factor`: a code of whichever kind; which it is shows in its form.
///
/// # Errors
/// 503. Whatever the visitor can mend is said on the page.
pub async fn give_second_factor(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let code = fields.required("code", 40);
    let trusts = fields.boolean("trustDevice").unwrap_or(false);
    let is_mailed = fields.boolean("mailed").unwrap_or(false);
    let given = fields.optional("continue", LONGEST_CONTINUE);
    fields.finish()?;
    let target = target(call, given.as_deref());
    let context = &call.context;
    let Some(hash) = second_factor::read_pending_sign_in(context) else {
        return show_second_factor(call, 400, Said::default(), &target).await;
    };
    let methods = second_factor::load_methods(context).await?.unwrap_or_default();
    let is_digits = code.chars().all(|c| c.is_ascii_digit() || c.is_whitespace());
    let has_totp = methods.iter().any(|method| method == "totp");
    // Six digits are the app's, or the mail's if one was sent.
    let typed = match (is_digits, has_totp) {
        (_, false) => SecondTyped::Mailed(&code),
        (false, true) => SecondTyped::Backup(&code),
        (true, true) if is_mailed => SecondTyped::Digits(&code),
        (true, true) => SecondTyped::Totp(&code),
    };
    let error = match second_factor::finish_sign_in(context, &hash, typed, trusts).await {
        Ok(opened) => return Ok(Reply::redirect(303, &target).with_cookies(opened.cookies)),
        Err(error) if matches!(error.wire().status, 400 | 401 | 429) => error,
        Err(error) => return Err(error),
    };
    context.log(call.request.path(), &error);
    let (status, locked) = (error.wire().status, error.wire() == Wire::SECOND_FACTOR_LOCKED);
    let words = if locked { "Too many wrong codes. Please try again later." } else { "This is not the code." };
    let said = Said { problem: Some(words), is_mailed, ..Said::default() };
    show_second_factor(call, status, said, &target).await
}

/// `POST /second-factor/send`: mails a code.
///
/// # Errors
/// 503.
pub async fn send_second_factor(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let given = fields.optional("continue", LONGEST_CONTINUE);
    fields.finish()?;
    let target = target(call, given.as_deref());
    match second_factor::mail_second_factor_code(&call.context).await {
        Ok(_) => {
            let note = Some("A code is on its way to your mail.");
            show_second_factor(call, 200, Said { note, is_mailed: true, ..Said::default() }, &target).await
        }
        Err(error @ Error::TooManyRequests { .. }) => {
            call.context.log(call.request.path(), &error);
            let reply =
                show_second_factor(call, 429, Said { problem: Some(&told(&error)), ..Said::default() }, &target)
                    .await?;
            Ok(with_retry_after(reply, &error))
        }
        Err(error) if error.wire().status == 401 => show_second_factor(call, 401, Said::default(), &target).await,
        Err(error) => Err(error),
    }
}

/// `GET /passkey.js`.
///
/// # Errors
/// None.
pub async fn passkey_script(_call: &mut Call) -> Result<Reply> {
    Ok(script(page::PASSKEY_SCRIPT))
}

fn script(text: &str) -> Reply {
    let media = "text/javascript; charset=utf-8";
    Reply::text(200, media, text.to_owned()).with("cache-control", "public, max-age=3600")
}

/// `GET /fragment.js`: the part of an address after `#` goes on to the website that its visitor came from.
///
/// # Errors
/// None.
pub async fn fragment_script(_call: &mut Call) -> Result<Reply> {
    Ok(script(page::FRAGMENT_SCRIPT))
}

/// `GET /form-post.js`: Form Post Response Mode's form posts itself.
///
/// # Errors
/// None.
pub async fn form_post_script(_call: &mut Call) -> Result<Reply> {
    Ok(script(provider::pages::consent::FORM_POST))
}

/// `GET /sign-out.js`: on, once every client's front channel has loaded.
///
/// # Errors
/// None.
pub async fn sign_out_script(_call: &mut Call) -> Result<Reply> {
    Ok(script(provider::pages::sign_out::FRAMES))
}

/// `POST /sign-out`.
///
/// # Errors
/// 503.
pub async fn sign_out(call: &mut Call) -> Result<Reply> {
    call.request.fields(Media::Both).await.ok();
    let gone = end_current_session(&call.context).await?;
    Ok(Reply::redirect(303, &Target::own("/login").with_query(SIGNED_OUT, "true")).with_cookies(gone))
}

/// `GET /style.css`.
///
/// # Errors
/// None.
pub async fn stylesheet(_call: &mut Call) -> Result<Reply> {
    Ok(hosted_pages::style())
}
