//! What we say of ourselves (OpenID Connect Discovery 1.0, section 3; RFC 8414): nothing that is not so.

use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::provider::metadata::provider_metadata;
use crate::session::call::Call;

/// `GET /.well-known/openid-configuration`, and `/.well-known/oauth-authorization-server`.
///
/// # Errors
/// None that happens.
pub async fn document(call: &mut Call) -> Result<Reply> {
    let body = provider_metadata(&call.context);
    Ok(Reply::json(200, &body)?.with("cache-control", "public, max-age=300"))
}
