//! Errors, as their readers see them.

use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::handlers::Call;
use crate::handlers::forward_auth::Asked;
use crate::http::reply::Reply;
use crate::oauth::jws::ALGORITHMS;
use crate::oauth::problem::{Code, Problem};
use crate::pages;
use crate::session::LiveSession;

/// An error in the login protocol's JSON. What is not there at all is an empty 404.
///
/// # Errors
/// None that happens.
pub fn json(error: &Error) -> Result<Reply> {
    if let Error::NotFound = error {
        return Ok(plain(Reply::empty(404)));
    }
    if let Error::OAuth(problem) = error {
        return oauth(problem);
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

/// Where a device of the login protocol's client polls, answered as the token endpoint is (RFC 8628, section 3.5).
const DEVICE_TOKEN: &str = "/api/auth/device/token";

/// Whether what is there is asked by clients, who read errors as OAuth says them.
#[must_use]
pub fn is_of_oauth(path: &str) -> bool {
    path.starts_with("/oauth2/")
}

/// An error in the JSON of whoever asks at this path.
///
/// # Errors
/// None that happens.
pub fn told(path: &str, error: &Error) -> Result<Reply> {
    if !is_of_oauth(path) {
        let reply = json(error)?;
        let is_denied = matches!(error, Error::OAuth(problem) if problem.code == Code::AccessDenied);
        return Ok(if is_denied && path == DEVICE_TOKEN { reply.with_status(400) } else { reply });
    }
    let is_registration = path.starts_with("/oauth2/register");
    if let Error::OAuth(problem) = error {
        let reply = oauth(problem)?;
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
fn oauth(problem: &Problem) -> Result<Reply> {
    let body = json!({ "error": problem.code.as_str(), "error_description": problem.description });
    let reply = plain(Reply::json(problem.status(), &body)?).with("pragma", "no-cache");
    let is_proof = matches!(problem.code, Code::InvalidDpopProof | Code::UseDpopNonce) && problem.status() == 401;
    Ok(match problem.code {
        Code::InvalidClient => reply.with("www-authenticate", "Basic realm=\"clients\""),
        Code::InvalidToken | Code::InsufficientScope => reply.with("www-authenticate", challenge(problem)),
        Code::MissingToken => reply.with("www-authenticate", "Bearer, DPoP"),
        _ if is_proof => reply.with("www-authenticate", challenge(problem)),
        _ => reply,
    })
}

/// How a resource says what it wants (RFC 6750, section 3; RFC 9449, section 7.1).
fn challenge(problem: &Problem) -> String {
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
pub fn html(context: &Context, error: &Error) -> Reply {
    let wire = error.wire();
    let words = pages::error::words_for_status(wire.status);
    let own_words =
        matches!(error, Error::Validation(_) | Error::TooManyRequests { .. } | Error::OAuth(_)) || wire.status == 403;
    let text = if own_words { error.message() } else { words.1 };
    let page = pages::error::page(&pages::Frame::of(context, words.0), text, context.request_id());
    let reply = Reply::page(wire.status, page);
    match error {
        Error::TooManyRequests { retry_after, .. } => reply.with("retry-after", retry_after.to_string()),
        _ => reply,
    }
}

/// An error, for whoever sent the request: a page for a person who waits for one, whatever the method, and JSON for all
/// else.
///
/// # Errors
/// None that happens.
pub fn to_visitor(call: &Call, error: &Error) -> Result<Reply> {
    let is_website = call.context.app().is_some();
    let is_signed_out = is_website && error.wire() == Wire::UNAUTHORIZED;
    let reply = if !call.request.source().is_navigation() {
        json(error)?
    } else if is_signed_out {
        let frame = pages::Frame::of(&call.context, "Please sign in");
        let is_sent = !matches!(asked_method(call), "GET" | "HEAD");
        Reply::page(401, pages::error::signed_out(&frame, is_sent))
    } else {
        html(&call.context, error)
    };
    // RFC 9110, section 15.5.2. Browsers know no such scheme, and ask their users for nothing.
    Ok(if is_signed_out { reply.with("www-authenticate", "Cookie form-action=\"/.doorward/sign-in\"") } else { reply })
}

/// The method that the visitor sent: a proxy asks by one of its own.
fn asked_method(call: &Call) -> &str {
    call.asked.as_ref().and_then(Asked::method).unwrap_or_else(|| call.request.method())
}

/// The page for somebody whom a website's rules keep out.
#[must_use]
pub fn forbidden(context: &Context, session: Option<&LiveSession>) -> Reply {
    let frame = pages::Frame::of(context, "Not for you");
    Reply::page(403, pages::error::forbidden(&frame, session.map(|session| session.user.email.as_str())))
}

/// An error as a page where not even the host is known: with a stylesheet that every host has.
#[must_use]
pub fn bare(error: &Error, request_id: &str) -> Reply {
    let status = error.wire().status;
    let (title, text) = pages::error::words_for_status(status);
    let frame = pages::Frame { title, tenant: "", stylesheet: pages::STYLESHEET_ANYWHERE };
    Reply::page(status, pages::error::page(&frame, text, request_id)).with("x-content-type-options", "nosniff")
}

/// `GET /error`: where a failed upstream sign-in ends when no other page was named for it.
///
/// # Errors
/// None.
pub async fn page(call: &mut Call) -> Result<Reply> {
    let code = call.request.param("error").unwrap_or_default();
    let (title, text) = pages::error::words_for_code(&code);
    let page = pages::error::page(&pages::Frame::of(&call.context, title), text, call.context.request_id());
    Ok(Reply::page(200, page))
}

/// A failed password sign-in, in words for a page.
#[must_use]
pub fn sign_in_words(error: &Error) -> Option<&str> {
    let wire = error.wire();
    let known = wire == Wire::INVALID_EMAIL_OR_PASSWORD || matches!(wire.status, 400 | 403 | 422 | 429);
    known.then(|| error.message())
}
