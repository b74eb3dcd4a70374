//! Pushed authorization requests (RFC 9126): what a client asks for reaches us before its user does, and no browser can
//! change it.

use serde_json::json;

use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::{KeptRequest, Token};
use crate::provider::authenticate_client::{authenticate_client, check_network_limit};
use crate::provider::authorization::judge;
use crate::provider::authorize::{check_request_size, refuse_doubled_parameter};
use crate::provider::client::Client;
use crate::provider::client_authentication::{CREDENTIALS, UnverifiedClient};
use crate::provider::parameters::Parameters;
use crate::provider::sender_constraint::Held;
use crate::provider::store::grant::NewGrant;
use crate::provider::subject::{REQUEST_URI, issuer};
use crate::provider::{client_id_metadata, id_token_hint, resolve_request, store};
use crate::session::call::Call;

/// `POST /oauth2/par`.
///
/// # Errors
/// 401 `invalid_client`, 400 for a request that would be refused at the authorization endpoint.
pub async fn push(call: &mut Call) -> Result<Reply> {
    let form = call.request.form().await?;
    let mut parameters = Parameters::parse(&form).map_err(refuse_doubled_parameter)?;
    let context = &call.context;
    let presented = UnverifiedClient::read(context.header("Authorization").as_deref(), &parameters)?;
    let found = context.db()?.first(store::client::by_client_id(context, &presented.client_id)).await?;
    let found: Option<Client> = client_id_metadata::load_client(context, &presented.client_id, found).await?;
    let (client, once) = authenticate_client(context, found, &presented).await?;
    let held = Held::read(context, "POST", &format!("{}/oauth2/par", issuer(context)), None)?;
    held.check_algorithm(client.details.fapi)?;
    if parameters.get("request_uri").is_some() {
        return Err(Problem::new(Code::InvalidRequest, "request_uri is what this answers with").into());
    }
    for name in CREDENTIALS {
        parameters.remove(name);
    }
    parameters.set("client_id", &client.client_id);
    let mut parameters = resolve_request::resolve_request_object(context, &client, parameters).await?;
    check_request_size(&mut parameters)?;
    // RFC 9449, section 10.1: a proof here binds the code, as the parameter would.
    if let Some(proof) = &held.proof {
        if parameters.get("dpop_jkt").is_some_and(|jkt| jkt != proof.jkt) {
            return Err(Problem::new(Code::InvalidDpopProof, "dpop_jkt is another key").into());
        }
        parameters.set("dpop_jkt", &proof.jkt);
    }
    judge(&parameters, &client).map_err(|refused| refused.problem)?;
    let wanted = id_token_hint::take_hint(context, &client, &mut parameters).await??;
    let token: Token<KeptRequest> = Token::new(context.random()?);
    let kept = NewGrant { parameters, signed_in_after: None, asks: None, wanted, is_pushed: true, pushed_id: None };
    let seconds = context.config.pushed_request_seconds;
    let keep = store::grant::keep_request(context, &token.hash(), &client.id, &kept, seconds)?;
    let mut statements = check_network_limit(context, &client, "push");
    statements.push(keep);
    once.with_proof(context, &held).write(context, statements).await?;
    let body = json!({ "request_uri": format!("{REQUEST_URI}{}", token.expose()), "expires_in": seconds });
    Ok(Reply::json(201, &body)?.with("cache-control", "no-store"))
}
