//! What administrators of a tenant do. A tenant's issuers are its administrators'; those that every tenant offers are the
//! default tenant's administrators'.

pub mod impersonation;
pub mod issuer_draft;
pub mod issuers;
pub mod list_users;
pub mod system_account;
pub mod tenants;
pub mod users;

use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::handlers::authenticate::{Authenticated, Authentication, Depth};
use crate::handlers::{Call, proof};
use crate::session::LiveSession;
use crate::store::database::{Answers, Statement};

/// The tenant whose administrators look after what is everybody's.
const DEFAULT_TENANT: &str = "default";

/// An administrator's session, confirmed by D1.
pub struct Administrator {
    /// The session.
    pub authenticated: Authenticated,
    /// Whether what every tenant uses is theirs to change.
    pub is_global: bool,
    /// The answers of the further statements.
    pub answers: Answers,
}

/// Whether the tenant's administrators look after what is everybody's.
#[must_use]
pub fn is_global(context: &Context) -> bool {
    context.tenant().slug == DEFAULT_TENANT
}

/// Whether a session is one of the tenant's administrators.
#[must_use]
pub fn administers(session: &LiveSession) -> bool {
    session.is_member && session.roles.iter().any(|role| role == "owner" || role == "admin")
}

/// The administrator who is asking, in one batch with `more` statements.
///
/// # Errors
/// 401, 403 for anybody else.
pub async fn administrator(call: &Call, more: Vec<Statement>) -> Result<Administrator> {
    let (authenticated, answers) = call.confirmed(more).await?;
    proof::not_impersonated(&authenticated)?;
    if !administers(&authenticated.session) {
        return Err(Error::refused(Wire::FORBIDDEN, "no administrator"));
    }
    let is_global = is_global(&call.context);
    Ok(Administrator { authenticated, is_global, answers })
}

/// The administrator who is signed in in this browser, if it is one.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn present(call: &Call) -> Result<Option<LiveSession>> {
    match call.visitor(Depth::Database).await? {
        Authentication::Authenticated(one) if administers(&one.session) && one.session.impersonated_by.is_none() => {
            Ok(Some(one.session))
        }
        _ => Ok(None),
    }
}
