//! Dynamic client registration (RFC 7591): limits, metadata, and the secret of a client.

use serde_json::{Map, Value, json};

use crate::http::incoming::{Incoming, Media};
use crate::platform::error::{Error, Result};
use crate::platform::secret::{ClientSecret, Token};
use crate::request;
use crate::request::context::Context;

/// The body of a request, as it is.
///
/// # Errors
/// 400, 415.
pub async fn read_metadata(request: &mut Incoming) -> Result<Map<String, Value>> {
    let mut fields = request.fields(Media::Json).await?;
    let names: Vec<String> = fields.names().map(str::to_owned).collect();
    Ok(names.into_iter().filter_map(|name| fields.take(&name).map(|value| (name, value))).collect())
}

/// Counts what anybody may do.
///
/// # Errors
/// 429.
pub async fn check_registration_limit(context: &Context) -> Result<()> {
    let limit = context.config.limit_sign_up;
    let tenant = context.tenant().id.as_str();
    let key = request::store::rate_limit::key(&context.config, "register-client", tenant, &context.client().network());
    let window: Option<request::store::rate_limit::Window> =
        context.db()?.first(request::store::rate_limit::count(&key, limit, context.now)).await?;
    match window.and_then(|window| window.retry_after(limit, context.now)) {
        Some(retry_after) => Err(Error::TooManyRequests { retry_after, limit: "clients by network" }),
        None => Ok(()),
    }
}

/// Shows a secret, the one time.
pub fn put_secret(body: &mut Value, secret: &Token<ClientSecret>) {
    body["client_secret"] = json!(secret.expose());
    body["client_secret_expires_at"] = json!(0);
}
