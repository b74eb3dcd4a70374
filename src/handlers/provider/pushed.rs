//! Pushed authorization requests (RFC 9126): what a client asks for reaches us before its user does, and no browser can
//! change it.

use serde_json::json;

use crate::error::Result;
use crate::handlers::Call;
use crate::handlers::provider::REQUEST_URI;
use crate::handlers::provider::authorize::doubled;
use crate::handlers::provider::client::{authenticate, replayed};
use crate::http::reply::Reply;
use crate::oauth::authorization::judge;
use crate::oauth::client::Client;
use crate::oauth::client_authentication::{CREDENTIALS, UnverifiedClient};
use crate::oauth::parameters::Parameters;
use crate::oauth::problem::{Code, Problem};
use crate::secret::{KeptRequest, Token};
use crate::store;
use crate::store::database::StoreError;
use crate::store::oauth::grant::Kept;

/// How long a pushed request waits for its user, in seconds.
const SECONDS: i64 = 90;

/// `POST /oauth2/par`.
///
/// # Errors
/// 401 `invalid_client`, 400 for a request that would be refused at the authorization endpoint.
pub async fn push(call: &mut Call) -> Result<Reply> {
    let form = call.request.form().await?;
    let mut parameters = Parameters::parse(&form).map_err(doubled)?;
    let context = &call.context;
    let presented = UnverifiedClient::read(context.header("Authorization").as_deref(), &parameters)?;
    let found = context.db()?.first(store::oauth::client::by_client_id(context, &presented.client_id)).await?;
    let (client, once): (Client, _) = authenticate(context, found, &presented).await?;
    if parameters.get("request_uri").is_some() {
        return Err(Problem::new(Code::InvalidRequest, "request_uri is what this answers with").into());
    }
    for name in CREDENTIALS {
        parameters.remove(name);
    }
    parameters.set("client_id", &client.client_id);
    judge(&parameters, &client).map_err(|refused| refused.problem)?;
    let token: Token<KeptRequest> = Token::new(context.random()?);
    let kept = Kept { parameters, signed_in_after: None, asks: None, is_pushed: true };
    let mut statements = once.statements(context)?;
    statements.push(store::oauth::grant::keep_request(context, &token.hash(), &client.id, &kept, SECONDS)?);
    match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(column)) if column.starts_with("verification.") => return Err(replayed().into()),
        other => other?,
    };
    let body = json!({ "request_uri": format!("{REQUEST_URI}{}", token.expose()), "expires_in": SECONDS });
    Ok(Reply::json(201, &body)?.with("cache-control", "no-store"))
}
