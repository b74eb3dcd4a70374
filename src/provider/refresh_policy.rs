//! Whether the tenant's security policy still takes the sign-in that a refresh token came of.

use crate::access::policy::Facts;
use crate::platform::error::Result;
use crate::provider::token::StoredRefresh;
use crate::request::context::Context;
use crate::session::live_session::has_two_factors;
use crate::session::policy;

/// Whether the sign-in that a refresh token came of is still one that the tenant's policy takes.
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) for a policy that cannot be read.
pub fn is_sign_in_still_accepted(context: &Context, stored: &StoredRefresh) -> Result<bool> {
    let facts = Facts {
        has_second_factor: stored.has_second_factor,
        satisfied: has_two_factors(&stored.amr)
            || (stored.is_device_trusted && policy::policy_of_tenant(context)?.allows_trusted_devices()),
        roles: &stored.roles,
        logins_since_enforcement: stored.grace_logins,
        first_required_at: stored.second_factor_required_at,
    };
    match policy::check_second_factor(policy::policy_of_tenant(context)?, facts, context.now) {
        Ok(begins) => {
            if begins {
                policy::begin_grace(context, &context.tenant().id, &stored.user_id);
            }
            Ok(true)
        }
        Err(_) => Ok(false),
    }
}
