//! Fetching the metadata of an issuer (OpenID Connect Discovery 1.0, section 4).

use crate::federation::discovery;
use crate::federation::discovery::Metadata;
use crate::request::context::Context;
use crate::request::fetch;

/// Reads the discovery document below a URL, which must be of `issuer`.
///
/// # Errors
/// What went wrong.
pub async fn fetch_metadata(context: &Context, base_url: &str, issuer: &str) -> Result<Metadata, String> {
    let document = fetch::fetch_document(context, &discovery::discovery_url(base_url)).await?;
    discovery::read_metadata(&document, issuer, context.config.development)
}
