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
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::routes;
use crate::store::directory::Place;

/// The path of the check.
pub const PATH: &str = "/forward-auth";

/// What the proxy was asked for, in its own words.
pub struct Asked {
    /// `http` or `https`.
    is_secure: bool,
    /// Host, and port if one was said.
    authority: String,
    /// Path and query as they came, before any parser resolved their dots: rules judge what the origin may make of
    /// them. None where the proxy did not say.
    uri: Option<String>,
    /// Whether it is nginx, which passes no redirect on.
    is_nginx: bool,
}

impl Asked {
    fn read(request: &Incoming) -> Option<Self> {
        let url = request.header("X-Original-URL");
        let is_nginx = url.is_some();
        let (scheme, authority, uri) = match url {
            Some(url) => {
                let (scheme, rest) = url.split_once("://")?;
                let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                (scheme.to_owned(), rest[..at].to_owned(), Some(rest[at..].to_owned()))
            }
            None => (
                request.header("X-Forwarded-Proto").unwrap_or_else(|| "https".to_owned()),
                request.header("X-Forwarded-Host")?,
                request.header("X-Forwarded-Uri"),
            ),
        };
        let authority = authority.to_ascii_lowercase();
        // A list, user information or a path here would make another host of it in the URL that we send visitors to.
        let is_plain = authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
        let has_path = uri.as_deref().is_none_or(|uri| uri.starts_with('/'));
        let known = matches!(scheme.as_str(), "http" | "https");
        (is_plain && has_path && known).then(|| Self { is_secure: scheme == "https", authority, uri, is_nginx })
    }

    fn host(&self) -> &str {
        let port = self.authority.rfind(':').filter(|at| !self.authority[*at..].contains(']'));
        port.map_or(&self.authority, |at| &self.authority[..at])
    }

    fn origin(&self) -> String {
        format!("{}://{}", if self.is_secure { "https" } else { "http" }, self.authority)
    }
}

/// The origin that the visitor sees: the proxy's, where one stands in front.
///
/// # Errors
/// [`Error::Internal`] if the runtime hands over a URL without one.
pub fn visitor_origin(request: &Incoming) -> Result<String> {
    match Asked::read(request) {
        Some(asked) => Ok(asked.origin()),
        None => Ok(request.origin()?.as_str().to_owned()),
    }
}

/// The website that a proxy asks about, if this is its question on an auth host; and whether its visitor uses https.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn website(request: &Incoming, around: &Surroundings, here: &Rc<Place>) -> Result<Option<(Rc<Place>, bool)>> {
    let asks = request.path() == PATH || request.path().starts_with(routes::RESERVED);
    if here.app.is_some() || !asks {
        return Ok(None);
    }
    let Some(asked) = Asked::read(request) else {
        return Ok(None);
    };
    let place = place(around, asked.host()).await?;
    Ok(place.filter(|place| place.app.is_some()).map(|place| (place, asked.is_secure)))
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
    let asked = Asked::read(&call.request);
    // What the visitor asked for must be said: judging "/" instead could let "/admin" through.
    let Some((asked, uri)) = asked.and_then(|asked| asked.uri.clone().map(|uri| (asked, uri))) else {
        return Err(Error::refused(Wire::FORBIDDEN, "forward-auth without the path that was asked for"));
    };
    let raw = uri.split(['?', '#']).next().unwrap_or("/");
    let method = ["X-Forwarded-Method", "X-Original-Method"].iter().find_map(|name| call.request.header(name));
    let method = method.unwrap_or_else(|| "GET".to_owned());
    let judged = proxy::judge(call, app, &method, raw).await?;
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
            let target = Target::own(format!("{}/.doorward/sign-in", asked.origin())).with_query("return", &uri);
            if asked.is_nginx || !call.request.wants_page() {
                let error = Error::refused(Wire::UNAUTHORIZED, "not signed in");
                call.context.log(raw, &error);
                return Ok(super::errors::json(&error)?.with("x-doorward-location", target.as_str().to_owned()));
            }
            Ok(Reply::redirect(302, &target))
        }
    }
}
