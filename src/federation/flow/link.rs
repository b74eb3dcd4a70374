//! An identity linked by whoever is signed in.

use serde_json::json;

use crate::federation::flow::{End, Ended, confirmation, sign_in};
use crate::federation::profile::Profile;
use crate::federation::store;
use crate::federation::store::issuer::Upstream;
use crate::federation::store::upstream::Tokens;
use crate::platform::d1::{Statement, StoreError};
use crate::platform::id::{Account, Id, User};
use crate::records;
use crate::records::deliver::deliver_later;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::authenticate;
use crate::session::authenticate::{Authentication, Depth};
use crate::users::person::Person;

/// What a page is told of an identity that is somebody else's.
const OF_ANOTHER: &str = "account_already_linked_to_different_user";

/// Links the identity to the user, who must be the one signed in now: who has begun a flow in this browser and signed out
/// since must not leave their identity to whoever came after. Answers the session's cookies.
///
/// # Errors
/// A failure for the page.
pub async fn link(
    context: &Context,
    upstream: &Upstream,
    profile: &Profile,
    tokens: &Tokens<'_>,
    user: &Id<User>,
) -> Ended<Vec<String>> {
    let Authentication::Authenticated(authenticated) = authenticate::identify_visitor(context, Depth::Database).await?
    else {
        return Err(End::failure("not_signed_in", "nobody is signed in any more"));
    };
    if authenticated.session.user.id != *user || authenticated.session.impersonated_by.is_some() {
        return Err(End::failure("not_signed_in", "somebody else is signed in by now"));
    }
    if !sign_in::domain_is_allowed(upstream, profile) {
        return Err(End::failure("domain_not_allowed", "not of an allowed domain"));
    }
    // Twice, because another tab may have linked it between our look and our write.
    for _ in 0..2 {
        if let Some(waits) = attempt(context, upstream, profile, tokens, &authenticated.session.user).await? {
            deliver_later(context);
            if waits {
                return Err(End::failure("account_not_confirmed", "the link waits for its confirmation"));
            }
            return Ok(authenticated.cookies);
        }
    }
    Err(End::failure(OF_ANOTHER, "linked to another user meanwhile"))
}

/// Whether the link waits for its confirmation; `None` if somebody was quicker.
async fn attempt(
    context: &Context,
    upstream: &Upstream,
    profile: &Profile,
    tokens: &Tokens<'_>,
    person: &Person,
) -> Ended<Option<bool>> {
    let user = &person.id;
    let known = store::upstream::candidates(context, &upstream.id, profile).await?.linked;
    let mut statements = Vec::new();
    let waits = match known {
        Some(known) if known.user_id != *user => return Err(End::failure(OF_ANOTHER, "linked to another user")),
        Some(known) if !known.account_is_active => {
            return Err(End::failure("account_not_usable", "the link was switched off"));
        }
        Some(known) => {
            let account = known.account_id.ok_or_else(|| End::failure(OF_ANOTHER, "an account without an id"))?;
            statements.extend(store::upstream::refresh(context, upstream, &account, profile, tokens)?);
            let waits = !known.account_is_confirmed && upstream.require_confirmation;
            if waits {
                statements.extend(confirmation::mail_confirmation(
                    context,
                    upstream,
                    profile,
                    (user, &person.email),
                    &account,
                )?);
            } else if !known.account_is_confirmed {
                // It waited while links were confirmed; now whoever is signed in says so.
                statements.push(store::upstream::confirm(context, user, &account));
            }
            waits
        }
        None => {
            statements.extend(make(context, upstream, profile, tokens, person)?);
            upstream.require_confirmation
        }
    };
    match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(column)) if column.starts_with("user.") => {
            Err(End::failure("account_not_linked", "a user has the guest's new address"))
        }
        Err(StoreError::Conflict(_)) => Ok(None),
        other => {
            other?;
            Ok(Some(waits))
        }
    }
}

/// The statements of a new link. A guest is a user by it.
fn make(
    context: &Context,
    upstream: &Upstream,
    profile: &Profile,
    tokens: &Tokens<'_>,
    person: &Person,
) -> Ended<Vec<Statement>> {
    let (user, account): (_, Id<Account>) = (&person.id, context.id()?);
    let waits = upstream.require_confirmation;
    let (id, details) = (context.row_id()?, json!({ "issuer": upstream.name, "subject": profile.subject }));
    let mut statements = Vec::new();
    let mut email = person.email.as_str();
    if person.is_anonymous {
        statements.push(store::upstream::name_guest(context, user, profile));
        email = profile.email.as_deref().unwrap_or(email);
        if waits && profile.email.is_none() {
            return Err(End::failure("email_not_found", "there is nowhere to ask for a confirmation"));
        }
    }
    statements.extend(store::upstream::link(context, &account, user, upstream, &profile.subject, !waits));
    statements.extend(store::upstream::refresh(context, upstream, &account, profile, tokens)?);
    statements.push(records::store::audit::audit(
        context,
        &id,
        Some(user),
        "account.linked",
        Severity::Medium,
        &details,
    ));
    if waits {
        statements.extend(confirmation::mail_confirmation(context, upstream, profile, (user, email), &account)?);
    } else {
        let letter = sign_in::sign_in_error(context, upstream);
        statements.push(records::store::outbox::queue_to_user(context, user, &letter, None)?);
    }
    Ok(statements)
}
