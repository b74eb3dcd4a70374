//! We as an OAuth 2.1 authorization server and OpenID Provider: other software signs in with us.

pub mod assertion;
pub mod authorize;
pub mod client;
pub mod clients;
pub mod consent;
pub mod consents;
pub mod device;
pub mod document;
pub mod end_session;
pub mod exchange;
pub mod hint;
pub mod inspection;
pub mod issue;
pub mod metadata;
pub mod possession;
pub mod pushed;
pub mod registration;
pub mod request_object;
pub mod token;
pub mod userinfo;

use url::Url;

use crate::context::Context;
use crate::error::Result;
use crate::handlers::Call;
use crate::handlers::authenticate::{Authenticated, Authentication, Depth};
use crate::id::{Id, User};
use crate::secret::sha256_base64url;

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
pub async fn person(call: &Call) -> Result<Option<Authenticated>> {
    Ok(match call.visitor(Depth::Database).await? {
        Authentication::Authenticated(one)
            if !one.session.user.is_anonymous && one.session.impersonated_by.is_none() =>
        {
            Some(*one)
        }
        _ => None,
    })
}

/// What a client calls a user (OpenID Connect Core 1.0, section 8): their id, or a name that no other sector knows. An id is
/// random, and no pairwise client ever sees it, so its digest cannot be told from another's.
#[must_use]
pub fn subject(user: &Id<User>, is_pairwise: bool, redirect_uris: &[String]) -> String {
    if !is_pairwise {
        return user.as_str().to_owned();
    }
    let sector = redirect_uris.first().and_then(|uri| Url::parse(uri).ok());
    let sector = sector.as_ref().and_then(Url::host_str).unwrap_or_default();
    sha256_base64url(&format!("pairwise\0{sector}\0{user}"))
}
