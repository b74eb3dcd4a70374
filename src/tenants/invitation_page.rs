//! The invitation that a page is opened with.

use crate::http::redirect::Target;
use crate::platform::error::Result;
use crate::platform::secret::{Invited, Token, TokenHash};
use crate::request::context::Context;
use crate::tenants::store;
use crate::tenants::store::invitation::InvitationRecord;

pub(crate) async fn find_invitation(context: &Context, token: &Token<Invited>) -> Result<Option<InvitationRecord>> {
    Ok(context.db()?.first(store::invitation::find_by_token(context, &token.hash())).await?)
}

pub(crate) fn is_open(context: &Context, one: &InvitationRecord) -> bool {
    one.status == "pending" && one.expires_at > context.now
}

/// The open invitation that a page leads on to, `/invitation?token=…`, if it does: its address, and what was mailed.
///
/// # Errors
/// 503.
pub async fn invitation_of_target(context: &Context, target: &Target) -> Result<Option<(String, TokenHash<Invited>)>> {
    let query = target.as_str().strip_prefix("/invitation?").unwrap_or_default();
    let given = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "token");
    let Some(token) = given.and_then(|(_, value)| Token::<Invited>::parse(&value)) else {
        return Ok(None);
    };
    let found = find_invitation(context, &token).await?.filter(|one| is_open(context, one));
    Ok(found.map(|one| (one.email, token.hash())))
}
