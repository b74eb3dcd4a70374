//! Signing in to a website: the request that the website begins and the auth host answers.

use crate::gate::request::{FoundRequest, GateRequest};
use crate::http::cookie;
use crate::http::cookie::{CookieValue, GATE_SLOTS, gate_name};
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result};
use crate::platform::secret::{GateCode, Token};
use crate::request::context::Context;
use crate::request::store::directory::AppPlace;

pub(crate) fn require_app(context: &Context) -> Result<&AppPlace> {
    context.app().ok_or(Error::NotFound)
}

/// Which of the cookies a request's value is in.
#[must_use]
pub fn slot_of(binding: &str) -> u8 {
    binding.bytes().next().unwrap_or(0) % GATE_SLOTS
}

/// The value of one of the cookies that tie gate requests to this browser, as it was presented.
pub fn read_binding(context: &Context, slot: u8) -> Option<Token<GateCode>> {
    let header = context.header("Cookie")?;
    match cookie::read(&header, &gate_name(context.is_secure, slot)) {
        CookieValue::Value(value) => Token::parse(value),
        _ => None,
    }
}

/// Sends the visitor of a protected host to sign in, and back to `return_to`.
///
/// # Errors
/// If the platform has no randomness.
pub fn redirect_to_sign_in(context: &Context, origin: &str, return_to: &str) -> Result<Reply> {
    begin_request(context, origin, return_to, false)
}

pub(crate) fn begin_request(context: &Context, origin: &str, return_to: &str, is_again: bool) -> Result<Reply> {
    let begun = new_request(context, origin, return_to, is_again)?;
    let target = Target::own(format!("{}{}", context.auth_origin(), begun.page.as_str()));
    Ok(Reply::redirect(302, &target).with_cookie(begun.cookie).with("cache-control", "no-store"))
}

/// A request for a sign-in.
pub struct BegunSignIn {
    /// The page of the auth host that it is made at.
    pub(crate) page: Target,
    /// The `Set-Cookie` line that ties it to the browser.
    pub(crate) cookie: String,
}

pub(crate) fn new_request(context: &Context, origin: &str, return_to: &str, is_again: bool) -> Result<BegunSignIn> {
    // A value that is there already is used again: only tabs that ask at the same moment need one each.
    let binding = match (0..GATE_SLOTS).find_map(|slot| read_binding(context, slot)) {
        Some(binding) => binding,
        None => Token::new(context.random()?),
    };
    let hash = binding.hash().as_str().to_owned();
    let cookie = cookie::set_gate(context.is_secure, slot_of(&hash), binding.expose(), context.config.flow_seconds);
    let request = GateRequest {
        tenant_id: context.tenant().id.clone(),
        is_isolated: context.tenant().is_isolated,
        app_id: require_app(context)?.id.clone(),
        origin: origin.to_owned(),
        return_to: GateRequest::return_path(return_to),
        binding: hash,
        expires_at: context.now + context.config.flow_seconds * 1000,
        is_again,
    };
    Ok(BegunSignIn { page: sign_in_at_auth_host(&request.sign(&context.config.keyring)), cookie })
}

/// The page of the auth host that a signed request is made at.
const SIGN_IN: &str = "/gate/sign-in";

pub(crate) fn sign_in_at_auth_host(request: &str) -> Target {
    Target::own(SIGN_IN).with_query("request", request)
}

/// A target as a mail may carry it: what stands after `#` in the way back to a website is for the browser alone, which would
/// have sent it to no server. Targets of front-ends stay as they gave them.
#[must_use]
pub fn without_fragment(target: Target) -> Target {
    match target.as_str().split_once('#') {
        Some((before, _)) if before.starts_with(SIGN_IN) => Target::own(before),
        _ => target,
    }
}

/// The origin of the website of this pool that a page goes on to, if it does and the request is in time: we signed it.
#[must_use]
pub fn website_of(context: &Context, target: &Target) -> Option<String> {
    let query = target.as_str().strip_prefix(SIGN_IN)?.strip_prefix('?')?;
    let (_, text) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "request")?;
    let FoundRequest::Fresh(request) = GateRequest::read(&context.config.keyring, &text, context.now)? else {
        return None;
    };
    let is_alone = request.is_isolated || context.tenant().is_isolated;
    (!is_alone || request.tenant_id == context.tenant().id).then_some(request.origin)
}

/// The parameter by which the page of sign-in says that its reader was just signed out.
pub const SIGNED_OUT: &str = "signed_out";
