//! A request to a protected host: judged, and forwarded to its origin with a signed statement of who asks.

use std::cell::RefCell;
use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::json;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use worker::{Headers, Response};

use crate::access::path_rules;
use crate::access::path_rules::{Needs, Verdict, Visitor};
use crate::gate::caching::{Audience, Said, Storage};
use crate::gate::headers::ASSERTION;
use crate::gate::own_name::Names;
use crate::gate::sign_in::redirect_to_sign_in;
use crate::gate::{caching, headers};
use crate::http::incoming::Incoming;
use crate::http::reply::Reply;
use crate::http::{cookie, email};
use crate::jose;
use crate::platform::config::Config;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::Millis;
use crate::request::asked::ProxyQuestion;
use crate::request::context::Context;
use crate::request::errors;
use crate::request::store::directory::AppPlace;
use crate::session::authenticate::{Authentication, Depth, DueProlongation, Look, Prolong};
use crate::session::cookies::cookies_after_rejection;
use crate::session::live_session::LiveSession;
use crate::session::{api_key, authenticate, policy};
use crate::users::person::Person;

/// What the gate made of a request.
pub struct JudgedVisitor {
    /// The decision.
    pub verdict: Verdict,
    /// Who asks, if they are signed in.
    pub session: Option<LiveSession>,
    /// Who the answer is for.
    audience: Audience,
    cookies: Vec<String>,
    due: Option<DueProlongation>,
}

impl JudgedVisitor {
    /// The address of the user who asks, if they are signed in.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.session.as_ref().map(|session| session.user.email.as_str())
    }

    /// Somebody who is to sign in.
    #[must_use]
    pub const fn signed_out() -> Self {
        Self { verdict: Verdict::SignIn, session: None, audience: Audience::One, cookies: Vec::new(), due: None }
    }

    /// The `Set-Cookie` lines that are due, where the answer `takes` them: one that may be kept, and shown again, does not.
    pub fn cookies(&mut self, context: &Context, takes: bool) -> Vec<String> {
        let mut cookies = std::mem::take(&mut self.cookies);
        cookies.extend(self.due.take().map(|due| due.settle(context, takes)).unwrap_or_default());
        if takes { cookies } else { Vec::new() }
    }
}

/// What the app's rules ask of a request for `method` and `path`.
#[must_use]
pub fn needs_of_request(app: &AppPlace, method: &str, path: &str) -> Needs {
    let mut needs = path_rules::needs(&app.rules, &app.default_access, method, path);
    if let Some(composed) = composed(path) {
        needs.add(path_rules::needs(&app.rules, &app.default_access, method, &composed));
    }
    needs
}

/// Judges a request that has these needs; `path` is for the log.
///
/// # Errors
/// 503 if the session cannot be looked up: not even a public path then says that nobody is signed in.
pub async fn judge_visitor(context: &Context, needs: Needs, path: &str) -> Result<JudgedVisitor> {
    if let Some(token) = api_key::read_api_key(context) {
        policy::check_address(context)?;
        let session = api_key::authenticate_api_key(context, &token).await?;
        let visitor = visitor_of_session(context, &session);
        let verdict = needs.judge(Some(visitor));
        let audience = if needs.is_public() { Audience::Known } else { Audience::One };
        return Ok(JudgedVisitor { verdict, session: Some(session), audience, cookies: Vec::new(), due: None });
    }
    if context.header(api_key::HEADER).is_some_and(|value| api_key::contains_api_key(&value)) {
        return Err(Error::refused(Wire::INVALID_API_KEY, "more than one key, or a key among other things"));
    }
    if !needs.is_public() {
        policy::check_address(context)?;
    }
    // A public page is no use of the session.
    let prolong = if needs.is_public() { Prolong::No } else { Prolong::Later };
    let look = Look { depth: Depth::Snapshot, prolong };
    let visitor = match authenticate::authenticate(context, look).await {
        // A public page is for everybody, whatever is asked of those who are signed in.
        Err(error) if error.wire() == Wire::SECOND_FACTOR_REQUIRED && needs.is_public() => Authentication::NotPresented,
        other => other?,
    };
    let is_known = !matches!(visitor, Authentication::NotPresented);
    let (session, cookies, due) = match visitor {
        Authentication::NotPresented => (None, Vec::new(), None),
        Authentication::Authenticated(one) => (Some(one.session), one.cookies, one.due),
        Authentication::Rejected(rejection) => {
            context.log(path, &Error::refused(Wire::UNAUTHORIZED, format!("{rejection:?}")));
            (None, cookies_after_rejection(context, rejection), None)
        }
    };
    let visitor = session.as_ref().map(|session| visitor_of_session(context, session));
    let audience = match (needs.is_public(), is_known) {
        (true, false) => Audience::Everybody,
        (true, true) => Audience::Known,
        (false, _) => Audience::One,
    };
    Ok(JudgedVisitor { verdict: needs.judge(visitor), session, audience, cookies, due })
}

/// A path with letters beyond ASCII in their one common form (Unicode, NFKC), where that is another: file systems find
/// the same file by several. The runtime has the tables for it, which are larger than all else that is done here.
fn composed(path: &str) -> Option<String> {
    if path.bytes().all(|byte| byte.is_ascii() && byte != b'%') {
        return None;
    }
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    if decoded.is_ascii() {
        return None;
    }
    let normal: String = js_sys::JsString::from(decoded.as_ref()).normalize("NFKC").into();
    (normal != decoded).then_some(normal)
}

/// Who asks. A user whose address is not proven may be anybody, and counts as no member.
fn visitor_of_session<'a>(context: &Context, session: &'a LiveSession) -> Visitor<'a> {
    let is_proven = is_proven(&context.config, &session.user);
    Visitor { is_member: session.is_member && is_proven, roles: &session.roles }
}

/// Whether somebody proved as much of their address as websites ask for. Who has a number alone proved that.
#[must_use]
pub fn is_proven(config: &Config, user: &Person) -> bool {
    !config.websites_need_verified_email || user.email_verified || !email::is_mailbox(&user.email)
}

/// Serves a request to a protected host.
///
/// # Errors
/// 503. Refusals are answered here.
pub async fn proxy_request(context: &Context, request: &Incoming, asked: Option<&ProxyQuestion>) -> Result<Reply> {
    let reply = try_proxy_request(context, request).await;
    reply.or_else(|error| {
        context.log(request.path(), &error);
        if request.wants_page() && error.wire() == Wire::SECOND_FACTOR_REQUIRED {
            // The auth host knows where a second factor is set up, and the way back.
            return redirect_to_sign_in(context, request.origin()?.as_str(), request.path_and_query());
        }
        errors::to_visitor(context, request, asked, &error)
    })
}

async fn try_proxy_request(context: &Context, request: &Incoming) -> Result<Reply> {
    let app = context.app().ok_or(Error::NotFound)?;
    if !context.tenant().is_active {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    let needs = needs_of_request(app, request.method(), request.path());
    let mut judged = judge_visitor(context, needs, request.path()).await?;
    match judged.verdict {
        Verdict::Pass => forward_request(context, request, app, judged).await,
        Verdict::SignIn if request.wants_page() => {
            let reply = redirect_to_sign_in(context, request.origin()?.as_str(), request.path_and_query())?;
            Ok(reply.with_cookies(judged.cookies(context, true)))
        }
        Verdict::SignIn => Err(Error::refused(Wire::UNAUTHORIZED, "not signed in")),
        Verdict::Forbidden => {
            let reason = format!(
                "{} {} is not allowed to {:?}",
                request.method(),
                request.path(),
                judged.session.as_ref().map(|session| &session.user.id)
            );
            let error = Error::refused(Wire::FORBIDDEN, reason);
            if !request.source().is_navigation() {
                return Err(error);
            }
            context.log(request.path(), &error);
            let cookies = judged.cookies(context, true);
            Ok(errors::forbidden(context, judged.email()).with_cookies(cookies))
        }
    }
}

async fn forward_request(
    context: &Context,
    request: &Incoming,
    app: &AppPlace,
    mut judged: JudgedVisitor,
) -> Result<Reply> {
    let outbound = outbound_headers(context, request, app, judged.session.as_ref()).await?;
    let incoming = request.raw().inner();
    let init = web_sys::RequestInit::new();
    init.set_method(request.method());
    init.set_headers(outbound.as_ref());
    // A redirect that we followed would carry cookies and assertion to another host.
    init.set_redirect(web_sys::RequestRedirect::Manual);
    if judged.session.is_some() && app.origin_url.is_some() {
        // Cloudflare's cache knows URLs, not visitors: what one is shown must not be kept for another. Not by the request's
        // `cache`, which sends the origin `Cache-Control: no-cache`: then nothing would ever be unmodified to it.
        js_sys::Reflect::set(&init, &"cf".into(), &not_cached())
            .map_err(|error| Error::Internal(format!("{error:?}")))?;
    }
    // A body with GET makes `fetch` throw.
    if !matches!(request.method(), "GET" | "HEAD")
        && let Some(body) = incoming.body()
    {
        init.set_body(&body);
    }
    let public = request.origin()?;
    // A Worker behind a binding is found by no name, so it is asked by the website's.
    let base = app.origin_url.as_deref().unwrap_or(public.as_str()).trim_end_matches('/');
    let url = format!("{base}{}", request.path_and_query());
    let refused = |error: String| Error::refused(Wire::BAD_GATEWAY, format!("origin of {}: {error}", app.host));
    let outgoing =
        web_sys::Request::new_with_str_and_init(&url, &init).map_err(|error| refused(format!("{error:?}")))?;
    let answer = match (&app.service_binding, &app.origin_url) {
        (Some(binding), _) => {
            let service = context.env.service(binding).map_err(|error| refused(error.to_string()))?;
            service.fetch_request(worker::Request::from(outgoing)).await.map_err(|error| error.to_string())
        }
        (None, Some(_)) => fetch(&outgoing).await,
        (None, None) => Err("neither origin_url nor service_binding".to_owned()),
    };
    let response = answer.map_err(refused)?;
    // A status that no Response can be made of would take the whole isolate down.
    let status = response.status_code();
    let is_upgrade = status == 101 && is_websocket(request);
    if !(200..600).contains(&status) && !is_upgrade {
        return Err(refused(format!("status {status}")));
    }
    let (response, takes_cookies) = copy_response(response, judged.audience, (base, public.as_str()))?;
    Ok(Reply::forwarded(response).with_cookies(judged.cookies(context, takes_cookies)))
}

/// What tells Cloudflare to keep no answer to a request, whatever its status. Another runtime takes no notice.
fn not_cached() -> JsValue {
    thread_local! {
        static NOT_CACHED: JsValue = js_sys::JSON::parse(r#"{"cacheTtlByStatus":{"100-599":-1}}"#).unwrap_or_default();
    }
    NOT_CACHED.with(JsValue::clone)
}

async fn fetch(request: &web_sys::Request) -> std::result::Result<Response, String> {
    let scope: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
    let answer = JsFuture::from(scope.fetch_with_request(request)).await;
    let response = answer.map_err(|error| format!("{error:?}"))?;
    let response: web_sys::Response = response.dyn_into().map_err(|_| "fetch answered no Response".to_owned())?;
    Ok(response.into())
}

/// The answer with headers that can be added to, and without cookies under our names: an origin must not replace the
/// session that it is protected by. Where it names the origin it is made to name the website. Caches may keep of it what its
/// audience may see. And whether it takes cookies of ours.
fn copy_response(response: Response, audience: Audience, (base, public): (&str, &str)) -> Result<(Response, bool)> {
    let headers = response.headers().clone();
    let all = names(&headers);
    let named = headers.get("connection")?.map(|value| headers::named_by_connection(&value)).unwrap_or_default();
    // 101 speaks of its own connection, which becomes the visitor's.
    let is_upgrade = response.status_code() == 101;
    if !is_upgrade {
        for name in all.split('\n').filter(|name| headers::is_of_the_hop(name, &named)) {
            headers.delete(name)?;
        }
    }
    let names_something = |name: &&str| matches!(*name, "location" | "content-location" | "refresh" | "set-cookie");
    let own_name = all.split('\n').any(|name| names_something(&name)).then(|| Names::new(base, public)).flatten();
    if headers.has("set-cookie")? {
        let lines = headers.get_all("set-cookie")?;
        headers.delete("set-cookie")?;
        for line in lines {
            if !cookie::is_ours(&line) {
                let renamed = own_name.as_ref().and_then(|names| names.cookie(&line));
                headers.append("set-cookie", renamed.as_deref().unwrap_or(&line))?;
            }
        }
    }
    if let Some(own_name) = own_name {
        for name in all.split('\n').filter(|name| names_something(name) && *name != "set-cookie") {
            let value = headers.get(name)?.unwrap_or_default();
            let renamed = if name == "refresh" { own_name.refresh(&value) } else { own_name.location(&value) };
            if let Some(renamed) = renamed {
                headers.set(name, &renamed)?;
            }
        }
    }
    let takes_cookies = is_upgrade || restrict(&headers, &all, audience)?;
    Ok((response.with_headers(headers), takes_cookies))
}

/// Says to caches what they may keep. Answers whether cookies of ours may go along.
fn restrict(headers: &Headers, names: &str, audience: Audience) -> Result<bool> {
    if audience == Audience::Everybody {
        return Ok(false);
    }
    let names: Vec<&str> = names.split('\n').collect();
    let get = |name: &str| -> Result<String> {
        Ok(if names.contains(&name) { headers.get(name)?.unwrap_or_default() } else { String::new() })
    };
    let (cache_control, expires, vary) = (get("cache-control")?, get("expires")?, get("vary")?);
    let targeted = names.iter().filter(|name| caching::is_for_shared_caches(name));
    let has_targeted = targeted.clone().next().is_some();
    let said = Said { cache_control: &cache_control, expires: &expires, has_targeted };
    let Storage::Private { cache_control, is_fresh } = caching::storage(audience, said) else {
        return Ok(false);
    };
    for name in targeted {
        headers.delete(name)?;
    }
    headers.set("cache-control", &cache_control)?;
    let varies = |name: &str| name.trim() == "*" || name.trim().eq_ignore_ascii_case("cookie");
    if !vary.split(',').any(varies) {
        headers.append("vary", "Cookie")?;
    }
    Ok(!is_fresh)
}

/// The names of headers, in one call into JavaScript instead of several a header. No name holds a line break.
fn names(headers: &Headers) -> String {
    js_sys::Array::from(&headers.0.keys()).join("\n").into()
}

fn is_websocket(request: &Incoming) -> bool {
    request.header("Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

async fn outbound_headers(
    context: &Context,
    request: &Incoming,
    app: &AppPlace,
    session: Option<&LiveSession>,
) -> Result<Headers> {
    let named = request.header("Connection").map(|value| headers::named_by_connection(&value));
    let named = named.unwrap_or_default();
    let is_websocket = is_websocket(request);
    let outbound = request.raw().headers().clone();
    for name in names(&outbound).split('\n').filter(|name| !name.is_empty()) {
        let is_our_key =
            api_key::is_header(name) && request.header(name).is_some_and(|value| api_key::contains_api_key(&value));
        if is_our_key || headers::is_dropped(name, &named, is_websocket) {
            outbound.delete(name)?;
        }
    }
    if let Some(cookies) = request.header("Cookie") {
        match cookie::without_ours(&cookies) {
            Some(rest) => outbound.set("cookie", &rest)?,
            None => outbound.delete("cookie")?,
        }
    }
    let client = context.client();
    if !client.ip.is_empty() {
        outbound.set("X-Forwarded-For", &client.ip)?;
    }
    let origin = request.origin()?;
    outbound.set("X-Forwarded-Proto", origin.scheme())?;
    outbound.set("X-Forwarded-Host", origin.as_str().split_once("://").map_or("", |(_, host)| host))?;
    for (name, value) in identity_headers(context, app, session).await? {
        outbound.set(name, &value)?;
    }
    Ok(outbound)
}

/// What an origin is told of who asks: plain headers, and the assertion that proves them.
///
/// # Errors
/// 503 if the signing key cannot be read.
pub async fn identity_headers(
    context: &Context,
    app: &AppPlace,
    session: Option<&LiveSession>,
) -> Result<Vec<(&'static str, String)>> {
    let Some(session) = session else {
        return Ok(Vec::new());
    };
    Ok(vec![
        ("X-Doorward-User", session.user.id.as_str().to_owned()),
        ("X-Doorward-Email", headers::value(&session.user.email)),
        ("X-Doorward-Tenant", headers::value(&session.tenant_slug)),
        ("X-Doorward-Roles", headers::list(&session.roles)),
        (ASSERTION, sign_assertion(context, app, session).await?),
    ])
}

/// An assertion, and until when it is used again.
type KeptAssertion = HashMap<(String, String, Millis), (String, Millis)>;

/// The most assertions an isolate keeps.
const MOST_KEPT: usize = 1000;

thread_local! {
    static ASSERTIONS: RefCell<KeptAssertion> = RefCell::new(HashMap::new());
}

/// A JWT for the app alone. One that is not half through its life is used again: a page's fifty requests cost one
/// signature. What it says is what D1 said at `checked_at`, so that is part of its name.
async fn sign_assertion(context: &Context, app: &AppPlace, session: &LiveSession) -> Result<String> {
    let name = (session.id.as_str().to_owned(), app.id.as_str().to_owned(), session.checked_at);
    let kept = ASSERTIONS.with_borrow(|kept| kept.get(&name).cloned());
    if let Some((text, until)) = kept
        && context.now < until
    {
        return Ok(text);
    }
    let mut claims = json!({
        "iss": context.auth_origin().as_str(),
        "aud": app.host,
        "sub": session.user.id,
        "email": session.user.email,
        "email_verified": session.user.email_verified,
        "name": session.user.name,
        "tenant": session.tenant_slug,
        "roles": session.roles,
        "sid": session.parent_id.as_ref().unwrap_or(&session.id),
        "amr": session.amr,
        "auth_time": session.authenticated_at / 1000,
    });
    if let Some(permissions) = &session.key_permissions {
        claims["permissions"] = json!(permissions.statements());
    }
    if session.login_method == api_key::METHOD {
        claims["api_key"] = json!(session.id);
    }
    if let Some(administrator) = &session.impersonated_by {
        // Who acts in the user's name (RFC 8693, section 4.1).
        claims["act"] = json!({ "sub": administrator });
    }
    let signer = jose::store::signer(context).await?;
    let text = signer.sign(claims, context.now, context.config.assertion_seconds).await?;
    let until = context.now + context.config.assertion_seconds * 500;
    ASSERTIONS.with_borrow_mut(|kept| {
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(name, (text.clone(), until));
    });
    Ok(text)
}
