//! Forward-auth: nginx, Caddy, Traefik or Envoy stand in front of the website and ask us about each request.
//!
//! The proxy says what it was asked for: `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri` (Caddy, Traefik), or
//! `X-Original-Method` and `X-Original-URL` (nginx). It hands the website's `/.doorward/*` to us with the same headers.

use std::rc::Rc;

use crate::context::Surroundings;
use crate::error::{Error, Result, Wire};
use crate::gate::rules::Verdict;
use crate::handlers::{Call, place, proxy};
use crate::http::incoming::Incoming;
use crate::http::origin::Origin;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::routes;
use crate::store::directory::Place;

/// The path of the check.
pub const PATH: &str = "/forward-auth";

/// The URL that the website's visitor asked for, as the proxy says. The last header line is the proxy's own.
fn original_url(request: &Incoming) -> Option<url::Url> {
    if let Some(url) = request.header("X-Original-URL") {
        return url::Url::parse(&url).ok();
    }
    let host = request.header("X-Forwarded-Host")?;
    let scheme = request.header("X-Forwarded-Proto").unwrap_or_else(|| "https".to_owned());
    let uri = request.header("X-Forwarded-Uri").unwrap_or_else(|| "/".to_owned());
    let plain = matches!(scheme.as_str(), "http" | "https") && uri.starts_with('/') && !host.contains(['/', '@', ',']);
    if !plain {
        return None;
    }
    url::Url::parse(&format!("{scheme}://{host}{uri}")).ok()
}

/// The origin that the visitor sees: the proxy's, where one stands in front.
///
/// # Errors
/// [`Error::Internal`] if the runtime hands over a URL without one.
pub fn visitor_origin(request: &Incoming) -> Result<Origin> {
    match original_url(request).and_then(|url| Origin::of(&url)) {
        Some(origin) => Ok(origin),
        None => request.origin(),
    }
}

/// The website that a proxy asks about, if this is its question on an auth host.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn website(
    request: &Incoming,
    around: &Surroundings,
    here: &Rc<Place>,
) -> Result<Option<(Rc<Place>, Origin)>> {
    let asks = request.path() == PATH || request.path().starts_with(routes::RESERVED);
    if here.app.is_some() || !asks {
        return Ok(None);
    }
    let Some(origin) = original_url(request).and_then(|url| Origin::of(&url)) else {
        return Ok(None);
    };
    let place = place(around, origin.host()).await?;
    Ok(place.filter(|place| place.app.is_some()).map(|place| (place, origin)))
}

/// `GET /forward-auth`: 200 with identity headers, or 403; and for whoever is not signed in a redirect, or 401 where
/// the proxy cannot pass a redirect on (nginx), or no page was asked for.
///
/// # Errors
/// 401, 403, 503.
pub async fn check(call: &mut Call) -> Result<Reply> {
    let Some(app) = call.context.app() else {
        return Err(Error::refused(Wire::FORBIDDEN, "no X-Forwarded-Host or X-Original-URL of a protected host"));
    };
    let is_nginx = call.request.header("X-Original-URL").is_some();
    let url = original_url(&call.request);
    // What the visitor asked for must be said: judging "/" instead could let "/admin" through.
    let said = is_nginx || call.request.header("X-Forwarded-Uri").is_some();
    let Some(url) = url.filter(|_| said) else {
        return Err(Error::refused(Wire::FORBIDDEN, "forward-auth without the path that was asked for"));
    };
    let raw = raw_path(&call.request).unwrap_or_else(|| url.path().to_owned());
    let method = ["X-Forwarded-Method", "X-Original-Method"].iter().find_map(|name| call.request.header(name));
    let method = method.unwrap_or_else(|| "GET".to_owned());
    let judged = proxy::judge(call, app, &method, &raw).await?;
    match judged.verdict {
        Verdict::Pass => {
            let mut reply = Reply::empty(200).with_cookies(judged.cookies);
            for (name, value) in proxy::identity(&call.context, app, judged.session.as_ref()).await? {
                reply = reply.with(name, value);
            }
            Ok(reply)
        }
        Verdict::Forbidden => Err(Error::refused(Wire::FORBIDDEN, format!("{method} {raw}"))),
        Verdict::SignIn => {
            let back = &url[url::Position::BeforePath..];
            let origin = url.origin().ascii_serialization();
            let target = Target::own(format!("{origin}/.doorward/sign-in")).with_query("return", back);
            if is_nginx || !call.request.wants_page() {
                let error = Error::refused(Wire::UNAUTHORIZED, "not signed in");
                call.context.log(&raw, &error);
                return Ok(super::errors::json(&error)?.with("x-doorward-location", target.as_str()));
            }
            Ok(Reply::redirect(302, &target))
        }
    }
}

/// The path as it came, before any parser resolved its dots: rules judge what the origin may make of it.
fn raw_path(request: &Incoming) -> Option<String> {
    let text = match request.header("X-Original-URL") {
        Some(url) => {
            let rest = url.split_once("://")?.1;
            rest[rest.find('/')?..].to_owned()
        }
        None => request.header("X-Forwarded-Uri")?,
    };
    Some(text.split(['?', '#']).next().unwrap_or("/").to_owned())
}
