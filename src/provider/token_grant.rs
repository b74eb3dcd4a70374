//! The token endpoint (RFC 6749, section 3.2): each grant type.

use serde_json::{Map, Value};

use crate::http::reply::Reply;
use crate::platform::d1::{Answers, Statement};
use crate::platform::error::{Error, Result};
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::{AuthorizationCode, DeviceCode, Purpose, RefreshToken, Token};
use crate::provider::authenticate_client::authenticate_client;
use crate::provider::authorization::judge_resources;
use crate::provider::claims::{Subject, by_name, by_scope};
use crate::provider::client::{Client, GrantType};
use crate::provider::client_authentication::UnverifiedClient;
use crate::provider::device::StoredDevice;
use crate::provider::dpop::Confirmation;
use crate::provider::grant::Granting;
use crate::provider::issue::{Issue, Refreshing, Saying};
use crate::provider::parameters::Parameters;
use crate::provider::scope::SCOPES;
use crate::provider::sender_constraint::Held;
use crate::provider::store::token::Described;
use crate::provider::subject::issuer;
use crate::provider::token::{Denied, Refresh, StoredCode, StoredRefresh, narrowed, redeem, refresh, resources};
use crate::provider::{device, grant, jwt_bearer_grant, refresh_policy, store, token_exchange};
use crate::request::context::Context;
use crate::session::policy;
use crate::users;

/// Answers parameters that were read.
///
/// # Errors
/// An error of OAuth (RFC 6749, section 5.2); 429; 503.
pub async fn answer_token_request(context: &Context, parameters: &Parameters) -> Result<Reply> {
    let presented = UnverifiedClient::read(context.header("Authorization").as_deref(), parameters)?;
    let missing = || Problem::new(Code::InvalidRequest, "grant_type is missing");
    let grant_type = parameters.get("grant_type").ok_or_else(missing)?;
    let unsupported = || Problem::new(Code::UnsupportedGrantType, "grant_type is not one of ours");
    let grant = GrantType::parse(grant_type).ok_or_else(unsupported)?;
    // Before anything is read: the first answer of many brings no more than a nonce.
    let held = Held::read(context, "POST", &format!("{}/oauth2/token", issuer(context)), None)?;
    let mut statements = vec![
        store::client::by_client_id(context, &presented.client_id),
        users::store::sign_in::tenant_is_active(&context.tenant().id),
    ];
    // Who asks is looked at first: a stranger is not told what is wrong with a code.
    let (more, malformed) = match wanted_grant(context, grant, parameters, &presented) {
        Ok(more) => (more, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    statements.extend(more);
    let mut answers = context.db()?.batch(statements).await?;
    let client: Option<Client> = answers.row()?;
    let is_active: bool = answers.row()?.unwrap_or(false);
    let (client, once) = authenticate_client(context, client, &presented).await?;
    if !is_active {
        return Err(Problem::new(Code::AccessDenied, "this organization is not available").into());
    }
    if !client.may(grant) {
        return Err(Problem::new(Code::UnauthorizedClient, "the client may not use this grant").into());
    }
    if let Some(error) = malformed {
        return Err(error);
    }
    // A public client is its user's own device, and comes from where its user is.
    let policy = policy::policy_of_tenant(context)?;
    if client.is_public() && policy.admits(Some(&context.client().ip)).is_err() {
        return Err(
            Problem::new(Code::AccessDenied, "this organization does not allow access from this network").into()
        );
    }
    let (cnf, once) = (held.binding(&client)?, once.with_proof(context, &held));
    let granting = Granting { client: &client, parameters, held: &held, cnf, once };
    let body = match grant {
        GrantType::AuthorizationCode => grant_by_code(context, granting, &mut answers).await?,
        GrantType::RefreshToken => grant_by_refresh_token(context, granting, &mut answers).await?,
        GrantType::ClientCredentials => grant_by_client_credentials(context, granting).await?,
        GrantType::DeviceCode => grant_by_device(context, granting, &mut answers).await?,
        GrantType::TokenExchange => token_exchange::grant_by_exchange(context, granting, &mut answers).await?,
        GrantType::JwtBearer => jwt_bearer_grant::grant_by_assertion(context, granting, &mut answers).await?,
    };
    // RFC 6749, section 5.1.
    Ok(Reply::json(200, &body)?.with("cache-control", "no-store").with("pragma", "no-cache"))
}

fn load_code(parameters: &Parameters) -> Result<Token<AuthorizationCode>> {
    let text = parameters.get("code").ok_or_else(|| Problem::new(Code::InvalidRequest, "code is missing"))?;
    Token::parse(text).ok_or_else(|| not_good("not of our making"))
}

fn load_refresh_token(parameters: &Parameters) -> Result<Token<RefreshToken>> {
    let missing = || Problem::new(Code::InvalidRequest, "refresh_token is missing");
    let text = parameters.get("refresh_token").ok_or_else(missing)?;
    Token::parse(text).ok_or_else(|| not_good("not of our making"))
}

/// What a refresh token is rotated to. It follows from the token, so that a client that lost our answer gets the same once
/// more, and nothing that opens anything is kept.
fn successor(context: &Context, presented: &Token<RefreshToken>) -> Token<RefreshToken> {
    Token::derived(&context.config.keyring.sign(Purpose::Successor, presented.expose().as_bytes()))
}

fn load_device_code(parameters: &Parameters) -> Result<Token<DeviceCode>> {
    let missing = || Problem::new(Code::InvalidRequest, "device_code is missing");
    let text = parameters.get("device_code").ok_or_else(missing)?;
    Token::parse(text).ok_or_else(|| not_good("not of our making"))
}

fn not_good(reason: &str) -> Error {
    Problem::new(Code::InvalidGrant, "the code or token is not good, or another client's").because(reason).into()
}

fn wanted_grant(
    context: &Context,
    grant: GrantType,
    parameters: &Parameters,
    presented: &UnverifiedClient,
) -> Result<Vec<Statement>> {
    Ok(match grant {
        GrantType::AuthorizationCode => vec![store::grant::code(context, &load_code(parameters)?.hash())],
        GrantType::RefreshToken => {
            let presented = load_refresh_token(parameters)?;
            let hash = presented.hash();
            vec![
                store::token::refresh(context, &hash, &successor(context, &presented).hash()),
                store::token::refreshing_user(context, &hash),
            ]
        }
        GrantType::DeviceCode => Vec::from(store::device::poll(context, &load_device_code(parameters)?.hash())),
        GrantType::ClientCredentials => Vec::new(),
        GrantType::TokenExchange => token_exchange::wanted_token(context, parameters)?,
        GrantType::JwtBearer => jwt_bearer_grant::wanted_scopes(context, parameters, &presented.client_id)?,
    })
}

/// Ends all that came of an authorization, if what was used before was presented again (RFC 6749, section 4.1.2; RFC 9700,
/// section 4.14.2).
async fn deny_grant(context: &Context, family: &str, denied: Denied) -> Error {
    if denied.is_replay {
        let revoke = store::token::revoke_family(context, family, "replayed");
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

/// Whether what is granted for these scopes outlives the session.
fn is_offline(client: &Client, scope: &str) -> bool {
    client.lasts(scope.split(' '))
}

/// What an ID token says by its scopes, for a client that reads it there.
fn scope_claims(client: &Client, about: &Subject<'_>, scope: &str) -> Map<String, Value> {
    if client.has_scope_claims() { by_scope(about, scope) } else { Map::new() }
}

/// A refresh token to go with what stays, if it does.
fn refresh_lifetime<'a>(
    context: &Context,
    client: &Client,
    scope: &'a str,
    resources: &'a [String],
) -> Result<Option<Refreshing<'a>>> {
    if !client.may(GrantType::RefreshToken) || !is_offline(client, scope) {
        return Ok(None);
    }
    Ok(Some(Refreshing { token: Token::new(context.random()?), is_kept: false, scope, resources }))
}

async fn grant_by_code(context: &Context, granting: Granting<'_>, answers: &mut Answers) -> Result<Value> {
    let Granting { client, parameters, .. } = granting;
    let code: Option<StoredCode> = answers.row()?;
    let code = code.ok_or_else(|| not_good("unknown"))?;
    if let Err(denied) = redeem(&code, client, parameters, context.now) {
        return Err(deny_grant(context, &code.id, denied).await);
    }
    let request = &code.request.request;
    let bound = Confirmation { jkt: request.dpop_jkt.clone(), certificate: None };
    if !granting.held.confirms(&bound) {
        return Err(not_good("of another key than dpop_jkt"));
    }
    let scope = request.scopes.join(" ");
    let resources = resources(&request.resources, parameters)?;
    // One that there was when it was agreed to may be none any more.
    judge_resources(&resources, client)?;
    let tenant = context.tenant();
    let about = Subject {
        person: &code.person,
        profile: &code.profile,
        roles: &code.roles,
        tenant: (tenant.id.as_str(), &tenant.name),
    };
    let mut claims = scope_claims(client, &about, &scope);
    claims.extend(by_name(&about, &request.claims.id_token));
    let saying =
        Saying { nonce: request.nonce.as_deref(), code: parameters.get("code"), acr: request.wanted_acr(), claims };
    let issue = Issue {
        user: Some(&code.user_id),
        session: code.session_id.as_ref(),
        authenticated_at: Some(code.request.authenticated_at),
        amr: &code.request.amr,
        userinfo_claims: &request.claims.userinfo,
        is_offline: is_offline(client, &scope),
        refresh: refresh_lifetime(context, client, &scope, &request.resources)?,
        id_token: Some(saying),
        ..Issue::new(client, &code.id, (&scope, &resources), granting.cnf.clone())
    };
    let (body, tokens) = issue.carry_out(context).await?;
    let used_up = store::grant::redeem(context, &code.id);
    if grant::commit_tokens(context, &granting.once, used_up, tokens).await?.is_none() {
        // Of many at once one redeems it, and the others show that somebody has it who should not.
        let problem = Problem::new(Code::InvalidGrant, "the code or token is not good, or another client's");
        let denied = Denied { problem: problem.because("redeemed by another request"), is_replay: true };
        return Err(deny_grant(context, &code.id, denied).await);
    }
    Ok(body)
}

/// Which refresh token comes with an answer to one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    /// The successor.
    New,
    /// The successor, which is there already.
    Again,
    /// None: the one that was presented stays good.
    None,
}

async fn grant_by_refresh_token(context: &Context, granting: Granting<'_>, answers: &mut Answers) -> Result<Value> {
    let Granting { client, parameters, .. } = granting;
    let stored: Option<StoredRefresh> = answers.row()?;
    let stored = stored.ok_or_else(|| not_good("unknown"))?;
    let user: Option<Described> = answers.row()?;
    // Before anything else is decided: whoever lacks the key learns nothing, and ends nothing.
    if !granting.held.confirms(&stored.cnf) {
        return Err(not_good("bound to another key"));
    }
    let decision = match refresh(&stored, client, context.now) {
        Ok(decision) => decision,
        Err(denied) => return Err(deny_grant(context, &stored.family_id, denied).await),
    };
    if !refresh_policy::is_sign_in_still_accepted(context, &stored)? {
        return Err(not_good("signed in with less than the tenant's policy asks for now"));
    }
    let scope = narrowed(&stored.scope, parameters)?;
    let resources = resources(&stored.audience, parameters)?;
    judge_resources(&resources, client)?;
    let presented = load_refresh_token(parameters)?;
    let claims = || user.as_ref().map(|user| scope_claims(client, &user.subject(context), &scope)).unwrap_or_default();
    let issue = |given: Given| Issue {
        user: Some(&stored.user_id),
        session: stored.session_id.as_ref(),
        authenticated_at: Some(stored.authenticated_at),
        amr: &stored.amr,
        userinfo_claims: &stored.userinfo_claims,
        is_offline: is_offline(client, &stored.scope),
        refresh: (given != Given::None).then(|| Refreshing {
            token: successor(context, &presented),
            is_kept: given == Given::Again,
            scope: &stored.scope,
            resources: &stored.audience,
        }),
        id_token: Some(Saying { claims: claims(), ..Saying::default() }),
        ..Issue::new(client, &stored.family_id, (&scope, &resources), granting.cnf.clone())
    };
    if decision == Refresh::Keep {
        let (body, tokens) = issue(Given::None).carry_out(context).await?;
        // It is good for as long again as if it had been rotated.
        let until = context.now + context.config.refresh_token_seconds * 1000;
        let alive = store::token::prolong(context, &stored.id, until);
        grant::commit_tokens(context, &granting.once, alive, tokens)
            .await?
            .ok_or_else(|| not_good("revoked meanwhile"))?;
        return Ok(body);
    }
    if decision == Refresh::Rotate {
        let (body, tokens) = issue(Given::New).carry_out(context).await?;
        let used_up = store::token::rotate(context, &stored.id);
        // Otherwise another request was first, a moment ago, or it was revoked.
        if grant::commit_tokens(context, &granting.once, used_up, tokens).await?.is_some() {
            return Ok(body);
        }
    }
    let (body, tokens) = issue(Given::Again).carry_out(context).await?;
    // It may have been revoked since it was read, or its successor used.
    let alive = store::token::repeat(context, &stored.id, &successor(context, &presented).hash());
    let gone = || not_good("revoked meanwhile, or its successor was used");
    grant::commit_tokens(context, &granting.once, alive, tokens).await?.ok_or_else(gone)?;
    Ok(body)
}

/// RFC 6749, section 4.4.
async fn grant_by_client_credentials(context: &Context, granting: Granting<'_>) -> Result<Value> {
    let Granting { client, parameters, .. } = granting;
    if client.is_public() {
        return Err(Problem::new(Code::UnauthorizedClient, "a public client has no credentials").into());
    }
    judge_resources(parameters.resources(), client)?;
    // Whoever registers themselves is a stranger to every resource, and nobody has agreed to anything here.
    if !client.is_vouched_for && !parameters.resources().is_empty() {
        return Err(Problem::new(Code::InvalidTarget, "a resource is not the client's to ask for").into());
    }
    // What stands for a user is nothing that a client has by itself.
    let is_own = |scope: &&str| !SCOPES.iter().any(|(known, _)| known == scope);
    let own: Vec<&str> = client.scopes.iter().map(String::as_str).filter(is_own).collect();
    let scope = narrowed(&own.join(" "), parameters)?;
    let family = context.row_id()?;
    let issue = Issue::new(client, &family, (&scope, parameters.resources()), granting.cnf);
    let (body, tokens) = issue.carry_out(context).await?;
    granting.once.write(context, tokens).await?;
    Ok(body)
}

/// RFC 8628, section 3.4.
async fn grant_by_device(context: &Context, granting: Granting<'_>, answers: &mut Answers) -> Result<Value> {
    let Granting { client, .. } = granting;
    let stored: Option<StoredDevice> = answers.row()?;
    let stored = stored.ok_or_else(|| not_good("unknown"))?;
    let user = device::judge_poll(&stored, client, context.now)?;
    let described: Option<Described> = answers.row()?;
    let scope = stored.scopes.join(" ");
    let resources = resources(&stored.resources, granting.parameters)?;
    judge_resources(&resources, client)?;
    let claims = described.map(|user| scope_claims(client, &user.subject(context), &scope)).unwrap_or_default();
    let issue = Issue {
        user: Some(user),
        session: stored.session_id.as_ref(),
        authenticated_at: stored.authenticated_at,
        amr: &stored.amr,
        is_offline: is_offline(client, &scope),
        refresh: refresh_lifetime(context, client, &scope, &stored.resources)?,
        id_token: Some(Saying { claims, ..Saying::default() }),
        ..Issue::new(client, &stored.id, (&scope, &resources), granting.cnf.clone())
    };
    let (body, tokens) = issue.carry_out(context).await?;
    let used_up = store::grant::redeem(context, &stored.id);
    grant::commit_tokens(context, &granting.once, used_up, tokens)
        .await?
        .ok_or_else(|| not_good("redeemed by another request"))?;
    Ok(body)
}
