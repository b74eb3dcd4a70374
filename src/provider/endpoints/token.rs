//! The token endpoint (RFC 6749, section 3.2): at most one batch that reads, and one that writes.

use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::provider::authorize::refuse_doubled_parameter;
use crate::provider::parameters::Parameters;
use crate::provider::token_grant;
use crate::session::call::Call;

/// `POST /oauth2/token`.
///
/// # Errors
/// OAuth's own; 415, 503.
pub async fn token(call: &mut Call) -> Result<Reply> {
    let form = call.request.form().await?;
    token_grant::answer_token_request(&call.context, &Parameters::parse(&form).map_err(refuse_doubled_parameter)?).await
}
