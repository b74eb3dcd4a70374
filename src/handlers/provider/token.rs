//! The token endpoint (RFC 6749, section 3.2): at most one batch that reads, and one that writes.

use serde_json::Value;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::handlers::Call;
use crate::handlers::provider::authorize::doubled;
use crate::handlers::provider::client::{Once, authenticate, replayed};
use crate::handlers::provider::issue::Issue;
use crate::http::reply::Reply;
use crate::oauth::authorization::judge_resource;
use crate::oauth::client::{AuthMethod, Client, GrantType};
use crate::oauth::client_authentication::UnverifiedClient;
use crate::oauth::device::{self, Stored};
use crate::oauth::parameters::Parameters;
use crate::oauth::problem::{Code, Problem};
use crate::oauth::token::{Denied, Refresh, StoredCode, StoredRefresh, narrowed, redeem, refresh, resources};
use crate::secret::{AuthorizationCode, DeviceCode, Purpose, RefreshToken, Token};
use crate::store;
use crate::store::database::{Answers, Statement, StoreError, must_change};

/// The scope that asks for a refresh token (OpenID Connect Core 1.0, section 11).
const OFFLINE: &str = "offline_access";

/// `POST /oauth2/token`.
///
/// # Errors
/// OAuth's own; 415, 503.
pub async fn token(call: &mut Call) -> Result<Reply> {
    let form = call.request.form().await?;
    let parameters = Parameters::parse(&form).map_err(doubled)?;
    let context = &call.context;
    let presented = UnverifiedClient::read(context.header("Authorization").as_deref(), &parameters)?;
    let missing = || Problem::new(Code::InvalidRequest, "grant_type is missing");
    let grant_type = parameters.get("grant_type").ok_or_else(missing)?;
    let unsupported = || Problem::new(Code::UnsupportedGrantType, "grant_type is not one of ours");
    let grant = GrantType::parse(grant_type).ok_or_else(unsupported)?;
    let mut statements = vec![
        store::oauth::client::by_client_id(context, &presented.client_id),
        store::sign_in::tenant_is_active(&context.tenant().id),
    ];
    statements.extend(wanted(context, grant, &parameters)?);
    let mut answers = context.db()?.batch(statements).await?;
    let client: Option<Client> = answers.row()?;
    let is_active: bool = answers.row()?.unwrap_or(false);
    let (client, once) = authenticate(context, client, &presented).await?;
    if !is_active {
        return Err(Problem::new(Code::AccessDenied, "this organization is not available").into());
    }
    if !client.may(grant) {
        return Err(Problem::new(Code::UnauthorizedClient, "the client may not use this grant").into());
    }
    let body = match grant {
        GrantType::AuthorizationCode => by_code(context, &client, &parameters, &mut answers, &once).await?,
        GrantType::RefreshToken => by_refresh(context, &client, &parameters, &mut answers, &once).await?,
        GrantType::ClientCredentials => by_credentials(context, &client, &parameters, &once).await?,
        GrantType::DeviceCode => by_device(context, &client, &mut answers, &once).await?,
    };
    // RFC 6749, section 5.1.
    Ok(Reply::json(200, &body)?.with("cache-control", "no-store").with("pragma", "no-cache"))
}

fn presented_code(parameters: &Parameters) -> Result<Token<AuthorizationCode>> {
    let text = parameters.get("code").ok_or_else(|| Problem::new(Code::InvalidRequest, "code is missing"))?;
    Token::parse(text).ok_or_else(|| not_good("not of our making"))
}

fn presented_refresh(parameters: &Parameters) -> Result<Token<RefreshToken>> {
    let missing = || Problem::new(Code::InvalidRequest, "refresh_token is missing");
    let text = parameters.get("refresh_token").ok_or_else(missing)?;
    Token::parse(text).ok_or_else(|| not_good("not of our making"))
}

fn presented_device(parameters: &Parameters) -> Result<Token<DeviceCode>> {
    let missing = || Problem::new(Code::InvalidRequest, "device_code is missing");
    let text = parameters.get("device_code").ok_or_else(missing)?;
    Token::parse(text).ok_or_else(|| not_good("not of our making"))
}

fn not_good(reason: &str) -> Error {
    Problem::new(Code::InvalidGrant, "the code or token is not good, or another client's").because(reason).into()
}

fn wanted(context: &Context, grant: GrantType, parameters: &Parameters) -> Result<Vec<Statement>> {
    Ok(match grant {
        GrantType::AuthorizationCode => vec![store::oauth::grant::code(context, &presented_code(parameters)?.hash())],
        GrantType::RefreshToken => {
            vec![store::oauth::token::refresh(context, &presented_refresh(parameters)?.hash())]
        }
        GrantType::DeviceCode => Vec::from(store::oauth::device::poll(context, &presented_device(parameters)?.hash())),
        GrantType::ClientCredentials => Vec::new(),
    })
}

/// Ends all that came of an authorization, if what was used before was presented again (RFC 6749, section 4.1.2; RFC 9700,
/// section 4.14.2).
async fn deny(context: &Context, family: &str, denied: Denied) -> Error {
    if denied.is_replay {
        let revoke = store::oauth::token::revoke_family(context, family, "replayed");
        let written = match context.db() {
            Ok(db) => db.batch([revoke]).await.map(|_| ()),
            Err(error) => Err(error),
        };
        // What could not be revoked must not look revoked.
        if let Err(error) = written {
            return error.into();
        }
    }
    denied.problem.into()
}

/// What a conflict of the last batch means: the assertion was used before.
fn last(answer: std::result::Result<Answers, StoreError>) -> Result<()> {
    match answer {
        Err(StoreError::Conflict(column)) if column.starts_with("verification.") => Err(replayed().into()),
        other => Ok(other.map(|_| ())?),
    }
}

async fn by_code(
    context: &Context,
    client: &Client,
    parameters: &Parameters,
    answers: &mut Answers,
    once: &Once,
) -> Result<Value> {
    let code: Option<StoredCode> = answers.row()?;
    let code = code.ok_or_else(|| not_good("unknown"))?;
    if let Err(denied) = redeem(&code, client, parameters, context.now) {
        return Err(deny(context, &code.id, denied).await);
    }
    let granted = &code.request;
    let scope = granted.request.scopes.join(" ");
    let resources = resources(&granted.request.resources, parameters)?;
    let stays = client.may(GrantType::RefreshToken) && granted.request.scopes.iter().any(|scope| scope == OFFLINE);
    let issue = Issue {
        client,
        user: Some(&code.user_id),
        session: code.session_id.as_ref(),
        family: &code.id,
        scope: &scope,
        resources: &resources,
        authenticated_at: Some(granted.authenticated_at),
        amr: &granted.amr,
        nonce: granted.request.nonce.as_deref(),
        refresh: if stays { Some(Token::new(context.random()?)) } else { None },
        refresh_is_kept: false,
        refresh_scope: &scope,
        refresh_resources: &granted.request.resources,
    };
    let (body, tokens) = issue.carry_out(context).await?;
    let mut statements = vec![store::oauth::grant::redeem(context, &code.id), must_change()];
    statements.extend(once.statements(context)?);
    statements.extend(tokens);
    match context.db()?.batch(statements).await {
        // Of many at once one redeems it, and the others show that somebody has it who should not.
        Err(StoreError::Unchanged) => {
            let problem = Problem::new(Code::InvalidGrant, "the code or token is not good, or another client's");
            let denied = Denied { problem: problem.because("redeemed by another request"), is_replay: true };
            Err(deny(context, &code.id, denied).await)
        }
        other => {
            last(other)?;
            Ok(body)
        }
    }
}

async fn by_refresh(
    context: &Context,
    client: &Client,
    parameters: &Parameters,
    answers: &mut Answers,
    once: &Once,
) -> Result<Value> {
    let stored: Option<StoredRefresh> = answers.row()?;
    let stored = stored.ok_or_else(|| not_good("unknown"))?;
    let decision = match refresh(&stored, client, context.now) {
        Ok(decision) => decision,
        Err(denied) => return Err(deny(context, &stored.family_id, denied).await),
    };
    let scope = narrowed(&stored.scope, parameters)?;
    let resources = resources(&stored.audience, parameters)?;
    // The successor follows from the token, so that whoever lost our answer gets the same once more, and nothing that opens
    // anything is kept.
    let presented = presented_refresh(parameters)?;
    let seed = context.config.keyring.sign(Purpose::Successor, presented.expose().as_bytes());
    let issue = |refresh_is_kept| Issue {
        client,
        user: Some(&stored.user_id),
        session: stored.session_id.as_ref(),
        family: &stored.family_id,
        scope: &scope,
        resources: &resources,
        authenticated_at: Some(stored.authenticated_at),
        amr: &stored.amr,
        nonce: None,
        refresh: Some(Token::derived(&seed)),
        refresh_is_kept,
        refresh_scope: &stored.scope,
        refresh_resources: &stored.audience,
    };
    if decision == Refresh::Rotate {
        let (body, tokens) = issue(false).carry_out(context).await?;
        let mut statements = vec![store::oauth::token::rotate(context, &stored.id), must_change()];
        statements.extend(once.statements(context)?);
        statements.extend(tokens);
        match context.db()?.batch(statements).await {
            // Another request was quicker: what it was given is given here as well.
            Err(StoreError::Unchanged) => (),
            other => {
                last(other)?;
                return Ok(body);
            }
        }
    }
    let (body, tokens) = issue(true).carry_out(context).await?;
    // It may have been revoked since it was read.
    let mut statements = vec![store::oauth::token::touch(context, &stored.id), must_change()];
    statements.extend(once.statements(context)?);
    statements.extend(tokens);
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => Err(not_good("revoked meanwhile")),
        other => {
            last(other)?;
            Ok(body)
        }
    }
}

/// RFC 6749, section 4.4.
async fn by_credentials(context: &Context, client: &Client, parameters: &Parameters, once: &Once) -> Result<Value> {
    if client.auth_method == AuthMethod::None {
        return Err(Problem::new(Code::UnauthorizedClient, "a public client has no credentials").into());
    }
    parameters.resources().iter().try_for_each(|resource| judge_resource(resource))?;
    // What stands for a user is nothing that a client has by itself.
    let own: Vec<&str> = client
        .scopes
        .iter()
        .map(String::as_str)
        .filter(|scope| !crate::oauth::claims::SCOPES.iter().any(|(known, _)| known == scope))
        .collect();
    let scope = narrowed(&own.join(" "), parameters)?;
    let family = context.row_id()?;
    let issue = Issue {
        client,
        user: None,
        session: None,
        family: &family,
        scope: &scope,
        resources: parameters.resources(),
        authenticated_at: None,
        amr: &[],
        nonce: None,
        refresh: None,
        refresh_is_kept: false,
        refresh_scope: "",
        refresh_resources: &[],
    };
    let (body, tokens) = issue.carry_out(context).await?;
    let mut statements = once.statements(context)?;
    statements.extend(tokens);
    last(context.db()?.batch(statements).await)?;
    Ok(body)
}

/// RFC 8628, section 3.4.
async fn by_device(context: &Context, client: &Client, answers: &mut Answers, once: &Once) -> Result<Value> {
    let stored: Option<Stored> = answers.row()?;
    let stored = stored.ok_or_else(|| not_good("unknown"))?;
    let user = device::poll(&stored, client, context.now)?;
    let scope = stored.scopes.join(" ");
    let stays = client.may(GrantType::RefreshToken) && stored.scopes.iter().any(|scope| scope == OFFLINE);
    let issue = Issue {
        client,
        user: Some(user),
        session: stored.session_id.as_ref(),
        family: &stored.id,
        scope: &scope,
        resources: &[],
        authenticated_at: stored.authenticated_at,
        amr: &stored.amr,
        nonce: None,
        refresh: if stays { Some(Token::new(context.random()?)) } else { None },
        refresh_is_kept: false,
        refresh_scope: &scope,
        refresh_resources: &[],
    };
    let (body, tokens) = issue.carry_out(context).await?;
    let mut statements = vec![store::oauth::grant::redeem(context, &stored.id), must_change()];
    statements.extend(once.statements(context)?);
    statements.extend(tokens);
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => Err(not_good("redeemed by another request")),
        other => {
            last(other)?;
            Ok(body)
        }
    }
}
