//! What every grant of the token endpoint has in hand, and the commit of its tokens.

use crate::platform::d1::{Statement, StoreError, must_change};
use crate::platform::error::Result;
use crate::provider::authenticate_client::SingleUse;
use crate::provider::client::Client;
use crate::provider::dpop::Confirmation;
use crate::provider::parameters::Parameters;
use crate::provider::sender_constraint::Held;
use crate::request::context::Context;

/// A request whose client has shown who it is.
pub struct Granting<'a> {
    /// The client.
    pub client: &'a Client,
    /// The parameters.
    pub parameters: &'a Parameters,
    /// The key or certificate that it comes with.
    pub held: &'a Held,
    /// What its tokens are bound to.
    pub cnf: Confirmation,
    /// What it uses up.
    pub once: SingleUse,
}

/// Writes what a request ends in: what it uses up must be there to be used, and nothing is done otherwise. `None` if it was
/// not.
///
/// # Errors
/// As [`SingleUse::settled`](crate::provider::authenticate_client::SingleUse::settled).
pub async fn commit_tokens(
    context: &Context,
    once: &SingleUse,
    used_up: Statement,
    tokens: Vec<Statement>,
) -> Result<Option<()>> {
    let mut statements = vec![used_up, must_change()];
    statements.extend(once.statements(context)?);
    statements.extend(tokens);
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => Ok(None),
        other => once.settled(context, other).await.map(|_| Some(())),
    }
}
