//! Before a mail is sent to an address that anybody may have typed.

use crate::platform::error::Result;
use crate::request::context::Context;
use crate::users::person::user_is_active;
use crate::users::sign_in_decision::Candidate;
use crate::users::store::sign_in::LookupBy;
use crate::users::{limits, store};

/// The active user who has an address, after the mail asked for was counted: by network, and by address whether anybody
/// has it or not.
///
/// # Errors
/// 429, 503.
pub async fn load_addressee(context: &Context, purpose: &'static str, by: LookupBy<'_>) -> Result<Option<Candidate>> {
    let counters = limits::mail_counters(context, purpose, by.text());
    let loaded = store::sign_in::load(context, by, &counters).await?;
    limits::check_limits(context, &loaded.windows, &counters, [purpose, "mails to one address"])?;
    let is_active = |user: &Candidate| user_is_active(&user.status, user.suspended_until, context.now);
    Ok(loaded.candidate.filter(|user| loaded.tenant_is_active && is_active(user)))
}
