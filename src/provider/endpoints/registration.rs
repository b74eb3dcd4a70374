//! Clients that register themselves (RFC 7591), and look after their registration (RFC 7592).

use serde_json::{Value, json};

use crate::http::reply::Reply;
use crate::platform::config::Registration;
use crate::platform::d1::{Statement, StoreError, must_change};
use crate::platform::error::Result;
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::{InitialAccessToken, RegistrationToken, Token, equal_in_constant_time, sha256_base64url};
use crate::provider::authenticate_client::open;
use crate::provider::clients::{New, client_json};
use crate::provider::store::client::{Keeper, ListedClient};
use crate::provider::subject::issuer;
use crate::provider::userinfo::read_access_token;
use crate::provider::{client_registration, clients, store};
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::call::Call;
use crate::{records, request};

fn not_good(reason: &str) -> Problem {
    Problem::new(Code::InvalidToken, "the access token is not good").because(reason)
}

/// `POST /oauth2/register` (RFC 7591, section 3.1), where it is open, or with an initial access token.
///
/// # Errors
/// 400, 401, 403 where it is closed, 429.
pub async fn register(call: &mut Call) -> Result<Reply> {
    let metadata = client_registration::read_metadata(&mut call.request).await?;
    let context = &call.context;
    open(context)?;
    let registration = context.config.registration;
    let presented = read_access_token(context);
    let condition = match presented {
        _ if registration == Registration::Open => {
            client_registration::check_registration_limit(context).await?;
            None
        }
        Some(text) if registration >= Registration::Token => {
            let token: Token<InitialAccessToken> = Token::parse(&text).ok_or_else(|| not_good("malformed"))?;
            // Good once: whoever copies it finds it used.
            Some((request::store::verification::take(context, &token.hash(), None), not_good("used, or too old")))
        }
        None if registration >= Registration::Token => return Err(not_good("no initial access token").into()),
        _ => return Err(Problem::new(Code::AccessDenied, "registration is closed").into()),
    };
    let token: Token<RegistrationToken> = Token::new(context.random()?);
    let new = New { metadata: &metadata, permit: None, owner: None, by: None, registration: Some(&token), condition };
    let mut body = clients::create_client(context, new).await?;
    body["registration_access_token"] = json!(token.expose());
    let id = body["client_id"].as_str().unwrap_or_default();
    body["registration_client_uri"] = json!(format!("{}/oauth2/register/{id}", issuer(context)));
    Ok(Reply::json(201, &body)?.with("cache-control", "no-store"))
}

/// The client that asks about itself, and its token's hash.
async fn itself(call: &Call) -> Result<(ListedClient, Token<RegistrationToken>)> {
    let context = &call.context;
    open(context)?;
    let text = read_access_token(context).ok_or_else(|| not_good("none"))?;
    let token: Token<RegistrationToken> = Token::parse(&text).ok_or_else(|| not_good("malformed"))?;
    let id = call.segment.as_deref().unwrap_or_default();
    let found: Option<ListedClient> =
        context.db()?.first(store::client::one(context, id, Keeper::Itself(&token.hash()))).await?;
    // RFC 7592, section 2.1: a client that is gone, or another's, is answered as a token that is not good.
    let found = found.filter(|client| !client.disabled).ok_or_else(|| not_good("of no client, or another's"))?;
    Ok((found, token))
}

/// A registration as its client sees it (RFC 7592, section 3).
fn described(context: &Context, client: &ListedClient, token: &Token<RegistrationToken>) -> Value {
    let mut body = client_json(client);
    body["registration_client_uri"] = json!(format!("{}/oauth2/register/{}", issuer(context), client.client_id));
    body["registration_access_token"] = json!(token.expose());
    body
}

/// `GET /oauth2/register/:client_id` (RFC 7592, section 2.1). A secret is shown once, and not here.
///
/// # Errors
/// 401.
pub async fn read(call: &mut Call) -> Result<Reply> {
    let (client, token) = itself(call).await?;
    let body = described(&call.context, &client, &token);
    Ok(Reply::json(200, &body)?.with("cache-control", "no-store"))
}

/// `PUT /oauth2/register/:client_id` (section 2.2): the metadata as a whole. A client that is to have a secret and has none is
/// answered one.
///
/// # Errors
/// 400, 401.
pub async fn replace(call: &mut Call) -> Result<Reply> {
    let metadata = client_registration::read_metadata(&mut call.request).await?;
    let (client, token) = itself(call).await?;
    let context = &call.context;
    let invalid = |description| Problem::new(Code::InvalidRequest, description);
    if metadata.get("client_id").and_then(Value::as_str) != Some(&client.client_id) {
        return Err(invalid("client_id is missing, or another").into());
    }
    // What is ours to say has no place here (section 2.2).
    let ours =
        ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"];
    if ours.iter().any(|name| metadata.contains_key(*name)) {
        return Err(invalid("a member is ours to say").into());
    }
    // A secret that comes along has to be the client's own (section 2.2).
    if let Some(secret) = metadata.get("client_secret") {
        let hash = secret.as_str().map(sha256_base64url).unwrap_or_default();
        if !client.secret_hash.as_ref().is_some_and(|own| equal_in_constant_time(own, &hash)) {
            return Err(invalid("client_secret is another").into());
        }
    }
    let hash = token.hash();
    let (changed, secret) =
        clients::update_client(context, &client, Keeper::Itself(&hash), &metadata, None, None).await?;
    let mut body = described(context, &changed, &token);
    if let Some(secret) = secret {
        client_registration::put_secret(&mut body, &secret);
    }
    Ok(Reply::json(200, &body)?.with("cache-control", "no-store"))
}

/// `DELETE /oauth2/register/:client_id` (section 2.3): with its tokens and what was agreed to.
///
/// # Errors
/// 401.
pub async fn delete(call: &mut Call) -> Result<Reply> {
    let (client, token) = itself(call).await?;
    let (context, hash) = (&call.context, token.hash());
    let (id, details) = (context.row_id()?, json!({ "client_id": client.client_id }));
    let statements: [Statement; 3] = [
        store::client::delete(context, &client.client_id, Keeper::Itself(&hash)),
        must_change(),
        records::store::audit::audit(context, &id, None, "client.deleted", Severity::Medium, &details),
    ];
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Err(not_good("deleted meanwhile").into()),
        other => other?,
    };
    Ok(Reply::empty(204))
}
