//! Before a mail is sent to an address that anybody may have typed.

use crate::context::Context;
use crate::credentials::sign_in::Candidate;
use crate::error::Result;
use crate::handlers::{counting, guard};
use crate::session::user_is_active;
use crate::store;
use crate::store::sign_in::By;

/// The active user who has an address, after the mail asked for was counted: by network, and by address whether anybody
/// has it or not.
///
/// # Errors
/// 429, 503.
pub async fn addressee(context: &Context, purpose: &'static str, by: By<'_>) -> Result<Option<Candidate>> {
    let counters = counting::mails(context, purpose, by.text());
    let loaded = store::sign_in::load(context, by, &counters).await?;
    guard::within(context, &loaded.windows, &counters, [purpose, "mails to one address"])?;
    let is_active = |user: &Candidate| user_is_active(&user.status, user.suspended_until, context.now);
    Ok(loaded.candidate.filter(|user| loaded.tenant_is_active && is_active(user)))
}
