//! Another e-mail address: the old one agrees, the new one is proven, and both are told.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::account::{change_email, pages};
use crate::http::email;
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::d1::Statement;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::secret::{ChangeConfirm, ChangeProof, Token, TokenKind};
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::request::context::Context;
use crate::request::origins;
use crate::request::store::verification::Used;
use crate::session::authenticate::{Authentication, Depth};
use crate::session::call::Call;
use crate::users::limits;
use crate::{records, request};

/// The page that both mailed links lead to. It asks once more: mail scanners follow links, and must change nothing.
const PAGE: &str = "/change-email";

/// A change that somebody wants.
#[derive(Serialize, Deserialize)]
struct AddressChange {
    user_id: Id<User>,
    old: String,
    new: String,
}

/// `POST /change-email`.
///
/// # Errors
/// As [`change_email::check_email_change`](crate::account::change_email::check_email_change); 403 for a bad `callbackURL`. An address that somebody has is answered as a free one.
pub async fn request(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let new = fields.email("newEmail");
    let given = fields.optional("callbackURL", Target::LONGEST);
    fields.finish()?;
    let target = origins::check_target(&call.context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let context = &call.context;
    let (authenticated, is_free) =
        change_email::check_email_change(&call.context, &new, &limits::mail_counters(context, "change-email", &new))
            .await?;
    let user = &authenticated.session.user;
    let change = AddressChange { user_id: user.id.clone(), old: user.email.clone(), new };
    // An address that was never proven has nobody to ask, and neither has a stand-in.
    let asks_old = user.email_verified && email::is_mailbox(&user.email);
    let (keep, letter, recipient) = if asks_old {
        let (url, keep) = link::<ChangeConfirm>(context, &change, target.as_ref())?;
        let letter = mail::change_confirmation(&context.tenant().name, &change.new, url.as_str());
        (keep, letter, &change.old)
    } else {
        let (url, keep) = link::<ChangeProof>(context, &change, target.as_ref())?;
        (keep, mail::change_proof(&context.tenant().name, url.as_str()), &change.new)
    };
    // An address that somebody has gets nothing, after the same round trips.
    let mut statements = vec![keep];
    if is_free {
        statements.push(records::store::outbox::queue(context, Some(&user.id), recipient, &letter)?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(authenticated.cookies))
}

fn link<K: TokenKind>(
    context: &Context,
    change: &AddressChange,
    target: Option<&Target>,
) -> Result<(Target, Statement)> {
    let token: Token<K> = Token::new(context.random()?);
    let payload = serde_json::to_vec(change).map_err(|error| Error::Internal(error.to_string()))?;
    let expires_at = context.now + context.config.verification_seconds * 1000;
    let tenant = &context.tenant().id;
    let keep =
        request::store::verification::keep(context, tenant, &token, change.user_id.as_str(), &payload, expires_at)?;
    let mut url = Target::own(format!("{}{PAGE}", context.auth_origin()));
    url = url.with_query("token", token.expose()).with_query("step", K::NAME);
    if let Some(target) = target {
        url = url.with_query("callbackURL", target.as_str());
    }
    Ok((url, keep))
}

/// A link of either step.
enum ChangeStep {
    /// The old address agrees.
    Confirm(Token<ChangeConfirm>),
    /// The new one is proven.
    Prove(Token<ChangeProof>),
}

impl ChangeStep {
    fn parse(name: Option<&str>, token: Option<&str>) -> Option<Self> {
        match name? {
            ChangeConfirm::NAME => Token::parse(token?).map(Self::Confirm),
            ChangeProof::NAME => Token::parse(token?).map(Self::Prove),
            _ => None,
        }
    }

    fn peek(&self, context: &Context) -> Statement {
        match self {
            Self::Confirm(token) => request::store::verification::peek(context, &token.hash(), None),
            Self::Prove(token) => request::store::verification::peek(context, &token.hash(), None),
        }
    }

    fn take(&self, context: &Context) -> Statement {
        match self {
            Self::Confirm(token) => request::store::verification::take(context, &token.hash(), None),
            Self::Prove(token) => request::store::verification::take(context, &token.hash(), None),
        }
    }
}

fn read(context: &Context, used: &Used) -> Result<AddressChange> {
    serde_json::from_slice(used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no change: {error}")))
}

fn spent(call: &Call) -> Reply {
    Reply::page(400, pages::change_email::spent(&call.context.frame("This link has been used or is too old")))
}

/// Whether this browser is signed in to the account that is to have the new address. A reader of the new mailbox who is not may
/// have been sent the link by a stranger: proving their address would give it to the stranger's account.
async fn is_own_browser(call: &Call, change: &AddressChange) -> Result<bool> {
    Ok(match call.visitor(Depth::Database).await? {
        // An administrator who acts as the user proves nothing for them.
        Authentication::Authenticated(found) => {
            found.session.user.id == change.user_id && found.session.impersonated_by.is_none()
        }
        _ => false,
    })
}

fn sign_in_first(call: &Call, change: &AddressChange, status: u16) -> Reply {
    let query = call.request.query();
    // After a form the link is in its fields, and the page of sign-in leads to the account.
    let back = if query.is_empty() { Target::own("/account") } else { Target::own(format!("{PAGE}?{query}")) };
    let frame = call.context.frame("Sign in to change your address");
    // A stand-in is nobody's address.
    let old = email::is_mailbox(&change.old).then_some(change.old.as_str());
    Reply::page(status, pages::change_email::sign_in_first(&frame, old, &change.new, &back))
}

/// `GET /change-email?token=…&step=…`: asks whether to go on; the last step only in a browser that is signed in to the account.
///
/// # Errors
/// 503.
pub async fn ask(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let (name, token) = (call.request.param("step"), call.request.param("token"));
    let Some(step) = ChangeStep::parse(name.as_deref(), token.as_deref()) else {
        return Ok(spent(call));
    };
    let used: Option<Used> = context.db()?.first(step.peek(context)).await?;
    let Some(used) = used else {
        return Ok(spent(call));
    };
    let change = read(context, &used)?;
    if matches!(step, ChangeStep::Prove(_)) && !is_own_browser(call, &change).await? {
        return Ok(sign_in_first(call, &change, 200));
    }
    let frame = context.frame("Change your e-mail address?");
    let asked = pages::change_email::ChangeQuestion {
        token: token.as_deref().unwrap_or_default(),
        step: name.as_deref().unwrap_or_default(),
        callback: call.request.param("callbackURL"),
        old: &change.old,
        new: &change.new,
    };
    Ok(Reply::page(200, pages::change_email::page(&frame, &asked)))
}

/// `POST /change-email`: goes on.
///
/// # Errors
/// 403 for a bad `callbackURL`, and for the last step in a browser that is not signed in to the account; 503.
pub async fn go_on(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let (name, token) = (fields.required("step", 50), fields.required("token", 200));
    let given = fields.optional("callbackURL", Target::LONGEST);
    fields.finish()?;
    let context = &call.context;
    let target = origins::check_target(context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let Some(step) = ChangeStep::parse(Some(&name), Some(&token)) else {
        return Ok(spent(call));
    };
    if let ChangeStep::Prove(_) = step {
        let seen: Option<Used> = context.db()?.first(step.peek(context)).await?;
        let Some(seen) = seen else {
            return Ok(spent(call));
        };
        let change = read(context, &seen)?;
        if !is_own_browser(call, &change).await? {
            return Ok(sign_in_first(call, &change, 403));
        }
    }
    let used: Option<Used> = context.db()?.first(step.take(context)).await?;
    let Some(used) = used else {
        return Ok(spent(call));
    };
    let change = read(context, &used)?;
    if let ChangeStep::Prove(_) = step {
        let is_done = change_email::change_email(context, &change.user_id, &change.old, &change.new).await?;
        let Some(target) = target else {
            let frame = context.frame(if is_done { "Your address was changed" } else { "That did not work" });
            let status = if is_done { 200 } else { 400 };
            return Ok(Reply::page(status, pages::change_email::done(&frame, is_done, &change.new)));
        };
        let failed = target.with_query("error", Wire::EMAIL_ALREADY_IN_USE.code);
        return Ok(Reply::redirect(303, if is_done { &target } else { &failed }));
    }
    let (url, keep) = link::<ChangeProof>(context, &change, target.as_ref())?;
    let letter = mail::change_proof(&context.tenant().name, url.as_str());
    let queue = records::store::outbox::queue(context, Some(&change.user_id), &change.new, &letter)?;
    context.db()?.batch([keep, queue]).await?;
    deliver_later(context);
    if let Some(target) = target {
        return Ok(Reply::redirect(303, &target));
    }
    let frame = context.frame("Look into your mail");
    Ok(Reply::page(200, pages::change_email::sent(&frame, &change.new)))
}
