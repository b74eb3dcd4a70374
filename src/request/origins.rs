//! Which origins are trusted, and which targets may be redirected to.

use crate::http::incoming::Incoming;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::origin;
use crate::platform::origin::Origin;
use crate::request::context::Context;

/// Whether an origin is one of ours or a trusted front-end's.
#[must_use]
pub fn trusts_origin(context: &Context, origin: &Origin) -> bool {
    context.config.trusts(origin) || *origin == context.auth_origin()
}

/// A way of signing in that is not open is not there.
///
/// # Errors
/// 404.
pub const fn require_open_way(is_open: bool) -> Result<()> {
    if is_open { Ok(()) } else { Err(Error::NotFound) }
}

/// Whether a script of a trusted origin asks, by a GET of the client's protocol that changes something: browsers say so. Mail
/// scanners, link previews and prefetching browsers open links too, and say nothing of the kind.
#[must_use]
pub fn asked_by_script(context: &Context, request: &Incoming) -> bool {
    let mode = request.header("Sec-Fetch-Mode");
    if request.method() != "GET" || request.is_prefetch() || mode.as_deref() == Some("navigate") {
        return false;
    }
    match request.header("Origin").filter(|origin| !origin.is_empty()) {
        Some(_) => readable_origin(context, request).is_some(),
        // A page of our own origin sends none with a GET.
        None => {
            request.header("Sec-Fetch-Site").as_deref() == Some("same-origin")
                && matches!(mode.as_deref(), Some("cors" | "same-origin"))
        }
    }
}

/// Whether a target is a front-end's, and no page of ours.
#[must_use]
pub fn is_elsewhere(context: &Context, target: &Target) -> bool {
    let origin = url::Url::parse(target.as_str()).ok().and_then(|url| Origin::of(&url));
    origin.is_some_and(|origin| origin != context.auth_origin())
}

/// From an address of the client's protocol to our page with a button, which takes the same parameters.
#[must_use]
pub fn redirect_to_page(request: &Incoming, page: &str) -> Reply {
    let query = request.query();
    let target = if query.is_empty() { page.to_owned() } else { format!("{page}?{query}") };
    // The token must not go on to wherever the page's links lead.
    Reply::redirect(302, &Target::own(target)).with("referrer-policy", "no-referrer")
}

/// The trusted origin whose script asks.
#[must_use]
pub fn readable_origin(context: &Context, request: &Incoming) -> Option<String> {
    if context.app().is_some() {
        return None;
    }
    let said = request.header("Origin")?;
    if let Some(origin) = Origin::parse(&said) {
        return trusts_origin(context, &origin).then(|| origin.as_str().to_owned());
    }
    // An extension of a browser asks by CORS as a website does.
    let url = url::Url::parse(&said).ok()?;
    context.config.trusts_app(&url).then(|| said.to_ascii_lowercase())
}

/// Reads a redirect target that a client gave.
///
/// # Errors
/// The refusal of that parameter.
pub fn check_target(context: &Context, given: Option<&str>, refusal: Wire) -> Result<Option<Target>> {
    let Some(text) = given else {
        return Ok(None);
    };
    let here = context.auth_origin();
    let trusts = |origin: &origin::Origin| trusts_origin(context, origin);
    let target =
        Target::check(text, &here, trusts).or_else(|| Target::check_app(text, |url| context.config.trusts_app(url)));
    target.map(Some).ok_or_else(|| Error::refused(refusal, format!("{text:?}")))
}
