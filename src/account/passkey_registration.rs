//! Who may register a passkey, and removing one.

use serde_json::json;

use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Passkey};
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::authenticate::Authenticated;
use crate::session::proof;
use crate::{federation, records, users};

pub(crate) fn require_passkey_permission(context: &Context, authenticated: &Authenticated) -> Result<()> {
    proof::refuse_impersonator(authenticated)?;
    proof::require_fresh_session(context, authenticated)
}

/// Deletes a passkey of the session's user, and tells them. Never the last way in.
///
/// # Errors
/// 400 for the last way in,
/// 403 for an impersonating administrator or a session that is not fresh, 404.
pub async fn delete_passkey(context: &Context, authenticated: &Authenticated, id: &str) -> Result<()> {
    require_passkey_permission(context, authenticated)?;
    let not_found = || Error::refused(Wire::PASSKEY_NOT_FOUND, "unknown, or another's");
    let user = &authenticated.session.user.id;
    let id: Id<Passkey> = Id::parse(id).ok_or_else(not_found)?;
    let letter = mail::security_notice(
        &context.tenant().name,
        "A passkey was removed",
        "A passkey was removed from your account. It signs in no more.",
    );
    let details = json!({ "passkey": id });
    let event = context.row_id()?;
    let statements = [
        users::store::passkey::delete(user, &id),
        must_change(),
        federation::store::account::keeps_way_in(context, user),
        records::store::audit::audit(context, &event, Some(user), "passkey.removed", Severity::Medium, &details),
        records::store::outbox::queue_to_user(context, user, &letter, None)?,
    ];
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Err(not_found()),
        Err(StoreError::Broken(name)) if name == federation::store::account::LAST_WAY_IN => {
            return Err(Error::refused(Wire::LAST_WAY_IN, "no other way in"));
        }
        other => other?,
    };
    deliver_later(context);
    Ok(())
}
