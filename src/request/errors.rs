//! Errors, as their readers see them.

use std::borrow::Cow;

use serde_json::json;

use crate::http::incoming::Incoming;
use crate::http::page;
use crate::http::page::error;
use crate::http::page::error::{ErrorText, NextStep};
use crate::http::reply::Reply;
use crate::platform::algorithm::ALGORITHMS;
use crate::platform::config::Config;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::problem::{Code, Problem};
use crate::request::asked::ProxyQuestion;
use crate::request::context::Context;

/// An error in the login protocol's JSON. What is not there at all is an empty 404.
///
/// # Errors
/// None that happens.
pub fn login_json(error: &Error) -> Result<Reply> {
    if let Error::NotFound = error {
        return Ok(plain(Reply::empty(404)));
    }
    if let Error::OAuth(problem) = error {
        return oauth_json(problem);
    }
    let wire = error.wire();
    let reply = if let Error::TooManyRequests { .. } = error {
        // The protocol's 429 has no code.
        Reply::json(wire.status, &json!({ "message": wire.message }))?
    } else {
        Reply::json(wire.status, &json!({ "message": error.message(), "code": wire.code }))?
    };
    let reply = plain(reply);
    Ok(match error {
        Error::TooManyRequests { retry_after, .. } => {
            reply.with("retry-after", retry_after.to_string()).with("x-retry-after", retry_after.to_string())
        }
        _ => reply,
    })
}

/// The JSON in which callers expect errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// Of the login protocol.
    Login,
    /// Of the login protocol for a device that polls: a denial is answered as the token endpoint does (RFC 8628, section 3.5).
    Device,
    /// Of OAuth (RFC 6749, section 5.2).
    OAuth,
    /// Of dynamic client registration (RFC 7591, section 3.2.2).
    Registration,
}

/// An error in the JSON that its callers expect.
///
/// # Errors
/// None that happens.
pub fn error_json(format: ErrorFormat, error: &Error) -> Result<Reply> {
    if matches!(format, ErrorFormat::Login | ErrorFormat::Device) {
        let reply = login_json(error)?;
        let is_denied = matches!(error, Error::OAuth(problem) if problem.code == Code::AccessDenied);
        return Ok(if is_denied && format == ErrorFormat::Device { reply.with_status(400) } else { reply });
    }
    let is_registration = format == ErrorFormat::Registration;
    if let Error::OAuth(problem) = error {
        let reply = oauth_json(problem)?;
        // RFC 6749, section 5.2 (and RFC 8628, section 3.5): 400, but for who a client is.
        let is_no = problem.code == Code::AccessDenied && !is_registration;
        return Ok(if is_no { reply.with_status(400) } else { reply });
    }
    let wire = error.wire();
    // What was raised below the protocol: a body that cannot be read, a limit, a database that does not answer.
    let (status, code, description) = match wire.status {
        404 => (404, "invalid_request", "there is no such endpoint"),
        429 => (429, "temporarily_unavailable", wire.message),
        503 => (503, "temporarily_unavailable", wire.message),
        500..=599 => (wire.status, "server_error", wire.message),
        403 => (403, "access_denied", wire.message),
        409 => (409, "invalid_request", wire.message),
        _ if is_registration => {
            (400, Code::InvalidClientMetadata.as_str(), "the body is no JSON object, or is too large")
        }
        _ => (400, Code::InvalidRequest.as_str(), "the body is no form, or is too large"),
    };
    let body = json!({ "error": code, "error_description": description });
    let reply = plain(Reply::json(status, &body)?).with("pragma", "no-cache");
    Ok(match error {
        Error::TooManyRequests { retry_after, .. } => reply.with("retry-after", retry_after.to_string()),
        _ => reply,
    })
}

/// A method that an endpoint of OAuth's does not serve (RFC 9110, section 15.5.6).
///
/// # Errors
/// None that happens.
pub fn wrong_method(allowed: &[&str]) -> Result<Reply> {
    let body = json!({ "error": "invalid_request", "error_description": "this endpoint is not asked by this method" });
    Ok(plain(Reply::json(405, &body)?).with("allow", allowed.join(", ")))
}

/// An error as OAuth's endpoints answer it (RFC 6749, section 5.2; RFC 6750, section 3).
fn oauth_json(problem: &Problem) -> Result<Reply> {
    let body = json!({ "error": problem.code.as_str(), "error_description": problem.description });
    let reply = plain(Reply::json(problem.status(), &body)?).with("pragma", "no-cache");
    let is_proof = matches!(problem.code, Code::InvalidDpopProof | Code::UseDpopNonce) && problem.status() == 401;
    Ok(match problem.code {
        Code::InvalidClient => reply.with("www-authenticate", "Basic realm=\"clients\""),
        Code::InvalidToken | Code::InsufficientScope => reply.with("www-authenticate", challenge_header(problem)),
        Code::MissingToken => reply.with("www-authenticate", "Bearer, DPoP"),
        _ if is_proof => reply.with("www-authenticate", challenge_header(problem)),
        _ => reply,
    })
}

/// How a resource says what it wants (RFC 6750, section 3; RFC 9449, section 7.1).
fn challenge_header(problem: &Problem) -> String {
    let algorithms =
        if problem.scheme == "DPoP" { format!(", algs=\"{}\"", ALGORITHMS.join(" ")) } else { String::new() };
    format!(
        "{} error=\"{}\", error_description=\"{}\"{algorithms}",
        problem.scheme,
        problem.code.as_str(),
        problem.description
    )
}

/// What every error carries, also where there was no route to add it.
fn plain(reply: Reply) -> Reply {
    reply.with("cache-control", "no-store").with("x-content-type-options", "nosniff")
}

/// An error as a page.
#[must_use]
pub fn error_page(context: &Context, error: &Error) -> Reply {
    let wire = error.wire();
    let (title, general) = error::words_for_status(wire.status);
    let words = error_words(error);
    let detail = detail(error);
    let (title, text) = match (error, &words) {
        (Error::OAuth(problem), _) => error::words_for_problem(problem.code),
        (_, Some(words)) => (title, words.as_ref()),
        (_, None) => (title, general),
    };
    let next = next_step(context, error);
    let told = ErrorText { text, detail: detail.as_deref(), next, request_id: context.request_id() };
    let reply = Reply::page(wire.status, error::page(&context.frame(title), &told));
    match error {
        Error::TooManyRequests { retry_after, .. } => reply.with("retry-after", retry_after.to_string()),
        _ => reply,
    }
}

/// What a page says in small print: words of the protocol, or the name of a form's field.
fn detail(error: &Error) -> Option<String> {
    match error {
        Error::OAuth(problem) => Some(format!("{}: {}", problem.code.as_str(), problem.description)),
        Error::Validation(text) | Error::UnsupportedMediaType(text) => Some(text.clone()),
        _ => None,
    }
}

/// Where the page of an error leads.
fn next_step<'a>(context: &Context, error: &'a Error) -> NextStep<'a> {
    let is_website = context.app().is_some();
    if let Error::OAuth(problem) = error {
        return match problem.client_page.as_deref() {
            Some(page) => NextStep { href: &page.uri, label: "Back to", name: Some(&page.name) },
            None => NextStep::new("/account", "Your account"),
        };
    }
    match error.wire() {
        Wire::SESSION_NOT_FRESH | Wire::SESSION_EXPIRED => {
            NextStep::new("/login?again=true&continue=%2Faccount", "Sign in again")
        }
        Wire::SIGN_UP_DISABLED => NextStep::new("/login", "Sign in"),
        wire if wire.status == 401 && is_website => NextStep::new("/.doorward/sign-in", "Sign in"),
        wire if wire.status == 401 => NextStep::new("/login", "Sign in"),
        _ => NextStep::START,
    }
}

/// An error in sentences for the user of a page: what happened, and what helps. None for what has no more to say than its status.
#[must_use]
pub fn error_words(error: &Error) -> Option<Cow<'static, str>> {
    let wire = match error {
        Error::TooManyRequests { retry_after, .. } => return Some(retry_sentence(*retry_after).into()),
        Error::Validation(_) | Error::UnsupportedMediaType(_) => {
            let text =
                "Something is missing in what was sent, or is too long. Please go back, and fill in the form again.";
            return Some(text.into());
        }
        Error::Refused { wire, .. } => *wire,
        _ => return None,
    };
    let text = match wire {
        Wire::INVALID_EMAIL_OR_PASSWORD => "Invalid email or password. Please try again, or set a new password.",
        Wire::INVALID_USERNAME_OR_PASSWORD => "Invalid user name or password. Please try again.",
        Wire::EMAIL_NOT_VERIFIED => {
            "Your address is not confirmed yet. We have sent you another mail: open the link in it, and then sign in. If you have \
             asked often, use the newest mail that you have."
        }
        Wire::USER_ALREADY_EXISTS | Wire::USER_EXISTS => {
            "There is an account with this address already. Sign in below, or set a new password if you do not know yours."
        }
        Wire::SIGN_UP_DISABLED => {
            "New accounts are not created here. If you were invited, open the link in the mail of the invitation."
        }
        Wire::PASSWORD_TOO_SHORT => "This password is too short. Please choose a longer one.",
        Wire::PASSWORD_TOO_LONG => "This password is too long. Please choose a shorter one.",
        Wire::PASSWORD_COMPROMISED => {
            "This password is known from a theft of passwords at some website. Please choose a different one."
        }
        Wire::INVALID_PASSWORD => "This is not your password.",
        Wire::SESSION_NOT_FRESH | Wire::SESSION_EXPIRED => {
            "You signed in too long ago to change this. Please sign in again, and then come back."
        }
        Wire::BANNED_USER => "This account is switched off. Please ask an administrator.",
        Wire::TENANT_UNAVAILABLE => "This organization is not available at the moment. Please ask its administrators.",
        Wire::ADDRESS_NOT_ALLOWED => {
            "Your organization lets nobody in from the network that you are in. Use another network, or ask an administrator."
        }
        Wire::SECOND_FACTOR_REQUIRED => "Your organization asks for two-step sign-in, so it stays on.",
        Wire::SECOND_FACTOR_NOT_GIVEN => {
            "Give a code of your authenticator app first: sign out, sign in again with a code, and then come back."
        }
        Wire::SECOND_FACTOR_LOCKED | Wire::TOO_MANY_ATTEMPTS => {
            "There were too many wrong codes. Please try again later."
        }
        Wire::TOTP_ALREADY_ENABLED => "An authenticator app is set up already.",
        Wire::TOTP_NOT_ENABLED | Wire::SECOND_FACTOR_NOT_ENABLED => {
            "No authenticator app is set up. Please set one up first."
        }
        Wire::LAST_WAY_IN => "This is your only way of signing in, so it cannot be removed. Add another one first.",
        Wire::ONLY_OWNER | Wire::WITHOUT_AN_OWNER => {
            "You are the only owner of an organization that has other members. Make somebody else an owner first."
        }
        Wire::NOT_THE_RECIPIENT => {
            "This invitation is for another address than yours. Sign in with that address to answer it."
        }
        Wire::INVITER_LEFT => {
            "The person who invited you has left the organization. Please ask for another invitation."
        }
        Wire::BAD_GATE_REQUEST => {
            "This sign-in was damaged on its way, or your browser keeps no cookies. Please start again."
        }
        Wire::INVALID_CALLBACK_URL
        | Wire::INVALID_ERROR_CALLBACK_URL
        | Wire::INVALID_NEW_USER_CALLBACK_URL
        | Wire::INVALID_REDIRECT_URL => "The link leads to a website that is not known here. Please do not follow it.",
        Wire::MISSING_OR_NULL_ORIGIN | Wire::INVALID_ORIGIN | Wire::CROSS_SITE_NAVIGATION => {
            "This form was sent from another website, or your browser hides where it was sent from. Please open the page anew."
        }
        Wire::PROVIDER_NOT_FOUND => "This way of signing in is not offered here any more. Please choose another one.",
        Wire::PROVIDER_UNAVAILABLE => {
            "The provider does not answer at the moment. Please try again later, or sign in another way."
        }
        Wire::BODY_TOO_LARGE => "What was sent is too large.",
        _ if wire.status == 403 => wire.message,
        _ => return None,
    };
    Some(text.into())
}

/// When to try again, in seconds from now, as a sentence.
fn retry_sentence(seconds: i64) -> String {
    let when = match seconds {
        ..=1 => "in a second".to_owned(),
        2..=90 => format!("in {seconds} seconds"),
        91..=5400 => format!("in {} minutes", (seconds + 59) / 60),
        _ => format!("in {} hours", (seconds + 3599) / 3600),
    };
    format!("There were too many tries. Please try again {when}.")
}

/// An error for the sender of the request: a page for a person who waits for one, whatever the method, and JSON for all
/// else.
///
/// # Errors
/// None that happens.
pub fn to_visitor(
    context: &Context,
    request: &Incoming,
    asked: Option<&ProxyQuestion>,
    error: &Error,
) -> Result<Reply> {
    let is_website = context.app().is_some();
    let is_signed_out = is_website && error.wire() == Wire::UNAUTHORIZED;
    let reply = if !request.source().is_navigation() {
        login_json(error)?
    } else if is_signed_out {
        let frame = context.frame("Please sign in");
        let is_sent = !matches!(asked_method(request, asked), "GET" | "HEAD");
        Reply::page(401, error::signed_out(&frame, is_sent))
    } else {
        error_page(context, error)
    };
    // RFC 9110, section 15.5.2. Browsers know no such scheme, and ask their users for nothing.
    Ok(if is_signed_out { reply.with("www-authenticate", "Cookie form-action=\"/.doorward/sign-in\"") } else { reply })
}

/// The method that the visitor sent: a proxy asks by one of its own.
fn asked_method<'a>(request: &'a Incoming, asked: Option<&'a ProxyQuestion>) -> &'a str {
    asked.and_then(ProxyQuestion::method).unwrap_or_else(|| request.method())
}

/// The page for somebody whom a website's rules keep out.
#[must_use]
pub fn forbidden(context: &Context, email: Option<&str>) -> Reply {
    let frame = context.frame("Not for you");
    Reply::page(403, error::forbidden(&frame, email))
}

/// An error as a page where the host's pages cannot be looked up: with a stylesheet that every host has.
#[must_use]
pub fn bare_page(error: &Error, request_id: &str) -> Reply {
    let status = error.wire().status;
    let (title, text) = error::words_for_status(status);
    let told = ErrorText { text, detail: None, next: NextStep::START, request_id };
    without_host(status, error::page(&frame_without_host(title), &told))
}

/// The page of a host that nobody answers on.
#[must_use]
pub fn unknown_host(config: &Config, host: &str, request_id: &str) -> Reply {
    let origin = config.development.then(|| config.auth_origin.as_str());
    let frame = frame_without_host("Nothing here");
    without_host(Wire::NO_SUCH_HOST.status, error::unknown_host(&frame, host, origin, request_id))
}

const fn frame_without_host(title: &str) -> page::Frame<'_> {
    page::Frame { title, tenant: "", stylesheet: page::STYLESHEET_ANYWHERE }
}

fn without_host(status: u16, page: String) -> Reply {
    Reply::page(status, page).with("x-content-type-options", "nosniff")
}

/// A failed sign-in or sign-up, in words for its page. None for what is not said there.
#[must_use]
pub fn sign_in_words(error: &Error) -> Option<Cow<'_, str>> {
    let wire = error.wire();
    let is_wrong = matches!(wire, Wire::INVALID_EMAIL_OR_PASSWORD | Wire::INVALID_USERNAME_OR_PASSWORD);
    let known = is_wrong || matches!(wire.status, 400 | 403 | 422 | 429);
    known.then(|| error_words(error).unwrap_or_else(|| error.message().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_wait_is_said_in_a_unit_that_people_use() {
        for (seconds, text) in [
            (0, "in a second"),
            (2, "in 2 seconds"),
            (90, "in 90 seconds"),
            (91, "in 2 minutes"),
            (3600, "in 60 minutes"),
            (5401, "in 2 hours"),
        ] {
            assert_eq!(retry_sentence(seconds), format!("There were too many tries. Please try again {text}."));
        }
    }
}
