//! Clients as their owners and administrators make, change and see them.

use serde_json::{Map, Value, json};
use url::Url;

use crate::access::action::Permit;
use crate::platform::algorithm::SigningAlgorithm;
use crate::platform::d1::{Statement, StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, OauthClient, User};
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::{ClientSecret, RegistrationToken, Token};
use crate::provider::client::NewClient;
use crate::provider::client_registration::put_secret;
use crate::provider::registration::{Terms, is_administered, judge, keeps_vouched};
use crate::provider::store;
use crate::provider::store::client::{Keeper, ListedClient, NewRow};
use crate::provider::subject::issuer;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::{jose, records, request, session};

/// A client's metadata, as it is answered (RFC 7591, section 3.2.1).
#[must_use]
pub fn client_json(client: &ListedClient) -> Value {
    let mut body = Value::Object(client.metadata.clone());
    body["client_id"] = json!(client.client_id);
    body["client_id_issued_at"] = json!(client.created_at / 1000);
    body
}

pub(crate) fn client_not_found() -> Error {
    Error::refused(Wire::CLIENT_NOT_FOUND, "unknown, or another's")
}

/// A client to be made.
pub struct New<'a> {
    /// What is said of it.
    pub metadata: &'a Map<String, Value>,
    /// By which an administrator makes it, who is trusted.
    pub permit: Option<&'a Permit>,
    /// Whose it will be.
    pub owner: Option<&'a Id<User>>,
    /// Who makes it.
    pub by: Option<&'a Id<User>>,
    /// What it changes its registration with.
    pub registration: Option<&'a Token<RegistrationToken>>,
    /// What has to change something, or else nothing is made, and what is said then.
    pub condition: Option<(Statement, Problem)>,
}

/// What is allowed to a caller who registers a client here.
#[must_use]
pub fn terms(context: &Context, is_trusted: bool) -> Terms<'_> {
    let config = &context.config;
    Terms {
        is_trusted,
        development: config.development,
        algorithms: &config.signing_algorithms,
        issuer: issuer(context),
        redirect_uris_allowed: &config.redirect_uris_allowed,
    }
}

/// Makes the keys that a client's tokens will be signed with: its verifier reads the JWK set before it has met one of them.
///
/// # Errors
/// 503.
pub async fn make_signing_key(context: &Context, new: &NewClient) -> Result<()> {
    let details = &new.details;
    let wanted = [
        Some(details.id_token_signed_response_alg),
        Some(details.authorization_signed_response_alg),
        Some(details.introspection_signed_response_alg),
        details.userinfo_signed_response_alg,
    ];
    for algorithm in SigningAlgorithm::ALL {
        if algorithm != SigningAlgorithm::default() && wanted.contains(&Some(algorithm)) {
            jose::store::signer_for(context, algorithm).await?;
        }
    }
    Ok(())
}

/// Whether what we are to ask of a client is elsewhere.
///
/// # Errors
/// `invalid_client_metadata`; 503.
async fn refuse_own_addresses(context: &Context, new: &NewClient) -> Result<()> {
    for text in [&new.jwks_uri, &new.backchannel_logout_uri].into_iter().flatten() {
        let Ok(url) = Url::parse(text) else { continue };
        if request::store::directory::is_own(&context.env, &context.config, context.binding(), &url, context.now)
            .await?
        {
            let description = "jwks_uri and backchannel_logout_uri must not be on a host of this server's own, nor on an origin behind its gate";
            return Err(Problem::new(Code::InvalidClientMetadata, description).because(text.clone()).into());
        }
    }
    Ok(())
}

/// Registers a client; answers what it is told.
///
/// # Errors
/// `invalid_redirect_uri`, `invalid_client_metadata`; the condition's.
pub async fn create_client(context: &Context, new: New<'_>) -> Result<Value> {
    let judged = judge(new.metadata, &terms(context, new.permit.is_some()))?;
    refuse_own_addresses(context, &judged).await?;
    make_signing_key(context, &judged).await?;
    let id: Id<OauthClient> = context.id()?;
    let client_id = context.row_id()?;
    let secret =
        if judged.auth_method.has_secret() { Some(Token::<ClientSecret>::new(context.random()?)) } else { None };
    let (secret_hash, registration) = (secret.as_ref().map(Token::hash), new.registration.map(Token::hash));
    let row = NewRow {
        id: &id,
        client_id: &client_id,
        secret: secret_hash.as_ref(),
        registration: registration.as_ref(),
        owner: new.owner,
    };
    let details = json!({ "client_id": client_id, "name": judged.name });
    let event = context.row_id()?;
    let mut statements: Vec<Statement> = new.permit.map(session::store::permission::holds_still).into_iter().collect();
    let unless = new.condition.map(|(statement, problem)| {
        statements.extend([statement, must_change()]);
        problem
    });
    let before = statements.len();
    statements.extend([
        store::client::create(context, &row, &judged),
        records::store::audit::audit(context, &event, new.by, "client.registered", Severity::Medium, &details),
        store::client::one(context, &client_id, Keeper::Tenant),
    ]);
    let answers = match (context.db()?.batch(statements).await, unless) {
        (Err(StoreError::Unchanged), Some(problem)) => return Err(problem.into()),
        (answers, _) => answers?,
    };
    let listed: Option<ListedClient> = answers.skip(before + 2).row()?;
    let listed = listed.ok_or_else(|| Error::Internal("the client just made is not there".to_owned()))?;
    let mut body = client_json(&listed);
    if let Some(secret) = &secret {
        put_secret(&mut body, secret);
    }
    Ok(body)
}

/// Gives a client other metadata. One that is to have a secret from now on, and had none, gets one.
///
/// # Errors
/// As [`create_client`]; 409 if somebody else changed it meanwhile.
pub async fn update_client(
    context: &Context,
    client: &ListedClient,
    keeper: Keeper<'_>,
    metadata: &Map<String, Value>,
    permit: Option<&Permit>,
    by: Option<&Id<User>>,
) -> Result<(ListedClient, Option<Token<ClientSecret>>)> {
    let is_trusted = matches!(keeper, Keeper::Tenant | Keeper::Everybody);
    // What an administrator gave is not for the client, or its owner, to keep while they change the rest.
    if !is_trusted && (is_administered(&client.metadata) || keeps_vouched(&client.metadata, metadata)) {
        let problem = Problem::new(Code::InvalidClientMetadata, "this client is an administrator's to change");
        return Err(problem.into());
    }
    let judged = judge(metadata, &terms(context, is_trusted))?;
    refuse_own_addresses(context, &judged).await?;
    make_signing_key(context, &judged).await?;
    let had_secret = client.metadata.get("token_endpoint_auth_method").and_then(Value::as_str);
    let had_secret = had_secret.is_some_and(|method| method.starts_with("client_secret"));
    let gets_secret = judged.auth_method.has_secret() && !had_secret;
    let secret = if gets_secret { Some(Token::<ClientSecret>::new(context.random()?)) } else { None };
    let hash = secret.as_ref().map(Token::hash);
    let (event, details) = (context.row_id()?, json!({ "client_id": client.client_id }));
    let mut statements: Vec<Statement> = permit.map(session::store::permission::holds_still).into_iter().collect();
    statements.extend([
        store::client::replace(context, &client.client_id, keeper, &judged, (client.updated_at, hash.as_ref())),
        must_change(),
        records::store::audit::audit(context, &event, by, "client.updated", Severity::Medium, &details),
        store::client::one(context, &client.client_id, keeper),
    ]);
    let answers = match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Err(Error::refused(Wire::CLIENT_CHANGED, "changed or deleted meanwhile")),
        other => other?,
    };
    let changed: Option<ListedClient> = answers.last()?;
    Ok((changed.ok_or_else(client_not_found)?, secret))
}
