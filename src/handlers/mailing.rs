//! Before a mail is sent to an address that anybody may have typed.

use crate::context::Context;
use crate::credentials::sign_in::Candidate;
use crate::error::{Error, Result};
use crate::session::user_is_active;
use crate::store;
use crate::store::rate_limit::{self, Window};
use crate::store::sign_in::{By, Counters};

/// The active user who has an address, after the mail asked for was counted: by network, and by address whether anybody
/// has it or not.
///
/// # Errors
/// 429, 503.
pub async fn addressee(context: &Context, purpose: &'static str, by: By<'_>) -> Result<Option<Candidate>> {
    let (config, tenant) = (&context.config, &context.tenant().id);
    let key = |by: &str, whom: &str| rate_limit::key(config, &format!("{purpose}:{by}"), tenant.as_str(), whom);
    let (network, account) = (key("network", &context.client().network()), key("account", by.text()));
    let limit = config.limit_mail;
    let counters = Counters { network: (&network, limit), account: (&account, limit) };
    let loaded = store::sign_in::load(context, by, &counters).await?;
    let over = |window: Window| window.retry_after(limit, context.now);
    if let Some(retry_after) = over(loaded.network).or_else(|| loaded.account.and_then(over)) {
        return Err(Error::TooManyRequests { retry_after, limit: purpose });
    }
    let is_active = |user: &Candidate| user_is_active(&user.status, user.suspended_until, context.now);
    Ok(loaded.candidate.filter(|user| loaded.tenant_is_active && is_active(user)))
}
