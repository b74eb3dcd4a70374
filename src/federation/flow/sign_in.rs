//! Signing in whom an issuer names: known, linked by their address, or new.

use serde_json::json;

use crate::federation::flow::{End, Ended, confirmation};
use crate::federation::linking::{Decision, IssuerRules};
use crate::federation::profile::Profile;
use crate::federation::store::issuer::Upstream;
use crate::federation::store::upstream::Tokens;
use crate::federation::{linking, store};
use crate::platform::d1::{Statement, StoreError, must_change};
use crate::platform::error::{Error, Result};
use crate::platform::id::{Account, Id, User};
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::{Attempt, Severity};
use crate::request::context::Context;
use crate::request::store::verification::Claim;
use crate::session::open;
use crate::session::open::{Opening, OpeningError, Outcome};
use crate::users::store::sign_up::NewUser;
use crate::{records, users};

/// Whether the issuer's rules let the address in. One that the issuer did not prove says nothing about where its owner
/// belongs.
#[must_use]
pub fn domain_is_allowed(upstream: &Upstream, profile: &Profile) -> bool {
    let proven = profile.email.as_deref().filter(|_| profile.email_verified);
    let domain = proven.and_then(|email| email.rsplit_once('@')).map(|(_, domain)| domain);
    linking::domain_is_listed(domain, &upstream.allowed_domains)
}

/// Whether the issuer's word on an address is believed. Where tenants share their users, an issuer that one of them chose
/// does not speak for people who are the others' as well.
#[must_use]
pub fn trusts_email(context: &Context, upstream: &Upstream) -> bool {
    upstream.trust_email && (upstream.is_global || context.tenant().pool().is_some())
}

/// How signing in ended.
pub struct Arrived {
    /// In a session, or a question.
    pub outcome: Outcome,
    /// Whether the user is new.
    pub is_new: bool,
}

/// Signs in whom the profile is of.
///
/// # Errors
/// A failure for the page.
pub async fn sign_in(context: &Context, upstream: &Upstream, profile: &Profile, tokens: &Tokens<'_>) -> Ended<Arrived> {
    sign_in_by(context, upstream, profile, tokens, None).await
}

/// [`sign_in`], by something that is used up by it.
///
/// # Errors
/// As [`sign_in`].
pub async fn sign_in_by(
    context: &Context,
    upstream: &Upstream,
    profile: &Profile,
    tokens: &Tokens<'_>,
    claim: Option<Claim<'_>>,
) -> Ended<Arrived> {
    // Two round trips, because who it may be is known only after the issuer was asked. If somebody was quicker (the same
    // first sign-in in two tabs), the second look finds what they made.
    for _ in 0..2 {
        if let Some(arrived) = attempt(context, upstream, profile, tokens, claim).await? {
            return Ok(arrived);
        }
    }
    Err(End::Error(Error::Storage("upstream sign-in lost two races in a row".to_owned())))
}

/// `None` if somebody was quicker.
async fn attempt(
    context: &Context,
    upstream: &Upstream,
    profile: &Profile,
    tokens: &Tokens<'_>,
    claim: Option<Claim<'_>>,
) -> Ended<Option<Arrived>> {
    let candidates = store::upstream::candidates(context, &upstream.id, profile).await?;
    if !candidates.tenant_is_active {
        return Err(End::failure("tenant_unavailable", "tenant is not active"));
    }
    let rules = IssuerRules {
        domain_is_allowed: domain_is_allowed(upstream, profile),
        trust_email: trusts_email(context, upstream),
        require_confirmation: upstream.require_confirmation,
        sign_up_open: context.config.sign_up_open,
    };
    let (linked, same_email) = (candidates.linked.as_ref(), candidates.same_email.as_ref());
    let decision = match linking::decide_linking(profile, &rules, linked, same_email, context.now) {
        Ok(decision) => decision,
        Err(refusal) => {
            let user_id = linked.map(|known| &known.user_id);
            let attempt = Attempt { user_id, session_id: None, failure: Some(refusal.code()), method: &upstream.name };
            context.db()?.batch([records::store::audit::login(context, &context.row_id()?, attempt)]).await?;
            return Err(End::failure(refusal.code(), format!("{refusal:?}")));
        }
    };
    let prepared = prepare(context, upstream, profile, tokens, decision)?;
    if let Some(email) = prepared.waits.clone() {
        return ask_account_confirmation(context, upstream, profile, prepared, &email).await;
    }
    let Prepared { user, account: _, statements, is_new, .. } = prepared;
    let authenticated_at = Some(profile.authenticated_at(context.now));
    let opening = Opening {
        last_method: Some(&upstream.name),
        claim,
        authenticated_at,
        ..Opening::new(&user, &upstream.name, &["fed"])
    };
    match open::open_session_or_ask(context, &opening, statements).await {
        Err(OpeningError::Conflict(_)) => Ok(None),
        other => {
            deliver_later(context);
            Ok(Some(Arrived { outcome: other.map_err(Error::from)?, is_new }))
        }
    }
}

/// What is written for a decision.
struct Prepared {
    user: Id<User>,
    account: Id<Account>,
    statements: Vec<Statement>,
    is_new: bool,
    /// The address at which the link's confirmation is asked for, if it waits for one.
    waits: Option<String>,
}

fn prepare(
    context: &Context,
    upstream: &Upstream,
    profile: &Profile,
    tokens: &Tokens<'_>,
    decision: Decision,
) -> Result<Prepared> {
    let details = json!({ "issuer": upstream.name, "subject": profile.subject });
    let audit = |user: &Id<User>, event: &str, severity| -> Result<Statement> {
        Ok(records::store::audit::audit(context, &context.row_id()?, Some(user), event, severity, &details))
    };
    let waits = upstream.require_confirmation;
    let link = |account: &Id<Account>, user: &Id<User>| {
        store::upstream::link(context, account, user, upstream, &profile.subject, !waits)
    };
    let mut prepared = match decision {
        Decision::SignIn(user, account) => {
            Prepared { user, account, statements: Vec::new(), is_new: false, waits: None }
        }
        Decision::Confirm(user, account, email) => {
            Prepared { user, account, statements: Vec::new(), is_new: false, waits: Some(email) }
        }
        Decision::Link(user) => {
            let account = context.id()?;
            let mut statements = Vec::from(link(&account, &user));
            statements.push(audit(&user, "account.linked", Severity::Medium)?);
            if !waits {
                // Nobody was asked: the issuer's word on the address did it.
                statements.push(records::store::outbox::queue_to_user(
                    context,
                    &user,
                    &sign_in_error(context, upstream),
                    None,
                )?);
            }
            // Their addresses are the same: by that they were found.
            let waits = profile.email.clone().filter(|_| waits);
            Prepared { user, account, statements, is_new: false, waits }
        }
        Decision::Reclaim(user, email) => {
            let account = context.id()?;
            let mut statements: Vec<Statement> = users::store::user::reclaim(context, &user).into();
            statements.push(users::store::user::prove_email(context, &user, &email));
            // Or the identity would be linked to somebody whose address is another by now.
            statements.push(must_change());
            statements.extend(link(&account, &user));
            statements.push(audit(&user, "account.linked", Severity::Medium)?);
            statements.push(records::store::outbox::queue_to_user(
                context,
                &user,
                &sign_in_error(context, upstream),
                None,
            )?);
            Prepared { user, account, statements, is_new: false, waits: None }
        }
        Decision::Create { email, email_verified } => {
            let (user, account) = (context.id()?, context.id()?);
            let name = profile.name.clone().unwrap_or_default();
            let new = NewUser {
                email_verified: email_verified && !waits,
                first_name: profile.first_name.as_deref(),
                last_name: profile.last_name.as_deref(),
                image: profile.picture.as_deref(),
                ..NewUser::new(&user, &email, &name)
            };
            let mut statements = users::store::sign_up::create(context, &new)?;
            statements.extend(link(&account, &user));
            statements.push(audit(&user, "user.created", Severity::Low)?);
            Prepared { user, account, statements, is_new: true, waits: waits.then_some(email) }
        }
    };
    if prepared.is_new || (upstream.sync_profile && prepared.waits.is_none()) {
        prepared.statements.push(store::upstream::take_over(context, &prepared.user, profile));
    }
    prepared.statements.extend(store::upstream::refresh(context, upstream, &prepared.account, profile, tokens)?);
    Ok(prepared)
}

/// The mail about a link that was made.
#[must_use]
pub fn sign_in_error(context: &Context, upstream: &Upstream) -> records::store::outbox::Mail {
    let subject = format!("{} can sign you in", upstream.label);
    let text = format!(
        "An account at {} was linked to yours, and signs you in from now on. If it was not you, unlink it and set a new password.",
        upstream.label
    );
    mail::security_notice(&context.tenant().name, &subject, &text)
}

/// A link that waits: its owner is asked by mail.
async fn ask_account_confirmation(
    context: &Context,
    upstream: &Upstream,
    profile: &Profile,
    prepared: Prepared,
    email: &str,
) -> Ended<Option<Arrived>> {
    let Prepared { user, account, mut statements, .. } = prepared;
    let attempt = Attempt {
        user_id: Some(&user),
        session_id: None,
        failure: Some("account_not_confirmed"),
        method: &upstream.name,
    };
    statements.push(records::store::audit::login(context, &context.row_id()?, attempt));
    statements.extend(confirmation::mail_confirmation(context, upstream, profile, (&user, email), &account)?);
    match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(_)) => Ok(None),
        other => {
            other?;
            deliver_later(context);
            Err(End::failure("account_not_confirmed", "the link waits for its confirmation"))
        }
    }
}
