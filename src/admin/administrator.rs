//! What administrators of a tenant do. A tenant's issuers are its administrators'; those that every tenant offers are the
//! default tenant's administrators'.

use crate::access::action::{Action, Permit};
use crate::access::permission::Permissions;
use crate::platform::d1::{Answers, Statement};
use crate::platform::error::Result;
use crate::platform::id::{Id, User};
use crate::request::context::Context;
use crate::session;
use crate::session::authenticate::{Authenticated, Authentication, Depth};
use crate::session::store::permission::{Standing, WhichTenant};
use crate::session::{authenticate, proof};

/// The tenant whose administrators look after what is everybody's.
const DEFAULT_TENANT: &str = "default";

/// An administrator's session, confirmed by D1.
pub struct Administrator {
    /// The session.
    pub authenticated: Authenticated,
    /// For the action that they were asked about.
    pub permit: Permit,
    /// All that they hold in the tenant.
    pub held: Permissions,
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

/// Reads what the user of the session that was presented is in the tenant that was asked.
///
/// # Errors
/// 401 if none was presented.
pub fn standing_statement(context: &Context) -> Result<Statement> {
    Ok(session::store::permission::standing(
        context,
        &authenticate::require_ticket(context)?.hash,
        WhichTenant::Id(&context.tenant().id),
    ))
}

/// The permit for an action, of whoever has this standing.
///
/// # Errors
/// The action's refusal; whoever is no member may nothing.
pub fn require_permission(
    context: &Context,
    standing: Option<&Standing>,
    action: Action,
    user: &Id<User>,
) -> Result<Permit> {
    let held = standing.map(|standing| standing.permissions.clone()).unwrap_or_default();
    Permit::of(&held, action, &context.tenant().id, user)
}

/// The administrator who is asking, if they may do this, in one batch with `more` statements.
///
/// # Errors
/// 401, 403 for anybody else.
pub async fn authorize_administrator(context: &Context, action: Action, more: Vec<Statement>) -> Result<Administrator> {
    let statements = std::iter::once(standing_statement(context)?).chain(more).collect();
    let (authenticated, mut answers) = authenticate::require_session(context, statements).await?;
    proof::refuse_impersonator(&authenticated)?;
    let standing: Option<Standing> = answers.row()?;
    let permit = require_permission(context, standing.as_ref(), action, &authenticated.session.user.id)?;
    let held = standing.map(|standing| standing.permissions).unwrap_or_default();
    Ok(Administrator { authenticated, permit, held, is_global: is_global(context), answers })
}

/// The administrator who is signed in in this browser, if it is one who may do this.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn load_administrator_permit(context: &Context, action: Action) -> Result<Option<Permit>> {
    let session = match authenticate::identify_visitor(context, Depth::Database).await? {
        Authentication::Authenticated(one) if one.session.impersonated_by.is_none() => one.session,
        _ => return Ok(None),
    };
    let standing =
        context.db()?.first(session::store::permission::standing_of(&context.tenant().id, &session.user.id)).await?;
    Ok(require_permission(context, standing.as_ref(), action, &session.user.id).ok())
}
