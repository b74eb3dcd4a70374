//! Handlers: load, decide, commit, respond. And what happens before and after each of them.

use worker::{Env, Request, Response};

use crate::gate::{forward_auth, proxy, reserved};
use crate::http::incoming::Incoming;
use crate::http::page as pages_of_all;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::login::hosted_pages;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::{clock, log};
use crate::request::asked::ProxyQuestion;
use crate::request::context::{Context, Endpoint, Surroundings};
use crate::request::{errors, hosts, settings};
use crate::server::cron::SEND_LOGOUT;
use crate::server::routes::{Access, Fact, Route, Surface};
use crate::server::{guard, routes};
use crate::session::authenticate::{Authentication, Depth};
use crate::session::call::Call;
use crate::session::{api_key, authenticate, cookies, policy};

/// Serves a request. Whatever goes wrong is an answer.
pub async fn serve(request: Request, env: Env, runtime: worker::Context) -> Response {
    let now = clock::read_clock();
    let request = Incoming::new(request);
    let source = request.source().clone();
    let path = request.path().to_owned();
    let is_head = request.method() == "HEAD";
    let reply = match settings::load_config(&env) {
        Ok(config) => {
            let around = Surroundings { config, now, source: source.clone(), env, runtime, send_logout: SEND_LOGOUT };
            route(request, around).await
        }
        Err(error) => Err(error),
    };
    let reply = reply.or_else(|error| {
        log::log(source.id(), &path, &error);
        if source.is_navigation() {
            Ok(errors::bare_page(&error, source.id()))
        } else {
            errors::error_json(routes::error_format(&path), &error)
        }
    });
    let response = reply.and_then(|reply| {
        // HEAD is answered as GET without the body (RFC 9110, section 9.3.2).
        let reply = if is_head { reply.without_body() } else { reply };
        reply.into_response()
    });
    response.unwrap_or_else(|error| {
        log::log(source.id(), &path, &error);
        Response::error("Internal Server Error", 500)
            .unwrap_or_else(|_| worker::ResponseBuilder::new().with_status(500).empty())
    })
}

async fn route(request: Incoming, around: Surroundings) -> Result<Reply> {
    if !request.is_secure() && !around.config.development {
        return guard::redirect_to_https(&request);
    }
    // Also where nobody answers, or D1 does not: the page that says so looks as all of them.
    let is_stylesheet =
        request.path() == pages_of_all::STYLESHEET_ANYWHERE && !forward_auth::is_outside_check(&request);
    if is_stylesheet && matches!(request.method(), "GET" | "HEAD") {
        return Ok(hosted_pages::style().with("x-content-type-options", "nosniff"));
    }
    let Some(place) = hosts::find_place(&around, request.host()).await? else {
        let error = Error::refused(Wire::NO_SUCH_HOST, format!("host {:?}", request.host()));
        if !around.source.is_navigation() {
            return Err(error);
        }
        log::log(around.source.id(), request.path(), &error);
        return Ok(errors::unknown_host(&around.config, request.host(), around.source.id()));
    };
    let has_origin = place.app.as_ref().is_some_and(|app| app.origin_url.is_some() || app.service_binding.is_some());
    if !has_origin && forward_auth::is_outside_check(&request) {
        return Err(Error::refused(Wire::FORBIDDEN, "a proxy's question about another path than it asks for"));
    }
    // A website behind nginx: the reserved paths reach us on the auth host, under the website's name.
    let (place, asked) = match forward_auth::find_website(&request, &around, &place).await? {
        Some((website, asked)) => (website, Some(asked)),
        None => (place, None),
    };
    let is_secure = asked.as_ref().map_or_else(|| request.is_secure(), ProxyQuestion::is_secure);
    let context = Context::new(around, place, is_secure);
    let is_check = forward_auth::is_check(request.path()) && (asked.is_some() || !has_origin);
    let is_website = context.app().is_some() && !is_check;
    let table = if is_website { routes::PROTECTED_HOST } else { routes::AUTH_HOST };
    // Some proxies ask with the method that they were asked with.
    let method = if is_check { "GET" } else { request.method() };
    // Envoy puts what it was asked for behind the path of the check.
    let path = if is_check { forward_auth::PATH } else { request.path() };
    let found = routes::find(table, method, path);
    let is_reserved = !is_website || asked.is_some() || reserved::is_reserved(request.path());
    let call = Call { context, request, segment: None, asked, authenticated: None };
    match found {
        Some((route, segment)) => dispatch(route, Call { segment, ..call }).await,
        None if is_reserved => guard::preflight_or_not_found(&call, table),
        None => proxy::proxy_request(&call.context, &call.request, call.asked.as_ref()).await,
    }
}

async fn dispatch(route: &'static Route, mut call: Call) -> Result<Reply> {
    call.context.endpoint = Endpoint {
        is_before_enrolment: route.is(Fact::BeforeEnrolment),
        takes_keys: route.access == Access::Permitted,
        changes_organizations: call.request.is_unsafe() && !route.is(Fact::ChangesNothing),
    };
    let reply = match (admit_caller(route, &mut call).await, guard::answer_look(&call, route)) {
        (Ok(()), Some(looked)) => Ok(looked),
        (Ok(()), None) => (route.handler)(&mut call).await,
        (Err(error), _) => Err(error),
    };
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => answer_error(route, &call, &error)?,
    };
    Ok(guard::add_common_headers(&call, Some(route), route.surface, reply))
}

fn answer_error(route: &Route, call: &Call, error: &Error) -> Result<Reply> {
    // The route's path, not the request's: its last segment may be a token.
    call.context.log(route.path, error);
    let signed_out = error.wire() == Wire::UNAUTHORIZED && route.access != Access::Anybody;
    let reply = match route.surface {
        // Some programs say by default that they read pages: where they ask, a browser is known by what it alone sends.
        Surface::Api if may_be_a_program(route, call) => {
            errors::error_json(routes::error_format(call.request.path()), error)?
        }
        Surface::Api => errors::to_visitor(&call.context, &call.request, call.asked.as_ref(), error)?,
        // Whoever must set up a second factor is led to where that is done, and comes back.
        Surface::Page if error.wire() == Wire::SECOND_FACTOR_REQUIRED && call.context.app().is_none() => {
            let back = if route.method == "GET" { call.request.path_and_query() } else { "/account" };
            Reply::redirect(303, &Target::own("/account/second-factor").with_query("continue", back))
        }
        // Whoever opens a page of their own signed out signs in first, and comes back.
        Surface::Page if signed_out => {
            let login = Target::own("/login");
            let back = if route.method == "GET" { call.request.path_and_query() } else { "/account" };
            Reply::redirect(303, &login.with_query("continue", back))
        }
        Surface::Page => errors::error_page(&call.context, error),
    };
    // A session cookie that opens nothing is taken back; not where another site's form could make us.
    let is_ours = call.context.app().is_none() && route.origin == routes::Origin::Trusted;
    let rejected = error.wire() == Wire::UNAUTHORIZED && is_ours;
    Ok(if rejected { reply.with_cookies(cookies::clear_session_cookies(&call.context)) } else { reply })
}

fn may_be_a_program(route: &Route, call: &Call) -> bool {
    let asks = call.request.is_unsafe() || route.is_for_programs();
    asks && call.asked.is_none() && call.request.header("Sec-Fetch-Mode").is_none()
}

async fn admit_caller(route: &'static Route, call: &mut Call) -> Result<()> {
    guard::check_origin(call, route)?;
    if call.context.app().is_none() && !route.is_for_programs() {
        policy::check_address(&call.context)?;
    }
    match route.access {
        Access::Anybody => Ok(()),
        Access::Permitted if api_key::read_api_key(&call.context).is_some() => Ok(()),
        Access::Confirmed | Access::Permitted => call.presented().map(|_| ()),
        Access::Session => match call.visitor(Depth::Snapshot).await? {
            Authentication::Authenticated(session) => {
                call.authenticated = Some(*session);
                Ok(())
            }
            Authentication::NotPresented => Err(Error::refused(Wire::UNAUTHORIZED, "not signed in")),
            Authentication::Rejected(rejection) => Err(authenticate::rejection_error(rejection)),
        },
    }
}
