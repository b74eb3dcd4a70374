//! Signing in to a protected host, and out of it.
//!
//! The host sends its visitor to the auth host with a signed request; the auth host sends them back with a one-time
//! code; the code opens a session of that host alone. So hosts need share no parent domain and no cookie.

use serde_json::json;

use crate::gate::code::{Coded, issue_gate_code};
use crate::gate::request::{FoundRequest, GateRequest, sign_in_page};
use crate::gate::sign_in::SIGNED_OUT;
use crate::gate::{proxy, sign_in};
use crate::http::incoming::Media;
use crate::http::page::mailed;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::secret::{GateCode, Token, equal_in_constant_time};
use crate::platform::time::iso;
use crate::request::context::Context;
use crate::request::store::directory::AppPlace;
use crate::request::store::verification::Used;
use crate::session::authenticate::{
    Authentication, Depth, judge_session, lasting_cookie, session_cookie, snapshot_cookie, write_session_copy,
};
use crate::session::call::Call;
use crate::session::live_session::Rejection;
use crate::session::sessions::end_current_session;
use crate::{provider, request, session};

/// The origin that the visitor of a protected host used.
fn origin_used(call: &Call) -> Result<String> {
    match &call.asked {
        Some(asked) => Ok(asked.origin()),
        None => Ok(call.request.origin()?.as_str().to_owned()),
    }
}

/// `GET /.doorward/sign-in?return=/path` on a protected host: for links, and for a forward-auth proxy's 401.
///
/// # Errors
/// 404 off a protected host.
pub async fn begin(call: &mut Call) -> Result<Reply> {
    let return_to = call.request.param("return").unwrap_or_else(|| "/".to_owned());
    let origin = origin_used(call)?;
    let is_again = call.request.param("again").as_deref() == Some("true");
    sign_in::begin_request(&call.context, &origin, &return_to, is_again)
}

/// `GET /gate/sign-in?request=…` on the auth host: whoever is signed in goes back with a code, and whoever is not
/// signs in first. A request that is too old, from a login page that stood open or a bookmark, begins again at its website.
///
/// # Errors
/// 400 for a request that is not ours; 503.
pub async fn authorize(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let text = call.request.param("request").unwrap_or_default();
    let request = match GateRequest::read(&context.config.keyring, &text, context.now) {
        Some(FoundRequest::Fresh(request)) => request,
        Some(FoundRequest::TooOld(old)) => {
            return Ok(Reply::redirect(302, &Target::own(sign_in_page(&old.origin, &old.return_to, false))));
        }
        None => return Err(bad("gate request is not ours")),
    };
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
        let back = sign_in::sign_in_at_auth_host(&text);
        return Ok(Reply::redirect(302, &Target::own("/login").with_query("continue", back.as_str())));
    };
    let user = &authenticated.session.user;
    if !proxy::is_proven(&context.config, user) {
        // A website takes the address for its visitor's: first it must be.
        let back = sign_in::sign_in_at_auth_host(&text);
        let frame = context.frame("Confirm your address first");
        let page = mailed::ask_for_mail(&frame, &user.email, back.as_str());
        return Ok(Reply::page(403, page).with_cookies(authenticated.cookies));
    }
    let code = issue_gate_code(context, &request, &authenticated.session.id).await?;
    let target = Target::own(format!("{}/.doorward/callback", request.origin));
    let target = target.with_query("code", code.expose()).with_query("state", &text);
    Ok(Reply::redirect(302, &target).with_cookies(authenticated.cookies))
}

/// `GET /.doorward/callback` on a protected host: the code opens a session of this host. What comes too late, twice, or to
/// a browser that did not ask opens nothing; its visitor signs in anew.
///
/// # Errors
/// 400 for a state that is not ours, or that came back to a browser that keeps no cookies; 503.
pub async fn callback(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let app = sign_in::require_app(context)?;
    let text = call.request.param("state").unwrap_or_default();
    let found =
        GateRequest::read(&context.config.keyring, &text, context.now).ok_or_else(|| bad("state is not ours"))?;
    let (FoundRequest::Fresh(request) | FoundRequest::TooOld(request)) = &found;
    if request.app_id != app.id {
        return Err(bad("state of another app"));
    }
    let result = match &found {
        FoundRequest::Fresh(request) => redeem(call, app, request).await,
        FoundRequest::TooOld(_) => Err(bad("state is too old")),
    };
    let error = match result {
        Ok(Redeemed::Opened(cookies, must_enrol)) => {
            // The sign-in is good enough for the auth host, and this website's tenant asks for more.
            let target = if must_enrol {
                at_auth_host(context, "/account/second-factor", &text)
            } else {
                Target::own(request.return_to.clone())
            };
            return Ok(Reply::redirect(302, &target).with_cookies(cookies));
        }
        Ok(Redeemed::NeedsFactor) => {
            let again = at_auth_host(context, "/login", &text).with_query("again", "true");
            return Ok(Reply::redirect(302, &again));
        }
        Err(error) if error.wire() == Wire::BAD_GATE_REQUEST => error,
        Err(error) => return Err(error),
    };
    // A visitor who reloads the callback, or had a second tab waiting, is signed in already: nothing is opened for them.
    if let Authentication::Authenticated(_) = call.visitor(Depth::Database).await? {
        return Ok(Reply::redirect(302, &Target::own(request.return_to.clone())));
    }
    if matches!(&found, FoundRequest::Fresh(request) if request.is_again) {
        return Err(error);
    }
    context.log(call.request.path(), &error);
    Ok(Reply::redirect(302, &Target::own(sign_in_page("", &request.return_to, true))))
}

/// A page of the auth host that goes on to the sign-in at this website.
fn at_auth_host(context: &Context, page: &str, request: &str) -> Target {
    let back = sign_in::sign_in_at_auth_host(request);
    Target::own(format!("{}{page}", context.auth_origin())).with_query("continue", back.as_str())
}

/// What came of a code.
enum Redeemed {
    /// A session of this host: its cookies, and whether its user has to set up a second factor first.
    Opened(Vec<String>, bool),
    /// None: the sign-in lacks the second factor that this website's tenant asks for.
    NeedsFactor,
}

fn bad(reason: &str) -> Error {
    Error::refused(Wire::BAD_GATE_REQUEST, reason)
}

/// Uses the code up and opens the session that it stands for.
async fn redeem(call: &Call, app: &AppPlace, request: &GateRequest) -> Result<Redeemed> {
    let context = &call.context;
    let mine = sign_in::read_binding(&call.context, sign_in::slot_of(&request.binding))
        .ok_or_else(|| bad("no cookie of this browser's request"))?
        .hash();
    if !equal_in_constant_time(&request.binding, mine.as_str()) {
        return Err(bad("requested in another browser"));
    }
    let code: Option<Token<GateCode>> = call.request.param("code").and_then(|code| Token::parse(&code));
    let code = code.ok_or_else(|| bad("no code"))?;
    let used: Option<Used> =
        context.db()?.first(request::store::verification::take(context, &code.hash(), None)).await?;
    let used = used.ok_or_else(|| bad("code is unknown, expired or used"))?;
    let coded: Coded = serde_json::from_slice(used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no code: {error}")))?;
    if used.identifier.as_deref() != Some(app.id.as_str()) || coded.binding != request.binding {
        return Err(bad("code of another request"));
    }
    let token = Token::new(context.random()?);
    let (id, hash) = (context.id()?, token.hash());
    let statements = [
        session::store::session::open_for_app(context, &id, &hash, &app.id, &coded.parent),
        session::store::session::load(&context.tenant().id, &hash),
    ];
    let mut answers = context.db()?.batch(statements).await?.skip(1);
    let record =
        session::store::session::read(&mut answers)?.ok_or_else(|| bad("the session on the auth host is over"))?;
    let session = match judge_session(context, record) {
        Ok(judged) => judged.session,
        Err(rejection) => {
            // Nobody has it: it does not stay behind.
            context.db()?.batch([session::store::session::discard(&context.tenant().id, &hash)]).await?;
            if rejection == Rejection::SecondFactorMissing {
                return Ok(Redeemed::NeedsFactor);
            }
            return Err(bad(&format!("{rejection:?}")));
        }
    };
    write_session_copy(context, &hash, &session);
    // A proxy that asks about each request keeps to itself what we would set with the answer: nothing could prolong the
    // browser's cookie, so it outlives the session, whose end D1 knows.
    let is_asked = call.asked.is_some() || (app.origin_url.is_none() && app.service_binding.is_none());
    let cookie =
        if is_asked { lasting_cookie(context, &token, &session) } else { session_cookie(context, &token, &session) };
    let mut cookies = vec![cookie];
    cookies.extend(snapshot_cookie(context, &hash, &session));
    Ok(Redeemed::Opened(cookies, session.must_enrol))
}

/// `GET /.doorward/sign-out` on a protected host: asks, since a link or an image of another site can point here.
///
/// # Errors
/// 404 off a protected host.
pub async fn ask_sign_out(call: &mut Call) -> Result<Reply> {
    let app = sign_in::require_app(&call.context)?;
    let page = provider::pages::sign_out::page(&call.context.frame("Sign out"), &app.name, "/.doorward/sign-out");
    Ok(Reply::page(200, page))
}

/// `POST /.doorward/sign-out` on a protected host: ends the session there, on the auth host, and on every other host.
///
/// # Errors
/// 503.
pub async fn sign_out(call: &mut Call) -> Result<Reply> {
    // Read, so that the connection can be used again; nothing in it matters.
    call.request.fields(Media::Both).await.ok();
    let gone = end_current_session(&call.context).await?;
    // Another sign-in leads back to the website, and its page has a link there.
    let begun = sign_in::new_request(&call.context, &origin_used(call)?, "/", false)?;
    let target = Target::own(format!("{}/login", call.context.auth_origin())).with_query(SIGNED_OUT, "true");
    let target = target.with_query("continue", begun.page.as_str());
    // What the browser kept of the website was this visitor's (W3C Clear Site Data, section 3.1).
    let reply = Reply::redirect(303, &target).with_cookies(gone).with_cookie(begun.cookie);
    Ok(reply.with("clear-site-data", "\"cache\""))
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
        "expiresAt": iso(session.expires_at),
    });
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies))
}
