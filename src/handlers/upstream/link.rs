//! An identity linked by whoever is signed in.

use serde_json::json;

use crate::federation::profile::Profile;
use crate::handlers::Call;
use crate::handlers::authenticate::{Authentication, Depth};
use crate::handlers::upstream::{End, Ended, confirmation, sign_in};
use crate::id::{Account, Id, User};
use crate::jobs::outbox::deliver_later;
use crate::store;
use crate::store::database::StoreError;
use crate::store::issuer::Upstream;
use crate::store::record::Severity;
use crate::store::upstream::Tokens;

/// What a page is told of an identity that is somebody else's.
const OF_ANOTHER: &str = "account_already_linked_to_different_user";

/// Links the identity to the user, who must be the one signed in now: who has begun a flow in this browser and signed out
/// since must not leave their identity to whoever came after. Answers the session's cookies.
///
/// # Errors
/// A failure for the page.
pub async fn link(
    call: &Call,
    upstream: &Upstream,
    profile: &Profile,
    tokens: &Tokens<'_>,
    user: &Id<User>,
) -> Ended<Vec<String>> {
    let Authentication::Authenticated(authenticated) = call.visitor(Depth::Database).await? else {
        return Err(End::failure("not_signed_in", "nobody is signed in any more"));
    };
    if authenticated.session.user.id != *user || authenticated.session.impersonated_by.is_some() {
        return Err(End::failure("not_signed_in", "somebody else is signed in by now"));
    }
    let context = &call.context;
    if !sign_in::domain_is_allowed(upstream, profile) {
        return Err(End::failure("domain_not_allowed", "not of an allowed domain"));
    }
    let known = store::upstream::candidates(context, &upstream.id, profile).await?.linked;
    let waits = upstream.require_confirmation;
    let mut statements = Vec::new();
    match known {
        Some(known) if known.user_id != *user => return Err(End::failure(OF_ANOTHER, "linked to another user")),
        Some(known) => {
            let account = known.account_id.ok_or_else(|| End::failure(OF_ANOTHER, "an account without an id"))?;
            statements.extend(store::upstream::refresh(context, &account, profile, tokens)?);
        }
        None => {
            let account: Id<Account> = context.id()?;
            let details = json!({ "issuer": upstream.name, "subject": profile.subject });
            let id = context.row_id()?;
            statements.push(store::upstream::link(context, &account, user, &upstream.id, &profile.subject, !waits));
            statements.extend(store::upstream::refresh(context, &account, profile, tokens)?);
            statements.push(store::record::audit(
                context,
                &id,
                Some(user),
                "account.linked",
                Severity::Medium,
                &details,
            ));
            if waits {
                statements.extend(confirmation::ask(context, upstream, profile, user, &account)?);
            } else {
                let letter = sign_in::told(context, upstream);
                statements.push(store::outbox::queue_to_user(context, user, &letter, None)?);
            }
            if authenticated.session.user.is_anonymous {
                statements.push(store::upstream::name_guest(context, user, profile));
            }
        }
    }
    match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(column)) if column.starts_with("user.") => {
            return Err(End::failure("account_not_linked", "a user has the guest's new address"));
        }
        Err(StoreError::Conflict(_)) => return Err(End::failure(OF_ANOTHER, "linked to another user meanwhile")),
        other => other?,
    };
    deliver_later(context);
    if waits {
        return Err(End::failure("account_not_confirmed", "the link waits for its confirmation"));
    }
    Ok(authenticated.cookies)
}
