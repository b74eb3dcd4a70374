//! Forward-auth: nginx, Caddy, Traefik or Envoy stand in front of the website and ask us about each request.
//!
//! The proxy says what it was asked for: `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri` (Caddy, Traefik), or
//! `X-Original-Method` and `X-Original-URL` (nginx), or by the question itself: its method, and `/forward-auth` before its
//! path (Envoy, `path_prefix`). It hands the website's `/.doorward/*` to us with the same headers.

use crate::access::path_rules::Verdict;
use crate::gate::proxy;
use crate::gate::proxy::JudgedVisitor;
use crate::gate::request::sign_in_page;
use crate::http::cookie;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::request::asked::Proxy;
use crate::request::errors;
use crate::session::call::Call;

/// Which headers of the visitor's Envoy is to take away where we send none.
const REMOVED_BY_ENVOY: &str =
    "x-doorward-user, x-doorward-email, x-doorward-tenant, x-doorward-roles, x-doorward-assertion";

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
    let mut needs = proxy::needs_of_request(app, method, path);
    if let Some(too) = &asked.uri_too {
        needs.add(proxy::needs_of_request(app, method, &path_of(too)));
    }
    let mut judged = match proxy::judge_visitor(&call.context, needs, path).await {
        // The auth host knows where a second factor is set up, and the way back.
        Err(error) if error.wire() == Wire::SECOND_FACTOR_REQUIRED => {
            call.context.log(path, &error);
            JudgedVisitor::signed_out()
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
            for (name, value) in proxy::identity_headers(&call.context, app, judged.session.as_ref()).await? {
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
