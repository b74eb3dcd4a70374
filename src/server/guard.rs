//! Who may send unsafe requests, who may read the answers, and what every answer carries.

use crate::http::cookie::Cookie;
use crate::http::incoming::Incoming;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::origin::Origin;
use crate::provider::sender_constraint::dpop_nonces;
use crate::request::{errors, origins};
use crate::server::routes;
use crate::server::routes::{Fact, Route, Surface};
use crate::session::call::Call;
use crate::session::sessions::SET_AUTH_JWT;

/// Outside development nothing is served over plain http: a code or a cookie would travel in the clear.
///
/// # Errors
/// 403 for what cannot be repeated.
pub fn redirect_to_https(request: &Incoming) -> Result<Reply> {
    if request.is_unsafe() {
        return Err(Error::refused(Wire::FORBIDDEN, "plain http"));
    }
    let target = format!("https://{}{}", request.host(), request.path_and_query());
    Ok(Reply::redirect(308, &Target::own(target)))
}

/// CSRF: an unsafe request must come from a page of a trusted origin. Browsers say where it comes from; a client
/// that says nothing may pass if it brings no cookie that could be abused.
///
/// # Errors
/// 403.
pub fn check_origin(call: &Call, route: &Route) -> Result<()> {
    if !call.request.is_unsafe() || route.origin == routes::Origin::Any {
        return Ok(());
    }
    let origin = call.request.header("Origin").filter(|origin| !origin.is_empty());
    let said = match origin {
        Some(origin) if origin == "null" => {
            return Err(Error::refused(Wire::MISSING_OR_NULL_ORIGIN, "Origin: null"));
        }
        Some(origin) => Some(origin),
        // What Better Auth's client for Expo says of itself: no page sets this header without our leave, by CORS.
        None => {
            ["Expo-Origin", "Referer"].iter().find_map(|name| call.request.header(name).filter(|said| !said.is_empty()))
        }
    };
    let Some(said) = said else {
        if call.request.header("Cookie").is_some() {
            return Err(Error::refused(Wire::MISSING_OR_NULL_ORIGIN, "cookies without Origin or Referer"));
        }
        let site = call.request.header("Sec-Fetch-Site");
        let mode = call.request.header("Sec-Fetch-Mode");
        if site.as_deref() == Some("cross-site") && mode.as_deref() == Some("navigate") {
            return Err(Error::refused(Wire::CROSS_SITE_NAVIGATION, "cross-site navigation without Origin"));
        }
        return Ok(());
    };
    let url = url::Url::parse(&said).ok();
    let origin = url.as_ref().and_then(Origin::of);
    let here = call.request.origin().ok();
    // A protected host's own pages may use its reserved paths, and nobody else's.
    let trusted = match (&origin, call.context.app()) {
        (Some(origin), None) => origins::trusts_origin(&call.context, origin),
        (Some(origin), Some(_)) => match &call.asked {
            Some(asked) => asked.origin() == origin.as_str(),
            None => here.as_ref() == Some(origin),
        },
        (None, None) => url.as_ref().is_some_and(|url| call.context.config.trusts_app(url)),
        (None, Some(_)) => false,
    };
    if trusted {
        return Ok(());
    }
    Err(Error::refused(Wire::INVALID_ORIGIN, format!("{said:?}")))
}

/// The answer to a request that only looks at such a GET: a HEAD, and a browser that fetches ahead, which asks again in earnest when
/// it gets an error.
#[must_use]
pub fn answer_look(call: &Call, route: &Route) -> Option<Reply> {
    let is_get = !call.request.is_unsafe() && route.method == "GET" && route.is(Fact::GetWrites);
    match call.request.method() {
        "HEAD" if is_get => Some(Reply::empty(200)),
        _ if is_get && call.request.is_prefetch() => Some(Reply::empty(503)),
        _ => None,
    }
}

/// Answers a CORS preflight of a trusted origin. For all else that is not in the table: a person's browser is led to the
/// page of the form whose address it has, or shown a page; and a program gets an empty 404.
///
/// # Errors
/// None that happens.
pub fn preflight_or_not_found(call: &Call, table: &'static [Route]) -> Result<Reply> {
    let is_preflight =
        call.request.method() == "OPTIONS" && call.request.header("Access-Control-Request-Method").is_some();
    let path = call.request.path();
    let route = if call.context.app().is_none() { routes::with_path(routes::AUTH_HOST, path) } else { None };
    if !is_preflight {
        if call.request.wants_page()
            && let Some(page) = routes::page_of_form(table, path)
        {
            return Ok(add_common_headers(call, route, Surface::Page, Reply::redirect(303, &Target::own(page))));
        }
        call.context.log(path, &Error::NotFound);
        let allowed = if call.context.app().is_none() { routes::methods(routes::AUTH_HOST, path) } else { Vec::new() };
        if routes::is_of_oauth(path) && !allowed.is_empty() {
            return Ok(add_common_headers(call, route, Surface::Api, errors::wrong_method(&allowed)?));
        }
        if call.request.source().is_navigation() {
            return Ok(add_common_headers(
                call,
                route,
                Surface::Page,
                errors::error_page(&call.context, &Error::NotFound),
            ));
        }
        let reply = if call.context.app().is_none() {
            errors::error_json(routes::error_format(path), &Error::NotFound)?
        } else {
            errors::login_json(&Error::NotFound)?
        };
        return Ok(add_common_headers(call, route, Surface::Api, reply));
    }
    let reply = add_common_headers(call, route, Surface::Api, Reply::empty(204));
    if route.is_some_and(|route| route.is(Fact::AnyScript)) {
        return Ok(reply
            .with("access-control-allow-methods", "GET, POST, PUT, DELETE")
            // No cookies travel here. The star stands for all but `Authorization` (Fetch, section 3.3.2).
            .with("access-control-allow-headers", "*, Authorization, Content-Type, DPoP")
            .with("access-control-max-age", "600"));
    }
    if origins::readable_origin(&call.context, &call.request).is_none() {
        return Ok(reply);
    }
    Ok(reply
        .with("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE")
        .with("access-control-allow-headers", "Content-Type, Authorization, X-Requested-With")
        .with("access-control-max-age", "600"))
}

/// What scripts of clients may read beside the body.
const FOR_CLIENTS: &str = "DPoP-Nonce, WWW-Authenticate, Retry-After";

/// Adds what every answer carries.
#[must_use]
pub fn add_common_headers(call: &Call, route: Option<&Route>, surface: Surface, mut reply: Reply) -> Reply {
    let is = |fact| route.is_some_and(|route| route.is(fact));
    if !reply.has("x-content-type-options") {
        reply = reply.with("x-content-type-options", "nosniff");
    }
    if !reply.has("cache-control") {
        reply = reply.with("cache-control", "no-store");
    }
    if call.context.is_secure && call.context.app().is_none() {
        reply = reply.with("strict-transport-security", "max-age=31536000");
    }
    if call.context.config.development {
        // For whoever tunes: what this request cost, in round trips.
        reply = match call.context.trips() {
            0 => reply.with("server-timing", "d1;desc=\"0\""),
            trips => reply.with("server-timing", format!("d1;desc=\"{trips}\"")),
        };
    }
    // Not where people are signed in and asked: a client may have opened that in a window of its own, and waits for it.
    if surface == Surface::Page && is(Fact::OwnWindow) {
        reply = reply.with("cross-origin-opener-policy", "same-origin");
    }
    if surface == Surface::Page || call.context.app().is_some() {
        return reply;
    }
    let is_for_clients = is(Fact::AnyScript);
    // RFC 9449, section 8: who shows a key is told the nonce for the next time.
    if is_for_clients && call.request.header("DPoP").is_some() {
        let [nonce, _] = dpop_nonces(&call.context);
        reply = reply.with("dpop-nonce", nonce);
    }
    // Also where there was no Origin: a cache must not hand this answer to a script that may read it.
    reply = reply.with("vary", "Origin");
    let bearer = if call.context.config.bearer {
        reply.cookie_value(Cookie::Session.name(call.context.is_secure))
    } else {
        None
    };
    let mut exposed = match &bearer {
        Some(_) => "X-Retry-After, Retry-After, set-auth-token".to_owned(),
        None if is_for_clients => FOR_CLIENTS.to_owned(),
        None => "X-Retry-After, Retry-After".to_owned(),
    };
    if reply.has(SET_AUTH_JWT) {
        exposed.push_str(", ");
        exposed.push_str(SET_AUTH_JWT);
    }
    if let Some(token) = bearer {
        reply = reply.with("set-auth-token", token);
    }
    match origins::readable_origin(&call.context, &call.request) {
        Some(origin) => reply
            .with("access-control-allow-origin", origin)
            .with("access-control-allow-credentials", "true")
            .with("access-control-expose-headers", exposed),
        None if is_for_clients => {
            reply.with("access-control-allow-origin", "*").with("access-control-expose-headers", FOR_CLIENTS)
        }
        None => {
            note_unread_origin(call);
            reply
        }
    }
}

/// Says in the log of a developer why the browser keeps an answer from their front-end.
fn note_unread_origin(call: &Call) {
    let Some(origin) = call.request.header("Origin") else {
        return;
    };
    if call.context.config.development && call.context.app().is_none() {
        let origin: String = origin.chars().take(200).collect();
        call.context.note(&format!("{origin:?} is not in TRUSTED_ORIGINS: its scripts cannot read this answer"));
    }
}
