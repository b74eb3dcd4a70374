//! One request's surroundings: settings, clock, randomness, database, tenant, and what is done after the answer.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use worker::Env;

use crate::http::client::{Certificate, Client};
use crate::http::cookie;
use crate::http::cookie::Cookie;
use crate::http::incoming::Source;
use crate::http::page::{Frame, STYLESHEET_ANYWHERE};
use crate::platform::config::Config;
use crate::platform::d1::{Database, Stored};
use crate::platform::error::{Error, Result};
use crate::platform::id::{Id, Millis};
use crate::platform::origin::Origin;
use crate::platform::{log, random};
use crate::request::store::directory::{AppPlace, HostPlace, TenantPlace};

/// What a request is served with. The clock was read once.
pub struct Context {
    /// Settings.
    pub config: Rc<Config>,
    /// Now: the request's only reading of the clock.
    pub now: Millis,
    /// The Worker's bindings.
    pub env: Env,
    /// Whether the request came over https: cookies are named by it.
    pub is_secure: bool,
    /// What the table of routes says of the endpoint that was asked.
    pub endpoint: Endpoint,
    /// How a logout token is sent.
    pub send_logout: SendLogout,
    runtime: worker::Context,
    source: Rc<Source>,
    client: OnceCell<Client>,
    place: Rc<HostPlace>,
    db: OnceCell<Database>,
}

/// Sends the logout token of an outbox row, by its id: the provider's part in delivering the outbox.
pub type SendLogout = for<'a> fn(&'a Env, &'a Database, &'a Config, &'a str, Millis) -> Sending<'a>;

/// A message on its way; `Err` says for the log what went wrong.
pub type Sending<'a> = Pin<Box<dyn Future<Output = std::result::Result<(), String>> + 'a>>;

/// What the table of routes says of an endpoint that matters below the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Endpoint {
    /// Whether it is open to somebody who must set up a second factor before anything else.
    pub is_before_enrolment: bool,
    /// Whether a program's key opens it as well.
    pub takes_keys: bool,
    /// Whether it changes something in an organization. An administrator who acts as somebody may not ask for that.
    pub changes_organizations: bool,
}

/// What a context is made from.
pub struct Surroundings {
    /// Settings.
    pub config: Rc<Config>,
    /// Now.
    pub now: Millis,
    /// Where the request came from.
    pub source: Rc<Source>,
    /// Bindings.
    pub env: Env,
    /// For what outlives the answer.
    pub runtime: worker::Context,
    /// How a logout token is sent.
    pub send_logout: SendLogout,
}

impl Context {
    /// The context of a request to `place`.
    #[must_use]
    pub fn new(around: Surroundings, place: Rc<HostPlace>, is_secure: bool) -> Self {
        Self {
            config: around.config,
            now: around.now,
            env: around.env,
            runtime: around.runtime,
            send_logout: around.send_logout,
            is_secure,
            endpoint: Endpoint::default(),
            source: around.source,
            client: OnceCell::new(),
            place,
            db: OnceCell::new(),
        }
    }

    /// The tenant that was asked.
    #[must_use]
    pub fn tenant(&self) -> &TenantPlace {
        &self.place.tenant
    }

    /// The protected app that was asked; none on an auth host.
    #[must_use]
    pub fn app(&self) -> Option<&AppPlace> {
        self.place.app.as_ref()
    }

    /// Who is asking.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.client.get_or_init(|| self.source.client())
    }

    /// The certificate that the client's connection was made with. One that was revoked shows nothing.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.source.certificate().filter(|certificate| !certificate.is_revoked)
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.source.header(name)
    }

    /// A cookie's value, if the request presents one value for it.
    #[must_use]
    pub fn cookie(&self, cookie: Cookie) -> Option<String> {
        let header = self.source.header("Cookie")?;
        match cookie::read(&header, cookie.name(self.is_secure)) {
            cookie::CookieValue::Value(value) if !value.is_empty() => Some(value.to_owned()),
            _ => None,
        }
    }

    /// Names the request in the log and to its client.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.source.id()
    }

    /// The origin that the tenant's people sign in on.
    #[must_use]
    pub fn auth_origin(&self) -> Origin {
        self.config.auth_origin_of(self.tenant().auth_host.as_deref())
    }

    /// What pairwise names of the tenant follow from; none for a client that knows its users by their ids.
    #[must_use]
    pub fn pairwise(&self, is_pairwise: bool) -> Option<&str> {
        is_pairwise.then_some(&self.tenant().pairwise_salt)
    }

    /// The binding of the tenant's database.
    #[must_use]
    pub fn binding(&self) -> &str {
        self.tenant().database.as_deref().unwrap_or(Database::BINDING)
    }

    /// The tenant's database.
    ///
    /// # Errors
    /// If the binding is missing.
    pub fn db(&self) -> Stored<&Database> {
        if let Some(db) = self.db.get() {
            return Ok(db);
        }
        let db = Database::open(&self.env, self.binding())?;
        Ok(self.db.get_or_init(|| db))
    }

    /// The frame of a page on the host that was asked.
    #[must_use]
    pub fn frame<'a>(&'a self, title: &'a str) -> Frame<'a> {
        let stylesheet = if self.app().is_some() { STYLESHEET_ANYWHERE } else { "/style.css" };
        Frame { title, tenant: &self.tenant().name, stylesheet }
    }

    /// Round trips to D1 so far.
    #[must_use]
    pub fn trips(&self) -> u32 {
        self.db.get().map_or(0, |db| db.trips().get())
    }

    /// Random bytes.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::platform::error::Error::Internal) if the platform has none.
    pub fn random<const N: usize>(&self) -> Result<[u8; N]> {
        random::random()
    }

    /// A new id.
    ///
    /// # Errors
    /// As [`Self::random`].
    pub fn id<T>(&self) -> Result<Id<T>> {
        Ok(Id::new(self.now, self.random()?))
    }

    /// A new id for a row that nothing names by type.
    ///
    /// # Errors
    /// As [`Self::random`].
    pub fn row_id(&self) -> Result<String> {
        Ok(self.id::<()>()?.as_str().to_owned())
    }

    /// Does something after the answer, not in the visitor's way.
    pub fn after(&self, work: impl Future<Output = ()> + 'static) {
        self.runtime.wait_until(work);
    }

    /// Logs an error, exactly and once.
    pub fn log(&self, path: &str, error: &Error) {
        log::log(self.request_id(), path, error);
    }

    /// Logs something that was survived.
    pub fn note(&self, text: &str) {
        log::note(self.request_id(), text);
    }
}
