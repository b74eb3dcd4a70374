//! Forward-auth: nginx, Caddy or Traefik stand in front of the website and ask us about each request.
//!
//! The proxy says what it was asked for: `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri` (Caddy, Traefik), or
//! `X-Original-Method` and `X-Original-URL` (nginx). It hands the website's `/.doorward/*` to us with the same headers.

use std::rc::Rc;

use crate::context::Surroundings;
use crate::error::{Error, Result, Wire};
use crate::gate::request::sign_in_page;
use crate::gate::rules::Verdict;
use crate::handlers::proxy::Judged;
use crate::handlers::{Call, errors, place, proxy};
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
    /// The method. None where the proxy did not say.
    method: Option<String>,
    /// Whether it is nginx, which passes no redirect on.
    is_nginx: bool,
}

impl Asked {
    /// Reads the headers of one family of proxies. Proxies overwrite the headers of their own and pass a visitor's
    /// headers of the other on: where both are there, one of them may be the visitor's, and neither is believed.
    ///
    /// A code is sent to the origin that stands here. Outside development only https on its own port may be named by a
    /// header: a made-up one, plain or of another service on the same host, could catch a visitor's code.
    fn read(request: &Incoming, development: bool) -> Option<Self> {
        let header = |name| request.header(name);
        let asked = if let Some(url) = header("X-Original-URL") {
            let (scheme, rest) = url.split_once("://")?;
            let is_secure = is_https(scheme)?;
            let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let authority = authority(&rest[..at], is_secure);
            let forwarded = header("X-Forwarded-Host").map(|host| self::authority(&host, is_secure));
            let both = header("X-Forwarded-Uri").is_some()
                || header("X-Forwarded-Method").is_some()
                || forwarded.is_some_and(|host| host != authority);
            if both {
                return None;
            }
            let (uri, method) = (Some(rest[at..].to_owned()), header("X-Original-Method"));
            Self { is_secure, authority, uri, method, is_nginx: true }
        } else {
            if header("X-Original-Method").is_some() {
                return None;
            }
            let is_secure = is_https(&header("X-Forwarded-Proto").unwrap_or_else(|| "https".to_owned()))?;
            Self {
                is_secure,
                authority: authority(&header("X-Forwarded-Host")?, is_secure),
                uri: header("X-Forwarded-Uri"),
                method: header("X-Forwarded-Method"),
                is_nginx: false,
            }
        };
        // The scheme's own port is none (RFC 9110, section 4.2.3).
        let port = if asked.is_secure { ":443" } else { ":80" };
        let authority = asked.authority.strip_suffix(port).unwrap_or(&asked.authority).to_owned();
        let asked = Self { authority, ..asked };
        // A list, user information or a path here would make another host of it in the URL that visitors are sent to.
        let is_plain = asked.authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
        // Two header lines arrive joined by ", ", and an honest URI has no space: one of two is somebody else's.
        let one_path = asked.uri.as_deref().is_none_or(|uri| uri.starts_with('/') && !uri.contains(' '));
        let usual = asked.is_secure && !asked.authority.contains(':');
        (is_plain && one_path && (usual || development)).then_some(asked)
    }

    /// The visitor's method, if the proxy said it.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    fn host(&self) -> &str {
        let port = self.authority.rfind(':').filter(|at| !self.authority[*at..].contains(']'));
        port.map_or(&self.authority, |at| &self.authority[..at])
    }

    /// The website's origin, as its visitor sees it.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.is_secure { "https" } else { "http" }, self.authority)
    }

    /// Whether the visitor uses https.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }
}

/// Host and port in their normal form: the scheme's own port is no port (RFC 9110, section 4.2.3).
fn authority(text: &str, is_secure: bool) -> String {
    let text = text.to_ascii_lowercase();
    let port = if is_secure { ":443" } else { ":80" };
    text.strip_suffix(port).map_or_else(|| text.clone(), str::to_owned)
}

/// Proxies name a WebSocket's scheme as well, in whichever case (RFC 3986, section 3.1).
fn is_https(scheme: &str) -> Option<bool> {
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
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
) -> Result<Option<(Rc<Place>, Asked)>> {
    let asks = request.path() == PATH || routes::is_reserved(request.path());
    if here.app.is_some() || !asks {
        return Ok(None);
    }
    let Some(asked) = Asked::read(request, around.config.development) else {
        return Ok(None);
    };
    let place = place(around, asked.host()).await?;
    Ok(place.filter(|place| place.app.is_some()).map(|place| (place, asked)))
}

/// `GET /forward-auth`, or any other method: 200 with identity headers, or 403; and for whoever is not signed in a
/// redirect, or 401 where the proxy cannot pass a redirect on (nginx), or no page was asked for.
///
/// # Errors
/// 401, 403, 503.
pub async fn check(call: &mut Call) -> Result<Reply> {
    let (Some(app), Some(asked)) = (call.context.app(), &call.asked) else {
        return Err(Error::refused(Wire::FORBIDDEN, "forward-auth without one proxy's headers about a protected host"));
    };
    if !call.context.tenant().is_active {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    // What the visitor asked for must be said: judging "GET /" instead could let "DELETE /admin" through.
    let (Some(uri), Some(method)) = (&asked.uri, &asked.method) else {
        return Err(Error::refused(Wire::FORBIDDEN, "forward-auth without the path or the method that was asked for"));
    };
    // Up to the query only: a raw `#` is part of the path for an origin that is sent one.
    let path = uri.split('?').next().unwrap_or("/");
    let mut judged = match proxy::judge(call, app, method, path).await {
        // The auth host knows where a second factor is set up, and the way back.
        Err(error) if error.wire() == Wire::SECOND_FACTOR_REQUIRED => {
            call.context.log(path, &error);
            Judged::signed_out()
        }
        other => other?,
    };
    match judged.verdict {
        Verdict::Pass => {
            // The session is prolonged where it is due, and no cookie is sent: proxies keep them to themselves, and a snapshot
            // beside the roles fills their buffers.
            let _ = judged.cookies(&call.context, true);
            let mut reply = Reply::empty(200);
            for (name, value) in proxy::identity(&call.context, app, judged.session.as_ref()).await? {
                reply = reply.with(name, value);
            }
            Ok(reply)
        }
        Verdict::Forbidden if call.request.source().is_navigation() => {
            call.context.log(path, &Error::refused(Wire::FORBIDDEN, format!("{method} {path}")));
            Ok(errors::forbidden(&call.context, judged.session.as_ref()))
        }
        Verdict::Forbidden => Err(Error::refused(Wire::FORBIDDEN, format!("{method} {path}"))),
        Verdict::SignIn => {
            let target = Target::own(sign_in_page(&asked.origin(), uri, false));
            // A sign-in repeats no POST, and a script can do nothing with a login page.
            let wants_page = matches!(method.as_str(), "GET" | "HEAD") && call.request.wants_page();
            if wants_page && !asked.is_nginx {
                return Ok(Reply::redirect(302, &target));
            }
            let error = Error::refused(Wire::UNAUTHORIZED, "not signed in");
            call.context.log(path, &error);
            let reply = errors::to_visitor(call, &error)?;
            Ok(if wants_page { reply.with("x-doorward-location", target.as_str().to_owned()) } else { reply })
        }
    }
}
