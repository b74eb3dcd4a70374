//! `id_token_hint`: an ID token of ours that comes back, however old it is.

use serde_json::Value;

use crate::jose;
use crate::jose::jws::{KeySet, UnverifiedJws, audiences};
use crate::platform::error::Result;
use crate::platform::problem::{Code, Problem};
use crate::provider::client::Client;
use crate::provider::parameters::Parameters;
use crate::provider::subject::issuer;
use crate::request::context::Context;

/// What it says.
pub struct Hint {
    /// Whom it was given to.
    pub client_id: Option<String>,
    /// What that client calls the user.
    pub subject: String,
    /// The session.
    pub session: Option<String>,
}

/// Takes the hint out of an authorization request, and says whom it names. The token itself is kept nowhere.
///
/// # Errors
/// Within, `invalid_request` for one that is not of ours or another client's; 503.
pub async fn take_hint(
    context: &Context,
    client: &Client,
    parameters: &mut Parameters,
) -> Result<std::result::Result<Option<String>, Problem>> {
    let Some(text) = parameters.remove("id_token_hint") else {
        return Ok(Ok(None));
    };
    let hint = read_hint(context, &text).await?.filter(|hint| hint.client_id.as_deref() == Some(&client.client_id));
    let bad = || Problem::new(Code::InvalidRequest, "id_token_hint is not of ours, or another client's");
    Ok(hint.map(|hint| Some(hint.subject)).ok_or_else(bad))
}

/// Reads it; `None` if it is not of ours.
///
/// # Errors
/// 503.
pub async fn read_hint(context: &Context, text: &str) -> Result<Option<Hint>> {
    let keys = KeySet(jose::store::published(context).await?);
    let token = UnverifiedJws(text);
    if token.kind().is_some_and(|kind| kind != "jwt") {
        return Ok(None);
    }
    let Ok(verified) = token.verify(&keys) else {
        return Ok(None);
    };
    let claims = verified.claims;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    // Every ID token of ours goes with an access token; signed userinfo, of the same type, does not.
    let is_id_token = claims.contains_key("at_hash") && text("iss").as_deref() == Some(&issuer(context));
    let Some(subject) = text("sub").filter(|_| is_id_token) else {
        return Ok(None);
    };
    let client_id = audiences(&claims).first().map(|client| (*client).to_owned());
    Ok(Some(Hint { client_id, subject, session: text("sid") }))
}
