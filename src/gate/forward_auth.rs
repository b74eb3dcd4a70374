//! Which website a proxy asks about, and by which path (forward-auth).

use std::rc::Rc;

use crate::gate::reserved;
use crate::http::incoming::Incoming;
use crate::platform::error::Result;
use crate::request::asked::ProxyQuestion;
use crate::request::context::Surroundings;
use crate::request::hosts::find_place;
use crate::request::store::directory::HostPlace;

/// The path of the check.
pub const PATH: &str = "/forward-auth";

/// Whether a path is that of the check.
#[must_use]
pub fn is_check(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a proxy's question left the path of the check. Envoy puts the visitor's path behind it, and `/../style.css` would
/// make a question of it that is answered 200 to anybody. Such a question still says in `X-Forwarded-Uri` what it is about.
#[must_use]
pub fn is_outside_check(request: &Incoming) -> bool {
    if is_check(request.path()) {
        return false;
    }
    let is_about_reserved = |uri: String| reserved::is_reserved(uri.split('?').next().unwrap_or_default());
    request
        .header("X-Forwarded-Uri")
        .is_some_and(|uri| !(reserved::is_reserved(request.path()) && is_about_reserved(uri)))
}

/// Path and query that Envoy asks about: what follows [`PATH`]. `None` where nothing does.
fn asked_by_path(request: &Incoming) -> Option<&str> {
    request.path_and_query().strip_prefix(PATH).filter(|rest| rest.starts_with('/'))
}

/// The website that a proxy asks about, if this is its question on an auth host.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn find_website(
    request: &Incoming,
    around: &Surroundings,
    here: &Rc<HostPlace>,
) -> Result<Option<(Rc<HostPlace>, ProxyQuestion)>> {
    let development = around.config.development;
    let by_path = asked_by_path(request);
    if let Some(app) = &here.app {
        // Envoy keeps the website's own host. A website whose origin we ask ourselves has its paths for itself.
        let uri = by_path.filter(|_| app.origin_url.is_none() && app.service_binding.is_none());
        let asked = uri.and_then(|uri| ProxyQuestion::read_envoy(request, uri, true, development));
        return Ok(asked.map(|asked| (here.clone(), asked)));
    }
    let asked = match by_path {
        Some(uri) => ProxyQuestion::read_envoy(request, uri, false, development),
        None if request.path() == PATH || reserved::is_reserved(request.path()) => {
            ProxyQuestion::read(request, development)
        }
        None => None,
    };
    let Some(asked) = asked else {
        return Ok(None);
    };
    let place = find_place(around, asked.host()).await?;
    Ok(place.filter(|place| place.app.is_some()).map(|place| (place, asked)))
}
