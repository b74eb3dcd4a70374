//! Handlers: load, decide, commit, respond. And what happens before and after each of them.

pub mod account;
pub mod admin;
pub mod anonymous;
pub mod api_key;
pub mod arrival;
pub mod authenticate;
pub mod change_email;
pub mod counting;
pub mod deletion;
pub mod email_otp;
pub mod errors;
pub mod forward_auth;
pub mod gate;
pub mod guard;
pub mod health;
pub mod keyed;
pub mod magic_link;
pub mod mailbox;
pub mod mailing;
pub mod multi_session;
pub mod notifications;
pub mod one_time;
pub mod opening;
pub mod organization;
pub mod outgoing;
pub mod pages;
pub mod passkey;
pub mod passkey_registration;
pub mod password;
pub mod phone;
pub mod policy;
pub mod profile;
pub mod proof;
pub mod provider;
pub mod proxy;
pub mod reset;
pub mod second_factor;
pub mod second_factor_setup;
pub mod session;
pub mod settings;
pub mod sign_in;
pub mod sign_up;
pub mod social;
pub mod token;
pub mod upstream;
pub mod user;
pub mod username;
pub mod verification;

use std::cell::RefCell;
use std::rc::Rc;

use worker::{Env, Request, Response};

use crate::config::Config;
use crate::context::{self, Context, Surroundings};
use crate::error::{Error, Result, Wire};
use crate::handlers::authenticate::{Authenticated, Authentication, Depth, Look, Prolong};
use crate::handlers::forward_auth::Asked;
use crate::http::incoming::Incoming;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::id::{Id, Millis, User};
use crate::jobs::SEND_LOGOUT;
use crate::pages as pages_of_all;
use crate::routes::{self, Access, Route, Surface};
use crate::session::Person;
use crate::store::database::{Answers, Statement};
use crate::store::directory::{self, Place};

/// A request on its way through a handler.
pub struct Call {
    /// What it is served with.
    pub context: Context,
    /// What came in.
    pub request: Incoming,
    /// The route's `:name` segment.
    pub segment: Option<String>,
    /// What the proxy in front of the website was asked for, if one stands there.
    pub asked: Option<Asked>,
    /// Whether a program's key opens this as well.
    pub takes_keys: bool,
    /// The session of an [`Access::Session`] route, once it has been looked up.
    pub authenticated: Option<Authenticated>,
}

impl Call {
    /// The session of an [`Access::Session`] route.
    ///
    /// # Errors
    /// 401, if the route table does not ask for one.
    pub fn session(&self) -> Result<&Authenticated> {
        self.authenticated
            .as_ref()
            .ok_or_else(|| Error::refused(Wire::UNAUTHORIZED, "handler of a session without one"))
    }

    /// The session of an [`Access::Confirmed`] route, confirmed by D1 in one batch with `more` statements, whose
    /// answers come along.
    ///
    /// # Errors
    /// 401 if it does not hold; 503 if D1 does not answer.
    pub async fn confirmed(&self, more: Vec<Statement>) -> Result<(Authenticated, Answers)> {
        let presented = self.presented()?;
        authenticate::confirm(&self.context, presented, more).await
    }

    /// The session cookie, genuine but not yet looked up.
    ///
    /// # Errors
    /// 401 if there is none.
    pub fn presented(&self) -> Result<authenticate::Ticket> {
        authenticate::present(&self.context, &self.request)
            .map_err(|rejection| Error::refused(Wire::UNAUTHORIZED, format!("{rejection:?}")))?
            .ok_or_else(|| Error::refused(Wire::UNAUTHORIZED, "not signed in"))
    }

    /// The guest who is asking, if it is one: whoever signs up in their browser becomes a user in their place.
    ///
    /// # Errors
    /// 503 if D1 does not answer.
    pub async fn guest(&self) -> Result<Option<Id<User>>> {
        if !self.context.config.ways_in.anonymous || authenticate::brought(&self.context).is_none() {
            return Ok(None);
        }
        let visitor = self.visitor(Depth::Database).await?;
        // Nothing is written in this session's name: somebody signs in.
        self.context.db()?.let_go();
        match visitor {
            Authentication::Authenticated(one) if one.session.user.is_anonymous => Ok(Some(one.session.user.id)),
            _ => Ok(None),
        }
    }

    /// The user who is signed in in this browser, for a page that has another next step for them. A guest is nobody.
    ///
    /// # Errors
    /// 503 if D1 does not answer.
    pub async fn signed_in_user(&self) -> Result<Option<Person>> {
        if authenticate::brought(&self.context).is_none() {
            return Ok(None);
        }
        Ok(match self.visitor(Depth::Database).await? {
            Authentication::Authenticated(one) if !one.session.user.is_anonymous => Some(one.session.user),
            _ => None,
        })
    }

    /// Who is asking, if anybody is signed in. What was presented and is bad counts as nobody here, so use this only
    /// where nobody is welcome too.
    ///
    /// # Errors
    /// 503 if D1 does not answer.
    pub async fn visitor(&self, depth: Depth) -> Result<Authentication> {
        authenticate::authenticate(&self.context, &self.request, Look { depth, prolong: Prolong::Now }).await
    }
}

thread_local! {
    /// Settings do not change while an isolate lives.
    static CONFIG: RefCell<Option<Rc<Config>>> = const { RefCell::new(None) };
}

/// The settings.
///
/// # Errors
/// [`Error::Config`] naming the one that is missing or malformed.
pub fn config(env: &Env) -> Result<Rc<Config>> {
    if let Some(config) = CONFIG.with_borrow(Clone::clone) {
        return Ok(config);
    }
    let config = Rc::new(Config::read(|name| env.var(name).ok().map(|var| var.to_string()))?);
    CONFIG.with_borrow_mut(|kept| *kept = Some(config.clone()));
    Ok(config)
}

/// The clock. Read once a request; see [`Context::now`].
#[must_use]
pub fn read_clock() -> Millis {
    #[expect(clippy::disallowed_methods, reason = "the one reading a request")]
    Millis::try_from(worker::Date::now().as_millis()).unwrap_or(0)
}

/// Serves a request. Whatever goes wrong is an answer.
pub async fn serve(request: Request, env: Env, runtime: worker::Context) -> Response {
    let now = read_clock();
    let request = Incoming::new(request);
    let source = request.source().clone();
    let path = request.path().to_owned();
    let is_head = request.method() == "HEAD";
    let reply = match config(&env) {
        Ok(config) => {
            let around = Surroundings { config, now, source: source.clone(), env, runtime, send_logout: SEND_LOGOUT };
            route(request, around).await
        }
        Err(error) => Err(error),
    };
    let reply = reply.or_else(|error| {
        context::log(source.id(), &path, &error);
        if source.is_navigation() { Ok(errors::bare(&error, source.id())) } else { errors::told(&path, &error) }
    });
    let response = reply.and_then(|reply| {
        // HEAD is answered as GET without the body (RFC 9110, section 9.3.2).
        let reply = if is_head { reply.without_body() } else { reply };
        reply.into_response()
    });
    response.unwrap_or_else(|error| {
        context::log(source.id(), &path, &error);
        Response::error("Internal Server Error", 500)
            .unwrap_or_else(|_| worker::ResponseBuilder::new().with_status(500).empty())
    })
}

/// Finds who answers on a host.
///
/// # Errors
/// If D1 does not answer.
pub async fn place(around: &Surroundings, host: &str) -> Result<Option<Rc<Place>>> {
    let config = &around.config;
    if let Some(place) = directory::remembered(host, config, around.now) {
        return Ok(place);
    }
    let is_default = host == config.auth_origin.host();
    Ok(directory::find(&around.env, host, is_default, config, around.now).await?)
}

async fn route(request: Incoming, around: Surroundings) -> Result<Reply> {
    if !request.is_secure() && !around.config.development {
        return guard::to_https(&request);
    }
    // Also where nobody answers, or D1 does not: the page that says so looks as all of them.
    let is_stylesheet = request.path() == pages_of_all::STYLESHEET_ANYWHERE && !forward_auth::is_astray(&request);
    if is_stylesheet && matches!(request.method(), "GET" | "HEAD") {
        return Ok(pages::style().with("x-content-type-options", "nosniff"));
    }
    let Some(place) = place(&around, request.host()).await? else {
        let error = Error::refused(Wire::NO_SUCH_HOST, format!("host {:?}", request.host()));
        if !around.source.is_navigation() {
            return Err(error);
        }
        context::log(around.source.id(), request.path(), &error);
        return Ok(errors::unknown_host(&around.config, request.host(), around.source.id()));
    };
    let has_origin = place.app.as_ref().is_some_and(|app| app.origin_url.is_some() || app.service_binding.is_some());
    if !has_origin && forward_auth::is_astray(&request) {
        return Err(Error::refused(Wire::FORBIDDEN, "a proxy's question about another path than it asks for"));
    }
    // A website behind nginx: the reserved paths reach us on the auth host, under the website's name.
    let (place, asked) = match forward_auth::website(&request, &around, &place).await? {
        Some((website, asked)) => (website, Some(asked)),
        None => (place, None),
    };
    let is_secure = asked.as_ref().map_or_else(|| request.is_secure(), Asked::is_secure);
    let context = Context::new(around, place, is_secure);
    let is_check = forward_auth::is_check(request.path()) && (asked.is_some() || !has_origin);
    let is_website = context.app().is_some() && !is_check;
    let table = if is_website { routes::PROTECTED_HOST } else { routes::AUTH_HOST };
    // Some proxies ask with the method that they were asked with.
    let method = if is_check { "GET" } else { request.method() };
    // Envoy puts what it was asked for behind the path of the check.
    let path = if is_check { forward_auth::PATH } else { request.path() };
    let found = routes::find(table, method, path);
    let is_reserved = !is_website || asked.is_some() || routes::is_reserved(request.path());
    let call = Call { context, request, segment: None, asked, takes_keys: false, authenticated: None };
    match found {
        Some((route, segment)) => dispatch(route, Call { segment, ..call }).await,
        None if is_reserved => guard::preflight_or_not_found(&call, table),
        None => proxy::serve(call).await,
    }
}

async fn dispatch(route: &'static Route, mut call: Call) -> Result<Reply> {
    call.takes_keys = route.access == Access::Permitted;
    call.context.is_before_enrolment = policy::is_before_enrolment(route.path);
    let reply = match (admit(route, &mut call).await, guard::merely_looks(&call, route)) {
        (Ok(()), Some(looked)) => Ok(looked),
        (Ok(()), None) => (route.handler)(&mut call).await,
        (Err(error), _) => Err(error),
    };
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => fail(route, &call, &error)?,
    };
    Ok(guard::finish(&call, route.surface, reply))
}

fn fail(route: &Route, call: &Call, error: &Error) -> Result<Reply> {
    // The route's path, not the request's: its last segment may be a token.
    call.context.log(route.path, error);
    let signed_out = error.wire() == Wire::UNAUTHORIZED && route.access != Access::Anybody;
    let reply = match route.surface {
        // Some programs say by default that they read pages: where they ask, a browser is known by what it alone sends.
        Surface::Api if may_be_a_program(route, call) => errors::told(call.request.path(), error)?,
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
        Surface::Page => errors::html(&call.context, error),
    };
    // A session cookie that opens nothing is taken back; not where another site's form could make us.
    let is_ours = call.context.app().is_none() && route.origin == routes::Origin::Trusted;
    let rejected = error.wire() == Wire::UNAUTHORIZED && is_ours;
    Ok(if rejected { reply.with_cookies(opening::cleared(&call.context)) } else { reply })
}

fn may_be_a_program(route: &Route, call: &Call) -> bool {
    let asks = call.request.is_unsafe() || guard::is_for_programs(route.path);
    asks && call.asked.is_none() && call.request.header("Sec-Fetch-Mode").is_none()
}

async fn admit(route: &'static Route, call: &mut Call) -> Result<()> {
    guard::check_origin(call, route)?;
    if call.context.app().is_none() && !guard::is_for_programs(route.path) {
        policy::admits(&call.context)?;
    }
    match route.access {
        Access::Anybody => Ok(()),
        Access::Permitted if keyed::brought(&call.request).is_some() => Ok(()),
        Access::Confirmed | Access::Permitted => call.presented().map(|_| ()),
        Access::Session => match call.visitor(Depth::Snapshot).await? {
            Authentication::Authenticated(session) => {
                call.authenticated = Some(*session);
                Ok(())
            }
            Authentication::NotPresented => Err(Error::refused(Wire::UNAUTHORIZED, "not signed in")),
            Authentication::Rejected(rejection) => Err(authenticate::refused(rejection)),
        },
    }
}
