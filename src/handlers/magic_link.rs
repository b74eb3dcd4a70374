//! Signing in by a mailed link.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::context::Context;
use crate::credentials::sign_in::Candidate;
use crate::error::{Error, Result, Wire};
use crate::handlers::arrival::{self, Arrival};
use crate::handlers::opening::{self, Outcome};
use crate::handlers::sign_up::LONGEST_NAME;
use crate::handlers::{Call, errors, gate, guard, mailing};
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::id::{Id, User};
use crate::jobs::outbox::deliver_later;
use crate::pages::{self, mail};
use crate::secret::{MagicLink, Token};
use crate::store;
use crate::store::sign_in::By;
use crate::store::verification::{Claim, Used};

/// The page that the mailed link leads to. It asks once more: mail scanners follow links, and must use none up.
const PAGE: &str = "/sign-in-link";

/// What the link knows beside its address.
#[derive(Serialize, Deserialize)]
struct Letter {
    email: String,
    name: String,
    /// The guest who asked for it: a link that somebody else sent makes nobody's guest theirs.
    guest: Option<Id<User>>,
}

/// Where a link leads.
#[derive(Default)]
pub struct Ways {
    /// In the end.
    pub callback: Option<Target>,
    /// Somebody new.
    pub on_new: Option<Target>,
    /// Whom it did not let in.
    pub on_error: Option<Target>,
}

/// `POST /sign-in/magic-link`: known and unknown addresses are answered alike.
///
/// # Errors
/// 400 for bad fields, 403 for bad URLs, 404 where links are not a way in, 429.
pub async fn send(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.magic_link)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    let name = fields.optional_name("name", LONGEST_NAME).unwrap_or_default();
    let mut url = |name: &str| fields.optional(name, Target::LONGEST);
    let (callback, on_new, on_error) = (url("callbackURL"), url("newUserCallbackURL"), url("errorCallbackURL"));
    fields.finish()?;
    let context = &call.context;
    let ways = Ways {
        callback: opening::target(context, callback.as_deref(), Wire::INVALID_CALLBACK_URL)?,
        on_new: opening::target(context, on_new.as_deref(), Wire::INVALID_NEW_USER_CALLBACK_URL)?,
        on_error: opening::target(context, on_error.as_deref(), Wire::INVALID_ERROR_CALLBACK_URL)?,
    };
    mail_link(call, &email, &name, &ways).await?;
    Reply::json(200, &json!({ "status": true }))
}

/// Mails a link to whoever has the address, or may have an account with it.
///
/// # Errors
/// 429, 503.
pub async fn mail_link(call: &Call, email: &str, name: &str, ways: &Ways) -> Result<()> {
    let context = &call.context;
    let user = mailing::addressee(context, "magic-link", By::Email(email)).await?;
    let token: Token<MagicLink> = Token::new(context.random()?);
    let letter = Letter { email: email.to_owned(), name: name.trim().to_owned(), guest: call.guest().await? };
    let payload = serde_json::to_vec(&letter).map_err(|error| Error::Internal(error.to_string()))?;
    let (config, tenant) = (&context.config, context.tenant());
    let url = format!("{}{PAGE}", context.auth_origin());
    let mut url = Target::own(url).with_query("token", token.expose());
    let home = Target::own("/account");
    let callback = gate::without_fragment(ways.callback.clone().unwrap_or(home));
    url = url.with_query("callbackURL", callback.as_str());
    for (name, target) in [("newUserCallbackURL", &ways.on_new), ("errorCallbackURL", &ways.on_error)] {
        if let Some(target) = target {
            url = url.with_query(name, target.as_str());
        }
    }
    let expires_at = context.now + config.magic_link_seconds * 1000;
    // The same is written for whoever gets none, but for the mail's recipient: the time taken tells nothing.
    let is_welcome = user.is_some() || config.sign_up_open;
    let mail = mail::magic_link(&tenant.name, url.as_str(), config.magic_link_seconds / 60);
    let user_id = user.as_ref().map(|user| &user.user_id);
    let mut statements = vec![store::verification::keep(context, &tenant.id, &token, email, &payload, expires_at)?];
    if is_welcome {
        statements.push(store::outbox::queue(context, user_id, email, &mail)?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(())
}

/// Reads where a link leads.
fn ways(context: &Context, mut given: impl FnMut(&str) -> Option<String>) -> Result<Ways> {
    let mut target = |name: &str, refusal: Wire| {
        opening::target(context, given(name).filter(|given| !given.is_empty()).as_deref(), refusal)
    };
    Ok(Ways {
        callback: target("callbackURL", Wire::INVALID_CALLBACK_URL)?,
        on_new: target("newUserCallbackURL", Wire::INVALID_NEW_USER_CALLBACK_URL)?,
        on_error: target("errorCallbackURL", Wire::INVALID_ERROR_CALLBACK_URL)?,
    })
}

/// `GET /api/auth/magic-link/verify`: signs in for a script of a trusted origin; everybody else gets our page, which asks.
///
/// # Errors
/// 403 for bad URLs; 503. A link that is not good is told on the page that it leads to.
pub async fn verify(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.magic_link)?;
    if !guard::asked_by_script(&call.context, &call.request) {
        return Ok(guard::to_page(&call.request, PAGE));
    }
    let context = &call.context;
    let Ways { callback, on_new, on_error } = ways(context, |name| call.request.param(name))?;
    let result = arrive(call, call.request.param("token")).await;
    let reply = match (result, callback) {
        (Ok((outcome, is_new)), Some(callback)) => {
            let target = on_new.filter(|_| is_new).unwrap_or(callback);
            outcome.redirect(302, &target)
        }
        (Ok((outcome, _)), None) => outcome.json(
            |session| json!({ "token": session.id, "user": session.user_json(), "session": session.session_json() }),
        )?,
        (Err(error), callback) if error.wire().status < 500 => {
            context.log("/api/auth/magic-link/verify", &error);
            let page = on_error.or(callback).unwrap_or_else(|| Target::own("/api/auth/error"));
            Reply::redirect(302, &page.with_query("error", error.wire().code))
        }
        (Err(error), _) => return Err(error),
    };
    // The token must not go on to wherever the page's links lead.
    Ok(reply.with("referrer-policy", "no-referrer"))
}

/// A link that let nobody in: told where its mail was asked for, or on our page.
async fn refused(call: &Call, status: u16, ways: &Ways, error: &Error) -> Result<Reply> {
    let context = &call.context;
    context.log(PAGE, error);
    let front_end = ways.callback.as_ref().filter(|target| guard::is_elsewhere(context, target));
    if let Some(target) = ways.on_error.as_ref().or(front_end) {
        return Ok(Reply::redirect(status, &target.with_query("error", error.wire().code)));
    }
    if error.wire() != Wire::INVALID_TOKEN {
        return Ok(errors::html(context, error));
    }
    let target = ways.callback.as_ref().map_or("/account", Target::as_str);
    let user = call.signed_in_user().await?;
    let frame = context.frame("This link has been used or is too old");
    let signed_in = user.as_ref().map(|user| user.email.as_str());
    Ok(Reply::page(400, pages::mailed::spent_sign_in(&frame, target, signed_in)))
}

/// `GET /sign-in-link?token=…`, where the mail leads: asks whether to sign in. Looking uses nothing up: mail scanners look as
/// well.
///
/// # Errors
/// 403 for bad URLs; 404 where links are not a way in; 503.
pub async fn page(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.magic_link)?;
    let context = &call.context;
    let ways = ways(context, |name| call.request.param(name))?;
    let text = call.request.param("token").unwrap_or_default();
    let used: Option<Used> = match Token::<MagicLink>::parse(&text) {
        Some(token) => context.db()?.first(store::verification::peek(context, &token.hash(), None)).await?,
        None => None,
    };
    let Some(email) = used.and_then(|used| used.identifier) else {
        let error = Error::refused(Wire::INVALID_TOKEN, "unknown, used or expired");
        return refused(call, 302, &ways, &error).await;
    };
    let given =
        [("callbackURL", &ways.callback), ("newUserCallbackURL", &ways.on_new), ("errorCallbackURL", &ways.on_error)];
    let targets: Vec<(&str, &str)> =
        given.into_iter().filter_map(|(name, target)| Some((name, target.as_ref()?.as_str()))).collect();
    let asked = pages::mailed::SignIn { token: &text, email: &email, targets: &targets };
    Ok(Reply::page(200, pages::mailed::ask_sign_in(&context.frame("Sign in?"), &asked)))
}

/// `POST /sign-in-link`: signs in.
///
/// # Errors
/// 403 for bad URLs; 404 where links are not a way in; 503.
pub async fn press(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.magic_link)?;
    let mut fields = call.request.fields(Media::Form).await?;
    let token = fields.optional("token", 200);
    let [callback, on_new, on_error] =
        ["callbackURL", "newUserCallbackURL", "errorCallbackURL"].map(|name| fields.optional(name, Target::LONGEST));
    fields.finish()?;
    let ways = ways(&call.context, |name| match name {
        "callbackURL" => callback.clone(),
        "newUserCallbackURL" => on_new.clone(),
        _ => on_error.clone(),
    })?;
    match arrive(call, token).await {
        Ok((outcome, is_new)) => {
            let home = Target::own("/account");
            let target = ways.on_new.as_ref().filter(|_| is_new).or(ways.callback.as_ref()).unwrap_or(&home);
            Ok(outcome.redirect(303, target))
        }
        Err(error) if error.wire().status < 500 => refused(call, 303, &ways, &error).await,
        Err(error) => Err(error),
    }
}

async fn arrive(call: &Call, token: Option<String>) -> Result<(Outcome, bool)> {
    let context = &call.context;
    let invalid = |reason: &str| Error::refused(Wire::INVALID_TOKEN, reason);
    let token: Option<Token<MagicLink>> = token.and_then(|token| Token::parse(&token));
    let hash = token.ok_or_else(|| invalid("not of our making"))?.hash();
    let statements = [
        store::verification::peek(context, &hash, None),
        store::sign_in::tenant_is_active(&context.tenant().id),
        store::sign_in::candidate(context, By::MagicLink(hash.as_str())),
    ];
    let mut answers = context.db()?.batch(statements).await?;
    let used: Option<Used> = answers.row()?;
    let used = used.ok_or_else(|| invalid("unknown, used or expired"))?;
    if !answers.row::<bool>()?.unwrap_or(false) {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    let candidate: Option<Candidate> = answers.row()?;
    let letter: Letter = serde_json::from_slice(used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no letter: {error}")))?;
    let here = if letter.guest.is_some() { call.guest().await? } else { None };
    let guest = here.filter(|here| letter.guest.as_ref() == Some(here));
    let arrival = Arrival {
        email: &letter.email,
        phone_number: None,
        name: &letter.name,
        image: None,
        method: "magic-link",
        amr: &["email"],
        claim: Some(Claim { id: &used.id, if_changed: false }),
        otherwise: Wire::INVALID_TOKEN,
        guest: guest.as_ref().filter(|_| candidate.is_none()),
        absorbs_guest: guest.is_some(),
    };
    arrival::arrive(context, &arrival, candidate.as_ref()).await
}
