//! Forward-auth: nginx, Caddy, Traefik or Envoy stand in front of the website and ask us about each request.
//!
//! The proxy says what it was asked for: `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri` (Caddy, Traefik), or
//! `X-Original-Method` and `X-Original-URL` (nginx), or by the question itself: its method, and `/forward-auth` before its
//! path (Envoy, `path_prefix`). It hands the website's `/.doorward/*` to us with the same headers.

use std::rc::Rc;

use crate::context::Surroundings;
use crate::error::{Error, Result, Wire};
use crate::gate::request::sign_in_page;
use crate::gate::rules::Verdict;
use crate::handlers::proxy::Judged;
use crate::handlers::{Call, errors, place, proxy};
use crate::http::cookie;
use crate::http::incoming::Incoming;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::routes;
use crate::store::directory::Place;

/// The path of the check.
pub const PATH: &str = "/forward-auth";

/// Which headers of the visitor's Envoy is to take away where we send none.
const REMOVED_BY_ENVOY: &str =
    "x-doorward-user, x-doorward-email, x-doorward-tenant, x-doorward-roles, x-doorward-assertion";

/// Whether a path is that of the check.
#[must_use]
pub fn is_check(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a proxy's question left the path of the check. Envoy puts the visitor's path behind it, and `/../style.css` would
/// make a question of it that is answered 200 to anybody. Such a question still says in `X-Forwarded-Uri` what it is about.
#[must_use]
pub fn is_astray(request: &Incoming) -> bool {
    if is_check(request.path()) {
        return false;
    }
    let is_about_reserved = |uri: String| routes::is_reserved(uri.split('?').next().unwrap_or_default());
    request
        .header("X-Forwarded-Uri")
        .is_some_and(|uri| !(routes::is_reserved(request.path()) && is_about_reserved(uri)))
}

/// Path and query that Envoy asks about: what follows [`PATH`]. `None` where nothing does.
fn asked_by_path(request: &Incoming) -> Option<&str> {
    request.path_and_query().strip_prefix(PATH).filter(|rest| rest.starts_with('/'))
}

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
    /// The same path in other words, which is judged as well.
    uri_too: Option<String>,
    /// Which proxy asks.
    by: Proxy,
}

/// Proxies that ask differently or want another answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proxy {
    /// It passes no redirect on.
    Nginx,
    /// It is told which of the visitor's headers to remove.
    Envoy,
    /// Caddy, Traefik and those that ask like them.
    Other,
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
            Self { is_secure, authority, uri, method, uri_too: None, by: Proxy::Nginx }
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
                uri_too: None,
                by: Proxy::Other,
            }
        };
        asked.check(development)
    }

    /// Reads the question of Envoy, whose path is `uri`.
    ///
    /// Method and path are those of the question: Envoy makes it of the visitor's request line, and no header of the
    /// visitor's changes that. So is the host where it is a website's; `X-Forwarded-Host` counts on the auth host alone, where
    /// Envoy has to be told to set it. Headers of other proxies can only be the visitor's: one that contradicts the question
    /// refuses it. `X-Forwarded-Uri` has the path as it was before the runtime resolved its dots, if Envoy is told to
    /// set it. As it may be the visitor's, it is judged beside the question's path and can only forbid more.
    fn read_envoy(request: &Incoming, uri: &str, is_website: bool, development: bool) -> Option<Self> {
        let header = |name| request.header(name);
        if header("X-Original-URL").is_some() || header("X-Original-Method").is_some() {
            return None;
        }
        if header("X-Forwarded-Method").is_some_and(|method| method != request.method()) {
            return None;
        }
        let here = request.origin().ok()?;
        let asked = if is_website {
            let (_, host) = here.as_str().split_once("://")?;
            (here.is_secure(), host.to_owned())
        } else {
            let is_secure = is_https(&header("X-Forwarded-Proto").unwrap_or_else(|| "https".to_owned()))?;
            (is_secure, authority(&header("X-Forwarded-Host")?, is_secure))
        };
        let (is_secure, authority) = asked;
        Self {
            is_secure,
            authority,
            uri: Some(uri.to_owned()),
            method: Some(request.method().to_owned()),
            uri_too: header("X-Forwarded-Uri"),
            by: Proxy::Envoy,
        }
        .check(development)
    }

    /// What was said, if it can be believed.
    fn check(self, development: bool) -> Option<Self> {
        // A list, user information or a path here would make another host of it in the URL that visitors are sent to.
        let is_plain = self.authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
        // Two header lines arrive joined by ", ", and an honest URI has no space: one of two is somebody else's.
        let is_path = |uri: &&String| uri.starts_with('/') && !uri.contains(' ');
        let are_paths = [&self.uri, &self.uri_too].into_iter().flatten().all(|uri| is_path(&uri));
        let usual = self.is_secure && !self.authority.contains(':');
        (is_plain && are_paths && (usual || development)).then_some(self)
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
    let development = around.config.development;
    let by_path = asked_by_path(request);
    if let Some(app) = &here.app {
        // Envoy keeps the website's own host. A website whose origin we ask ourselves has its paths for itself.
        let uri = by_path.filter(|_| app.origin_url.is_none() && app.service_binding.is_none());
        let asked = uri.and_then(|uri| Asked::read_envoy(request, uri, true, development));
        return Ok(asked.map(|asked| (here.clone(), asked)));
    }
    let asked = match by_path {
        Some(uri) => Asked::read_envoy(request, uri, false, development),
        None if request.path() == PATH || routes::is_reserved(request.path()) => Asked::read(request, development),
        None => None,
    };
    let Some(asked) = asked else {
        return Ok(None);
    };
    let place = place(around, asked.host()).await?;
    Ok(place.filter(|place| place.app.is_some()).map(|place| (place, asked)))
}

/// `GET /forward-auth`, or any other method, and the same with a path behind it: 200 with identity headers, or 403. A visitor who
/// is not signed in gets a redirect, or 401 where the proxy cannot pass a redirect on (nginx), or no page was asked for.
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
    let path_of = |uri: &str| uri.split('?').next().unwrap_or("/").to_owned();
    let path = &path_of(uri);
    let mut needs = proxy::needs(app, method, path);
    if let Some(too) = &asked.uri_too {
        needs.add(proxy::needs(app, method, &path_of(too)));
    }
    let mut judged = match proxy::judge(call, needs, path).await {
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
            if asked.by == Proxy::Envoy {
                reply = tell_envoy(call, judged.session.is_some(), reply);
            }
            for (name, value) in proxy::identity(&call.context, app, judged.session.as_ref()).await? {
                reply = reply.with(name, value);
            }
            Ok(reply)
        }
        Verdict::Forbidden if call.request.source().is_navigation() => {
            call.context.log(path, &Error::refused(Wire::FORBIDDEN, format!("{method} {path}")));
            Ok(errors::forbidden(&call.context, judged.email()))
        }
        Verdict::Forbidden => Err(Error::refused(Wire::FORBIDDEN, format!("{method} {path}"))),
        Verdict::SignIn => {
            let target = Target::own(sign_in_page(&asked.origin(), uri, false));
            // A sign-in repeats no POST, and a script can do nothing with a login page.
            let wants_page = matches!(method.as_str(), "GET" | "HEAD") && call.request.wants_page();
            if wants_page && asked.by != Proxy::Nginx {
                return Ok(Reply::redirect(302, &target));
            }
            let error = Error::refused(Wire::UNAUTHORIZED, "not signed in");
            call.context.log(path, &error);
            let reply = errors::to_visitor(&call.context, &call.request, call.asked.as_ref(), &error)?;
            Ok(if wants_page { reply.with("x-doorward-location", target.as_str().to_owned()) } else { reply })
        }
    }
}

/// Tells Envoy, which adds what we answer to the visitor's request, what the website is not to see: identity headers where
/// nobody is signed in, and our cookies.
fn tell_envoy(call: &Call, is_signed_in: bool, reply: Reply) -> Reply {
    let mut removed = if is_signed_in { Vec::new() } else { vec![REMOVED_BY_ENVOY] };
    let cookies = call.request.header("Cookie");
    let kept = cookies.as_deref().and_then(cookie::without_ours);
    if cookies.is_some() && kept.is_none() {
        removed.push("cookie");
    }
    let reply = match kept {
        Some(kept) => reply.with("cookie", kept),
        None => reply,
    };
    if removed.is_empty() { reply } else { reply.with("x-envoy-auth-headers-to-remove", removed.join(", ")) }
}
