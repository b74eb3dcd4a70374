//! Signing in to a protected host, and out of it.
//!
//! The host sends its visitor to the auth host with a signed request; the auth host sends them back with a one-time
//! code; the code opens a session of that host alone. So hosts need share no parent domain and no cookie.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::gate::request::GateRequest;
use crate::handlers::authenticate::{Authentication, Depth, remember, session_cookie, snapshot_cookie};
use crate::handlers::session::end_this;
use crate::handlers::{Call, proxy};
use crate::http::cookie::{self, Cookie, Presented};
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::id::{Id, Session};
use crate::pages;
use crate::secret::{GateCode, Token, equal_in_constant_time};
use crate::store;
use crate::store::directory::AppPlace;
use crate::store::verification::Used;

/// How long a code is honoured, in milliseconds: one redirect.
const CODE_LIFE: i64 = 60_000;

/// What a code stands for.
#[derive(Serialize, Deserialize)]
struct Coded {
    /// The session on the auth host.
    parent: Id<Session>,
    /// The browser that the request was made in.
    binding: String,
}

fn app(context: &Context) -> Result<&AppPlace> {
    context.app().ok_or(Error::NotFound)
}

/// The value that ties a gate request to this browser, as it was presented.
fn binding(call: &Call) -> Option<Token<GateCode>> {
    let header = call.request.header("Cookie")?;
    match cookie::read(&header, Cookie::Gate.name(call.context.is_secure)) {
        Presented::Value(value) => Token::parse(value),
        _ => None,
    }
}

/// Sends the visitor of a protected host to sign in, and back to `return_to`.
///
/// # Errors
/// If the platform has no randomness.
pub fn send_to_sign_in(call: &Call, origin: &str, return_to: &str) -> Result<Reply> {
    let context = &call.context;
    let binding = match binding(call) {
        Some(binding) => binding,
        None => Token::new(context.random()?),
    };
    let request = GateRequest {
        tenant_id: context.tenant().id.clone(),
        is_isolated: context.tenant().is_isolated,
        app_id: app(context)?.id.clone(),
        origin: origin.to_owned(),
        return_to: GateRequest::return_path(return_to),
        binding: binding.hash().as_str().to_owned(),
        expires_at: context.now + context.config.flow_seconds * 1000,
    };
    let target = Target::own(format!("{}/gate/sign-in", context.auth_origin()));
    let target = target.with_query("request", &request.sign(&context.config.keyring));
    let cookie = Cookie::Gate.set(context.is_secure, binding.expose(), Some(context.config.flow_seconds));
    Ok(Reply::redirect(302, &target).with_cookie(cookie).with("cache-control", "no-store"))
}

/// `GET /.doorward/sign-in?return=/path` on a protected host: for links, and for a forward-auth proxy's 401.
///
/// # Errors
/// 404 off a protected host.
pub async fn begin(call: &mut Call) -> Result<Reply> {
    let return_to = call.request.param("return").unwrap_or_else(|| "/".to_owned());
    let origin = match &call.asked {
        Some(asked) => asked.origin(),
        None => call.request.origin()?.as_str().to_owned(),
    };
    send_to_sign_in(call, &origin, &return_to)
}

/// `GET /gate/sign-in?request=…` on the auth host: whoever is signed in goes back with a code, and whoever is not
/// signs in first.
///
/// # Errors
/// 400 for a request that is not ours or too old; 503.
pub async fn authorize(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let text = call.request.param("request").unwrap_or_default();
    let request = GateRequest::read(&context.config.keyring, &text, context.now)
        .ok_or_else(|| Error::refused(Wire::BAD_GATE_REQUEST, "gate request is not ours, or too old"))?;
    let is_alone = request.is_isolated || context.tenant().is_isolated;
    if is_alone && request.tenant_id != context.tenant().id {
        return Err(Error::refused(Wire::BAD_GATE_REQUEST, "the website of another pool"));
    }
    let visitor = match call.visitor(Depth::Database).await? {
        // A guest proved nothing: to a website's rules that would be a person.
        Authentication::Authenticated(one) if !one.session.user.is_anonymous => Some(one),
        _ => None,
    };
    let Some(authenticated) = visitor else {
        let back = Target::own("/gate/sign-in").with_query("request", &text);
        return Ok(Reply::redirect(302, &Target::own("/login").with_query("continue", back.as_str())));
    };
    let user = &authenticated.session.user;
    if !proxy::is_proven(&context.config, user) {
        // A website takes the address for its visitor's: first it must be.
        let back = Target::own("/gate/sign-in").with_query("request", &text);
        let frame = pages::Frame::of(context, "Confirm your address first");
        let page = pages::mailed::ask_for_mail(&frame, &user.email, back.as_str());
        return Ok(Reply::page(403, page).with_cookies(authenticated.cookies));
    }
    let code: Token<GateCode> = Token::new(context.random()?);
    let coded = Coded { parent: authenticated.session.id.clone(), binding: request.binding.clone() };
    let payload = serde_json::to_vec(&coded).map_err(|error| Error::Internal(error.to_string()))?;
    let (tenant, about) = (&request.tenant_id, request.app_id.as_str());
    let keep = store::verification::keep(context, tenant, &code, about, &payload, context.now + CODE_LIFE)?;
    context.db()?.batch([keep]).await?;
    let target = Target::own(format!("{}/.doorward/callback", request.origin));
    let target = target.with_query("code", code.expose()).with_query("state", &text);
    Ok(Reply::redirect(302, &target).with_cookies(authenticated.cookies))
}

/// `GET /.doorward/callback` on a protected host: the code opens a session of this host.
///
/// # Errors
/// 400 for a code or state that is not good here and now; 503.
pub async fn callback(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let app = app(context)?;
    let text = call.request.param("state").unwrap_or_default();
    let request = GateRequest::read(&context.config.keyring, &text, context.now)
        .ok_or_else(|| bad("state is not ours, or too old"))?;
    if request.app_id != app.id {
        return Err(bad("state of another app"));
    }
    let target = Target::own(request.return_to.clone());
    match redeem(call, app, &request).await {
        Ok(cookies) => Ok(Reply::redirect(302, &target).with_cookies(cookies)),
        // Whoever reloads the callback, or had a second tab waiting, is signed in already: nothing is opened for them.
        Err(error) if error.wire() == Wire::BAD_GATE_REQUEST => match call.visitor(Depth::Database).await? {
            Authentication::Authenticated(_) => Ok(Reply::redirect(302, &target)),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn bad(reason: &str) -> Error {
    Error::refused(Wire::BAD_GATE_REQUEST, reason)
}

/// Uses the code up and opens the session that it stands for: its cookies.
async fn redeem(call: &Call, app: &AppPlace, request: &GateRequest) -> Result<Vec<String>> {
    let context = &call.context;
    let mine = binding(call).ok_or_else(|| bad("no cookie of this browser's request"))?.hash();
    if !equal_in_constant_time(&request.binding, mine.as_str()) {
        return Err(bad("requested in another browser"));
    }
    let code: Option<Token<GateCode>> = call.request.param("code").and_then(|code| Token::parse(&code));
    let code = code.ok_or_else(|| bad("no code"))?;
    let used: Option<Used> = context.db()?.first(store::verification::take(context, &code.hash(), None)).await?;
    let used = used.ok_or_else(|| bad("code is unknown, expired or used"))?;
    let coded: Coded = serde_json::from_slice(used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no code: {error}")))?;
    if used.identifier.as_deref() != Some(app.id.as_str()) || coded.binding != request.binding {
        return Err(bad("code of another request"));
    }
    let token = Token::new(context.random()?);
    let (id, hash) = (context.id()?, token.hash());
    let statements = [
        store::session::open_for_app(context, &id, &hash, &app.id, &coded.parent),
        store::session::load(&context.tenant().id, &hash),
    ];
    let mut answers = context.db()?.batch(statements).await?.skip(1);
    let record = store::session::read(&mut answers)?.ok_or_else(|| bad("the session on the auth host is over"))?;
    let session = match context.judge(record) {
        Ok(judged) => judged.session,
        Err(rejection) => {
            // Nobody has it: it does not stay behind.
            context.db()?.batch([store::session::discard(&context.tenant().id, &hash)]).await?;
            return Err(bad(&format!("{rejection:?}")));
        }
    };
    remember(context, &hash, &session);
    let mut cookies = vec![session_cookie(context, &token, &session)];
    cookies.extend(snapshot_cookie(context, &hash, &session));
    Ok(cookies)
}

/// `GET /.doorward/sign-out` on a protected host: asks, since a link or an image of another site can point here.
///
/// # Errors
/// 404 off a protected host.
pub async fn ask_sign_out(call: &mut Call) -> Result<Reply> {
    let app = app(&call.context)?;
    let page = pages::sign_out::page(&pages::Frame::of(&call.context, "Sign out"), &app.name, "/.doorward/sign-out");
    Ok(Reply::page(200, page))
}

/// `POST /.doorward/sign-out` on a protected host: ends the session there, on the auth host, and on every other host.
///
/// # Errors
/// 503.
pub async fn sign_out(call: &mut Call) -> Result<Reply> {
    // Read, so that the connection can be used again; nothing in it matters.
    call.request.fields(Media::Both).await.ok();
    let gone = end_this(call).await?;
    let target = Target::own(format!("{}/login", call.context.auth_origin()));
    // What the browser kept of the website was this visitor's (W3C Clear Site Data, section 3.1).
    Ok(Reply::redirect(303, &target).with_cookies(gone).with("clear-site-data", "\"cache\""))
}

/// `GET /.doorward/me` on a protected host: who is signed in, for the website's own scripts.
///
/// # Errors
/// 401, 503.
pub async fn me(call: &mut Call) -> Result<Reply> {
    let authentication = call.visitor(Depth::Snapshot).await?;
    let Authentication::Authenticated(authenticated) = authentication else {
        return Err(Error::refused(Wire::UNAUTHORIZED, "not signed in"));
    };
    let session = &authenticated.session;
    let body = json!({
        "user": session.user_json(),
        "tenant": session.tenant_slug,
        "roles": session.roles,
        "expiresAt": crate::session::iso(session.expires_at),
    });
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies))
}
