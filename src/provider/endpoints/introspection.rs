//! Introspection (RFC 7662) and revocation (RFC 7009).

use serde_json::{Value, json};

use crate::http::reply::Reply;
use crate::jose;
use crate::platform::error::{Error, Result};
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::sha256_base64url;
use crate::provider::assurance::acr;
use crate::provider::authenticate_client::{SingleUse, authenticate_client};
use crate::provider::authorize::refuse_doubled_parameter;
use crate::provider::client::Client;
use crate::provider::client_authentication::UnverifiedClient;
use crate::provider::parameters::Parameters;
use crate::provider::store;
use crate::provider::store::token::FoundToken;
use crate::provider::subject::{issuer, subject_identifier};
use crate::request::context::Context;
use crate::session::call::Call;

/// The client that asks, the token that it asks about, and what is good once.
async fn load(call: &mut Call) -> Result<(Client, Option<FoundToken>, SingleUse)> {
    let form = call.request.form().await?;
    let parameters = Parameters::parse(&form).map_err(refuse_doubled_parameter)?;
    let context = &call.context;
    let presented = UnverifiedClient::read(context.header("Authorization").as_deref(), &parameters)?;
    let missing = || Problem::new(Code::InvalidRequest, "token is missing");
    let hash = sha256_base64url(parameters.get("token").ok_or_else(missing)?);
    let statements = [store::client::by_client_id(context, &presented.client_id), store::token::find(context, &hash)];
    let mut answers = context.db()?.batch(statements).await?;
    let client: Option<Client> = answers.row()?;
    let found: Option<FoundToken> = answers.row()?;
    let (client, once) = authenticate_client(context, client, &presented).await?;
    Ok((client, found, once))
}

/// The media type of an answer that is a JWT (RFC 9701, section 4).
const JWT: &str = "application/token-introspection+jwt";

/// `POST /oauth2/introspect`: for the client that the token is of, and for the resource that it is for. Nobody else learns
/// whether it is good. Who asks for a JWT gets one (RFC 9701).
///
/// # Errors
/// 401 `invalid_client`, also for public clients.
pub async fn introspect(call: &mut Call) -> Result<Reply> {
    let (client, found, once) = load(call).await?;
    let context = &call.context;
    if client.is_public() {
        let problem = Problem::new(Code::InvalidClient, "client authentication failed");
        return Err(problem.because("a public client asks about tokens").into());
    }
    once.write(context, Vec::new()).await?;
    let is_concerned = |found: &FoundToken| found.client_id == client.client_id || client.is_among(&found.audience);
    let body = match found.filter(|found| found.is_good && is_concerned(found)) {
        Some(found) => described(context, &found),
        None => json!({ "active": false }),
    };
    let is_jwt = |kind: &str| kind.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(JWT));
    if !context.header("Accept").is_some_and(|accept| accept.split(',').any(is_jwt)) {
        return Reply::json(200, &body);
    }
    // Section 5: no `sub` and no `exp` outside, so that it passes for no other token.
    let Value::Object(claims) = json!({
        "iss": issuer(context), "aud": client.client_id, "iat": context.now / 1000, "token_introspection": body,
    }) else {
        return Err(Error::Internal("claims that are no object".to_owned()));
    };
    let signer = jose::store::signer_for(context, client.details.introspection_signed_response_alg).await?;
    let token = signer.sign_claims("token-introspection+jwt", claims).await?;
    Ok(Reply::text(200, JWT, token))
}

fn described(context: &Context, found: &FoundToken) -> Value {
    let issuer = issuer(context);
    let mut body = json!({
        "active": true, "scope": found.scope, "client_id": found.client_id, "iss": issuer,
        "iat": found.created_at / 1000, "exp": found.expires_at / 1000,
    });
    if found.kind == "access" {
        body["token_type"] = json!(found.cnf.token_type());
    }
    if !found.cnf.is_none() {
        body["cnf"] = json!(found.cnf);
    }
    if let Some(act) = &found.act {
        body["act"] = act.clone();
    }
    body["aud"] = if found.audience.is_empty() {
        json!(crate::provider::subject::userinfo(context))
    } else {
        json!(found.audience)
    };
    match &found.person {
        Some(person) => {
            body["sub"] =
                json!(subject_identifier(context.pairwise(found.is_pairwise), &person.id, &found.redirect_uris));
            // By name as far as the client was told it (RFC 7662, section 5): not its user's address without its scope.
            let has = |name: &str| found.scope.split(' ').any(|scope| scope == name);
            let username = person.username.as_ref().filter(|_| has("profile"));
            if let Some(name) = username.or_else(|| has("email").then_some(&person.email)) {
                body["username"] = json!(name);
            }
        }
        None => body["sub"] = json!(found.client_id),
    }
    if let Some(at) = found.authenticated_at {
        body["auth_time"] = json!(at / 1000);
        if let Some(acr) = acr(&found.amr, &[]) {
            body["acr"] = json!(acr);
        }
    }
    body
}

/// `POST /oauth2/revoke`: all that came of the same authorization ends with it. A token that is unknown, or another client's,
/// is answered alike (section 2.2).
///
/// # Errors
/// 401 `invalid_client`.
pub async fn revoke(call: &mut Call) -> Result<Reply> {
    let (client, found, once) = load(call).await?;
    let context = &call.context;
    let mut statements = Vec::new();
    if let Some(found) = found.filter(|found| found.client_id == client.client_id) {
        let reason = "revoked by the client";
        // What was got for another client's token is no authorization of its own, and that client's is not ours to end.
        statements.push(match found.origin {
            Some(_) => store::token::revoke(context, &found.id, reason),
            None => store::token::revoke_family(context, &found.family_id, reason),
        });
    }
    once.write(context, statements).await?;
    Ok(Reply::empty(200))
}
