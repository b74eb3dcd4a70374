//! Access tokens of system accounts, for services.

use serde_json::json;

use crate::access::action::Action;
use crate::admin::administrator;
use crate::federation::flow::{End, Ended};
use crate::federation::profile::Profile;
use crate::federation::store;
use crate::federation::store::issuer::Upstream;
use crate::federation::store::system_account::NewSystemAccount;
use crate::federation::store::upstream::Tokens;
use crate::platform::id::{Id, User};
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::{records, session};

/// Connects the account that the flow ended with. The administrator who began must be signed in still, and be one.
///
/// # Errors
/// A failure for the page.
pub async fn load_system_account(
    context: &Context,
    upstream: &Upstream,
    profile: &Profile,
    tokens: &Tokens<'_>,
    administrator: &Id<User>,
) -> Ended<()> {
    let present = administrator::load_administrator_permit(context, Action::ManageIssuers).await?;
    let Some(permit) = present.filter(|permit| permit.actor() == administrator) else {
        return Err(End::failure("not_signed_in", "the administrator is gone"));
    };
    let refresh_token =
        tokens.refresh_token.ok_or_else(|| End::failure("no_refresh_token", "offline access was not granted"))?;
    let id = context.row_id()?;
    let new = NewSystemAccount {
        id: &id,
        issuer: &upstream.id,
        subject: &profile.subject,
        email: profile.email.as_deref(),
        username: profile.username.as_deref().or(profile.name.as_deref()),
        granted_scopes: &tokens.granted,
        refresh_token,
        by: administrator,
    };
    let details = json!({ "issuer": upstream.name, "subject": profile.subject, "scopes": tokens.granted });
    let event = context.row_id()?;
    let mut statements = vec![session::store::permission::holds_still(&permit)];
    statements.extend(store::system_account::connect(context, &new)?);
    statements.extend(tokens.id_token.map(|text| store::upstream::seen(context, &upstream.id, text)).transpose()?);
    let name = "system_account.connected";
    statements.push(records::store::audit::audit(context, &event, Some(administrator), name, Severity::High, &details));
    context.db()?.batch(statements).await?;
    Ok(())
}
