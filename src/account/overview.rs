//! What the page of an account shows.

use crate::platform::error::Result;
use crate::provider::store::consent::ListedConsent as Consent;
use crate::request::context::Context;
use crate::session::authenticate::{Authenticated, judge_session};
use crate::session::live_session::{LiveSession, Rejection};
use crate::session::policy;
use crate::users::store::passkey::ListedPasskey;
use crate::{provider, session, users};

/// What the account page shows.
pub struct AccountOverview {
    /// The session, as D1 has it.
    pub session: LiveSession,
    /// Passkeys, the oldest first.
    pub passkeys: Vec<ListedPasskey>,
    /// How many browsers are asked for no second factor.
    pub trusted_devices: i64,
    /// Software that the user agreed to.
    pub consents: Vec<Consent>,
}

/// Loads what the account page shows, from D1: a copy of the session may be a minute old, and the page shows what its user has
/// just changed. `Err` in the answer says why the session does not hold.
///
/// # Errors
/// 403 `TWO_FACTOR_REQUIRED`; 503.
pub async fn load_account_overview(
    context: &Context,
    authenticated: &Authenticated,
) -> Result<std::result::Result<AccountOverview, Rejection>> {
    let user = &authenticated.session.user.id;
    let statements = [
        session::store::session::load(&context.tenant().id, &authenticated.hash),
        users::store::passkey::of_user(context, user),
        users::store::second_factor::devices(context, user),
        provider::store::consent::of_user(context, user),
    ];
    let mut answers = context.db()?.batch(statements).await?;
    let record = session::store::session::read(&mut answers)?;
    let session = match record.ok_or(Rejection::Unknown).and_then(|record| judge_session(context, record)) {
        Ok(judged) => judged.session,
        Err(rejection) => return Ok(Err(rejection)),
    };
    policy::check_enrolment(context, &session)?;
    let passkeys: Vec<ListedPasskey> = answers.rows()?;
    let trusted_devices: i64 = answers.row()?.unwrap_or(0);
    let consents: Vec<Consent> = answers.rows()?;
    Ok(Ok(AccountOverview { session, passkeys, trusted_devices, consents }))
}
