//! A request on its way through an endpoint, and who is asking.

use crate::http::incoming::Incoming;
use crate::platform::d1::{Answers, Statement};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::request::asked::ProxyQuestion;
use crate::request::context::Context;
use crate::session::authenticate;
use crate::session::authenticate::{Authenticated, Authentication, Depth};
use crate::users::person::Person;

/// A request on its way through a handler.
pub struct Call {
    /// What it is served with.
    pub context: Context,
    /// What came in.
    pub request: Incoming,
    /// The route's `:name` segment.
    pub segment: Option<String>,
    /// What the proxy in front of the website was asked for, if one stands there.
    pub asked: Option<ProxyQuestion>,
    /// The session of a route that asks for one, once it has been looked up.
    pub authenticated: Option<Authenticated>,
}

impl Call {
    /// The session of a route that asks for one.
    ///
    /// # Errors
    /// 401, if the route table does not ask for one.
    pub fn session(&self) -> Result<&Authenticated> {
        self.authenticated
            .as_ref()
            .ok_or_else(|| Error::refused(Wire::UNAUTHORIZED, "handler of a session without one"))
    }

    /// The session that was presented, confirmed by D1 in one batch with `more` statements, whose answers come along.
    ///
    /// # Errors
    /// 401 if it does not hold; 503 if D1 does not answer.
    pub async fn confirmed(&self, more: Vec<Statement>) -> Result<(Authenticated, Answers)> {
        authenticate::require_session(&self.context, more).await
    }

    /// The session cookie, genuine but not yet looked up.
    ///
    /// # Errors
    /// 401 if there is none.
    pub fn presented(&self) -> Result<authenticate::Ticket> {
        authenticate::require_ticket(&self.context)
    }

    /// The guest who is asking, if it is one: somebody who signs up in their browser becomes a user in their place.
    ///
    /// # Errors
    /// 503 if D1 does not answer.
    pub async fn guest(&self) -> Result<Option<Id<User>>> {
        authenticate::identify_guest(&self.context).await
    }

    /// The user who is signed in in this browser, for a page that has another next step for them. A guest is nobody.
    ///
    /// # Errors
    /// 503 if D1 does not answer.
    pub async fn signed_in_user(&self) -> Result<Option<Person>> {
        authenticate::signed_in_user(&self.context).await
    }

    /// Who is asking, if anybody is signed in. What was presented and is bad counts as nobody here, so use this only
    /// where nobody is welcome too.
    ///
    /// # Errors
    /// 503 if D1 does not answer.
    pub async fn visitor(&self, depth: Depth) -> Result<Authentication> {
        authenticate::identify_visitor(&self.context, depth).await
    }
}
