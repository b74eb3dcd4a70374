//! Accounts of the platform's own with an issuer: an administrator connects one, and services get its access token.

use serde_json::json;

use crate::federation::flow::access_token::{Turn, is_good, take_lease};
use crate::federation::flow::begin::with_endpoints;
use crate::federation::flow::token_endpoint::{TokenResponse, refresh};
use crate::federation::request::{is_scope, scopes};
use crate::federation::store;
use crate::federation::store::lease::LeaseHolder;
use crate::federation::store::system_account::{Cached, Connected};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::clock::read_clock;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::Millis;
use crate::platform::secret::{Secret, ServiceToken, Token};
use crate::platform::time::iso;
use crate::request::context::Context;
use crate::session::call::Call;

/// The most scopes that a service asks for.
const MOST_SCOPES: usize = 30;

/// `POST /system-account/token`: a service of the platform gets the access token of the account that its own token is for.
///
/// # Errors
/// 400 for scopes that were not granted, 401 for a bad service token, 502 if the issuer gives none.
pub async fn token(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let asked = fields.list("scopes", MOST_SCOPES, is_scope);
    fields.finish()?;
    let context = &call.context;
    let unauthorized = |reason: &str| Error::refused(Wire::UNAUTHORIZED, reason);
    let header = context.header("Authorization").unwrap_or_default();
    let (scheme, text) = header.split_once(' ').unwrap_or_default();
    let token: Option<Token<ServiceToken>> =
        scheme.eq_ignore_ascii_case("Bearer").then(|| Token::parse(text.trim())).flatten();
    let token = token.ok_or_else(|| unauthorized("no service token"))?;
    let found: Option<Connected> =
        context.db()?.first(store::system_account::of_service(context, &token.hash())).await?;
    let connected = found.ok_or_else(|| unauthorized("an unknown service token, or its issuer is switched off"))?;
    let granted: Vec<&str> = connected.granted_scopes.split(' ').collect();
    if let Some(scope) = asked.iter().find(|scope| !granted.contains(&scope.as_str())) {
        return Err(Error::Validation(format!("[body.scopes] {scope} was not granted")));
    }
    let scope =
        if asked.is_empty() { connected.granted_scopes.clone() } else { scopes(asked.iter().map(String::as_str)) };
    let (token, expires_at) = access_token(context, &connected, &scope).await?;
    let body = json!({
        "accessToken": token.expose(),
        "expiresAt": expires_at.map(iso),
        "scopes": scope.split_whitespace().collect::<Vec<_>>(),
    });
    Reply::json(200, &body)
}

fn unavailable(reason: impl Into<String>) -> Error {
    Error::refused(Wire::PROVIDER_UNAVAILABLE, reason)
}

/// A good access token of a system account for these scopes: cached, or refreshed once however many ask.
///
/// # Errors
/// 502.
pub async fn access_token(
    context: &Context,
    connected: &Connected,
    scope: &str,
) -> Result<(Secret<String>, Option<Millis>)> {
    let issuer = &connected.issuer.id;
    let mut answers = context.db()?.batch(store::system_account::cached(context, issuer, scope)?).await?.skip(1);
    let mut cached: Cached = answers.row()?.ok_or_else(|| unavailable("disconnected meanwhile"))?;
    let mut is_new = false;
    // Others may refresh for other scopes, and each has its turn.
    for _ in 0..MOST_SCOPES {
        if let Some(token) = cached.token(context)?
            && is_good(cached.expires_at, context.now, is_new)
        {
            return Ok((token, cached.expires_at));
        }
        let turn = take_lease(context, LeaseHolder::System(&connected.id)).await?;
        // Loaded once more under the lease: the issuer may have rotated the refresh token since.
        let statements = [store::system_account::look(issuer, scope), store::system_account::of_issuer(issuer)];
        let mut answers = context.db()?.batch(statements).await?;
        let reloaded: Cached = answers.row()?.ok_or_else(|| unavailable("disconnected meanwhile"))?;
        let connected: Connected = answers.row()?.ok_or_else(|| unavailable("disconnected meanwhile"))?;
        is_new = reloaded.differs_from(&cached);
        match turn {
            Turn::Mine(name) if !is_new => return renew(context, &connected, &reloaded, &name).await,
            Turn::Mine(name) => {
                context.db()?.batch([store::lease::release(LeaseHolder::System(&connected.id), &name)]).await?;
            }
            Turn::Done => (),
        }
        cached = reloaded;
    }
    Err(unavailable("another request's refresh gave no good token"))
}

async fn renew(
    context: &Context,
    connected: &Connected,
    cached: &Cached,
    lease_name: &str,
) -> Result<(Secret<String>, Option<Millis>)> {
    let holder = LeaseHolder::System(&connected.id);
    let response = match ask(context, connected, cached).await {
        Ok(response) => response,
        Err(error) => {
            context.db()?.batch([store::lease::fail(holder, lease_name, read_clock())]).await?;
            return Err(error);
        }
    };
    let tokens = response.tokens(&cached.scope);
    let expires_at = tokens.expires_in.map(|seconds| context.now + seconds * 1000);
    let token_sealed = store::system_account::sealed(context, &cached.id, tokens.access_token)?;
    let mut statements = vec![store::lease::settle_system(context, &cached.id, &token_sealed, expires_at)];
    if let Some(next) = tokens.refresh_token {
        statements.push(store::system_account::rotate(context, connected, lease_name, next)?);
    }
    statements.push(store::lease::release(holder, lease_name));
    context.db()?.batch(statements).await?;
    Ok((Secret::new(tokens.access_token.to_owned()), expires_at))
}

async fn ask(context: &Context, connected: &Connected, cached: &Cached) -> Result<TokenResponse> {
    let (upstream, writes) = with_endpoints(context, connected.issuer.clone()).await?;
    if !writes.is_empty() {
        context.db()?.batch(writes).await?;
    }
    let asked = (cached.scope != connected.granted_scopes).then_some(cached.scope.as_str());
    let answer = refresh(context, &upstream, &connected.refresh_token(context)?, asked).await?;
    answer.map_err(|refused| unavailable(refused.reason))
}
