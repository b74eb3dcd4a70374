//! We as an OAuth 2.1 authorization server and OpenID Provider: other software signs in with us.

use url::Url;

use crate::http::redirect::Target;
use crate::platform::error::Result;
use crate::platform::id::{Id, Session, User};
use crate::platform::secret::sha256_base64url;
use crate::request::context::Context;
use crate::session::authenticate;
use crate::session::authenticate::{Authenticated, Authentication, Depth};

/// What begins a `request_uri` of ours (RFC 9126, section 2.2).
pub const REQUEST_URI: &str = "urn:ietf:params:oauth:request_uri:";

/// The issuer identifier: the tenant's auth host.
#[must_use]
pub fn issuer(context: &Context) -> String {
    context.auth_origin().as_str().to_owned()
}

/// Whoever is signed in and may agree: no guest, and no administrator in another's name.
///
/// # Errors
/// 503.
pub async fn load_signed_in_person(context: &Context) -> Result<Option<Authenticated>> {
    Ok(match authenticate::identify_visitor(context, Depth::Database).await? {
        Authentication::Authenticated(one)
            if !one.session.user.is_anonymous && one.session.impersonated_by.is_none() =>
        {
            Some(*one)
        }
        _ => None,
    })
}

/// Where a visitor without a session signs in, and comes back. It asks also those who are signed in: a guest, or an administrator
/// as somebody else, would be sent back at once, and again from here.
#[must_use]
pub fn sign_in_redirect(back: &str) -> Target {
    Target::own("/login").with_query("continue", back).with_query("again", "true")
}

/// The userinfo endpoint: what an access token is for that names no other resource.
#[must_use]
pub fn userinfo(context: &Context) -> String {
    format!("{}/oauth2/userinfo", issuer(context))
}

/// What a client calls a user (OpenID Connect Core 1.0, section 8): their id, or, with the tenant's salt, a name that no other
/// sector knows, and nobody who knows the id can tell. A client has one sector: its registration sees to it.
#[must_use]
pub fn subject_identifier(salt: Option<&str>, user: &Id<User>, redirect_uris: &[String]) -> String {
    let Some(salt) = salt else {
        return user.as_str().to_owned();
    };
    let sector = redirect_uris.first().and_then(|uri| Url::parse(uri).ok());
    let sector = sector.as_ref().and_then(Url::host_str).unwrap_or_default();
    sha256_base64url(&format!("subject\0{salt}\0{sector}\0{user}"))
}

/// What a client calls a session (`sid`), likewise: by one name in two places their users would be known.
#[must_use]
pub fn session_identifier(salt: Option<&str>, session: &Id<Session>, client_id: &str) -> String {
    match salt {
        None => session.as_str().to_owned(),
        Some(salt) => sha256_base64url(&format!("session\0{salt}\0{client_id}\0{session}")),
    }
}
