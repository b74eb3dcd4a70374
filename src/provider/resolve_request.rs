//! Requests that their client signed (RFC 9101).

use crate::jose::jws::UnverifiedJws;
use crate::platform::error::Result;
use crate::platform::problem::{Code, Problem};
use crate::provider::authenticate_client::verify_client_jws;
use crate::provider::client::Client;
use crate::provider::parameters::Parameters;
use crate::provider::request_object::{judge_header, parameters};
use crate::provider::subject::issuer;
use crate::request::context::Context;

/// The parameters that count: those of the request object, where there is one, and nothing beside it (section 6.3).
///
/// # Errors
/// `invalid_request_object`; `invalid_request` for a client whose requests have to be signed.
pub async fn resolve_request_object(context: &Context, client: &Client, given: Parameters) -> Result<Parameters> {
    let Some(text) = given.get("request") else {
        if client.details.require_signed_request_object {
            return Err(Problem::new(Code::InvalidRequest, "this client signs its requests").into());
        }
        return Ok(given);
    };
    let jws = UnverifiedJws(text);
    judge_header(jws, client)?;
    let bad =
        |reason: String| Problem::new(Code::InvalidRequestObject, "the request object is not good").because(reason);
    let verified = verify_client_jws(context, client, jws).await.map_err(bad)?;
    Ok(parameters(&verified.claims, client, &issuer(context), context.now)?)
}
