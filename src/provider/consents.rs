//! Withdrawing a consent.

use serde_json::json;

use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::provider::store;
use crate::records;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::authenticate::Authenticated;
use crate::session::proof;

/// Takes back what a user agreed to.
///
/// # Errors
/// 403 in another's name, 404 for another's.
pub async fn withdraw_consent(context: &Context, authenticated: &Authenticated, id: &str) -> Result<()> {
    proof::refuse_impersonator(authenticated)?;
    let user = &authenticated.session.user.id;
    let (event, details) = (context.row_id()?, json!({ "consent": id }));
    let statements = [
        store::token::revoke_consented(context, user, id),
        store::grant::end_consented(context, user, id),
        store::consent::withdraw(context, user, id),
        must_change(),
        records::store::audit::audit(context, &event, Some(user), "consent.withdrawn", Severity::Low, &details),
    ];
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => Err(Error::refused(Wire::CONSENT_NOT_FOUND, "unknown, or another's")),
        other => Ok(other.map(|_| ())?),
    }
}
