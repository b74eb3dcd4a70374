//! Changing the address of an account: checking the wish, and carrying it out.

use serde_json::json;

use crate::http::email;
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::authenticate::Authenticated;
use crate::session::{authenticate, proof};
use crate::users::store::sign_in::{Counters, LookupBy, candidate};
use crate::users::{limits, sign_in_decision};
use crate::{records, request, users};

/// The session of somebody who may change their address, and whether nobody has the new one yet. What is done about that
/// address is counted.
///
/// # Errors
/// 400 for the address they have, 401, 403 for a session that is not fresh, 429.
pub async fn check_email_change(context: &Context, new: &str, counters: &Counters) -> Result<(Authenticated, bool)> {
    let ticket = authenticate::require_ticket(context)?;
    let limit = context.config.limit_mail;
    let mut more = vec![request::store::rate_limit::count_for_session(context, "change-email", &ticket.hash, limit)];
    more.extend(counters.statements(context));
    more.push(candidate(context, LookupBy::Email(new)));
    let (authenticated, mut answers) = authenticate::require_session(context, more).await?;
    let window: Option<request::store::rate_limit::Window> = answers.row()?;
    if let Some(retry_after) = window.and_then(|window| window.retry_after(limit, context.now)) {
        return Err(Error::TooManyRequests { retry_after, limit: "change-email by account" });
    }
    // By the address as well: somebody who wants to fill a mailbox can make any number of accounts.
    let windows = counters.windows(&mut answers)?;
    limits::check_limits(context, &windows, counters, ["change-email by network", "change-email by address"])?;
    let taken: Option<sign_in_decision::Candidate> = answers.row()?;
    proof::refuse_impersonator(&authenticated)?;
    proof::require_fresh_session(context, &authenticated)?;
    if authenticated.session.user.email == new {
        return Err(Error::refused(Wire::EMAIL_IS_THE_SAME, "the address they have"));
    }
    Ok((authenticated, taken.is_none()))
}

/// Changes the address, unless it is another by now or somebody has the new one. Both addresses are told.
///
/// # Errors
/// 503.
pub async fn change_email(context: &Context, user: &Id<User>, old: &str, new: &str) -> Result<bool> {
    let details = json!({ "old": old, "new": new });
    let id = context.row_id()?;
    let told = mail::email_changed(&context.tenant().name, new);
    let mut statements = vec![
        users::store::user::change_email(context, user, old, new),
        must_change(),
        users::store::password_reset::revoke(context, user, None, "email_changed"),
        request::store::verification::forget(context, user),
        records::store::audit::audit(context, &id, Some(user), "email.changed", Severity::Medium, &details),
    ];
    for address in [old, new].into_iter().filter(|address| email::is_mailbox(address)) {
        statements.push(records::store::outbox::queue(context, Some(user), address, &told)?);
    }
    match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(_) | StoreError::Unchanged) => return Ok(false),
        other => other?,
    };
    deliver_later(context);
    Ok(true)
}
