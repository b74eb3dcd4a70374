//! Access tokens of upstream issuers, kept good: refreshed before they end, once, however many ask at the same time.

use std::time::Duration;

use worker::Delay;

use crate::federation::flow::begin::with_endpoints;
use crate::federation::flow::token_endpoint::{Refused, TokenResponse, refresh};
use crate::federation::request::scopes;
use crate::federation::store;
use crate::federation::store::account::Holding;
use crate::federation::store::issuer::Upstream;
use crate::federation::store::lease::{LeaseHolder, LeaseState, Settled};
use crate::platform::clock::read_clock;
use crate::platform::d1::Statement;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Account, Id, Millis, User};
use crate::platform::secret::Secret;
use crate::request::context::Context;

/// A token that ends sooner is refreshed, in milliseconds: it has to survive the way to whoever uses it.
pub const MARGIN: Millis = 60_000;

/// What a lease lasts beyond the patience with the issuer, in milliseconds.
const SLACK: Millis = 3_000;

/// Between two looks at somebody else's lease, in milliseconds.
const PAUSE: u64 = 100;

/// Whether a token that ends at this time may still be handed out. One that somebody has got while we waited is as good as
/// they come, however short its life.
#[must_use]
pub fn is_good(expires_at: Option<Millis>, now: Millis, is_new: bool) -> bool {
    expires_at.is_none_or(|at| at > now + if is_new { 0 } else { MARGIN })
}

/// How waiting for a lease ended.
pub enum Turn {
    /// It is ours, under this name.
    Mine(String),
    /// Somebody else has refreshed: look again.
    Done,
}

/// Waits until it is our turn to refresh, or somebody else has.
///
/// # Errors
/// 502 if whoever refreshed failed, or nobody came to an end in time.
pub async fn take_lease(context: &Context, holder: LeaseHolder<'_>) -> Result<Turn> {
    let (began, name) = (read_clock(), context.row_id()?);
    let patience = context.config.upstream_timeout_seconds * 1000 + SLACK;
    let failed = |reason: &str| Error::refused(Wire::PROVIDER_UNAVAILABLE, reason);
    let statements = [store::lease::take(holder, &name, began, began + patience)];
    if context.db()?.batch(statements).await?.row::<String>()?.is_some() {
        return Ok(Turn::Mine(name));
    }
    loop {
        Delay::from(Duration::from_millis(PAUSE)).await;
        let now = read_clock();
        let standing: Option<LeaseState> = context.db()?.first(store::lease::look(holder)).await?;
        let standing = standing.ok_or_else(|| failed("the row is gone"))?;
        // There is no use in repeating what has just failed, once for each who waited.
        if standing.refresh_failed_at.is_some_and(|at| at >= began) {
            return Err(failed("another request's refresh failed"));
        }
        if standing.leased_until.is_none_or(|until| until <= now) {
            return Ok(Turn::Done);
        }
        if now - began > 2 * patience {
            return Err(failed("another request's refresh takes too long"));
        }
    }
}

/// An access token and what is known of it.
pub struct AccessToken {
    /// The token.
    pub token: Secret<String>,
    /// Its end.
    pub expires_at: Option<Millis>,
    /// The scopes granted.
    pub scope: String,
    /// The account, as it was loaded last.
    pub holding: Holding,
}

fn unavailable(reason: impl Into<String>) -> Error {
    Error::refused(Wire::FAILED_TO_GET_ACCESS_TOKEN, reason)
}

/// Whether a refresh token gives more than the access token at hand: a plain sign-in must not narrow what was consented to.
fn is_wider(holding: &Holding) -> bool {
    let Some(refresh) = &holding.refresh_token else {
        return false;
    };
    let (wide, narrow) = (refresh.scope.as_str(), holding.requested_scope.as_deref().unwrap_or_default());
    scopes([wide]) != scopes([narrow]) && scopes([wide, narrow]) == scopes([wide])
}

/// A good access token of a user's account; with `force`, a new one.
///
/// # Errors
/// 400 if there is none and none can be had; 502.
pub async fn get_or_refresh_access_token(
    context: &Context,
    user: &Id<User>,
    mut holding: Holding,
    mut force: bool,
) -> Result<AccessToken> {
    let mut is_new = false;
    // A second time after somebody else's refresh, a third if they were gone before its end.
    for _ in 0..3 {
        let token = holding.access_token(context)?;
        if let Some(token) = token
            && !force
            && is_good(holding.expires_at, context.now, is_new)
            && (is_new || !is_wider(&holding))
        {
            let scope = holding.scope.clone().unwrap_or_default();
            return Ok(AccessToken { token, expires_at: holding.expires_at, scope, holding });
        }
        if holding.refresh_token.is_none() {
            let wire = if force { Wire::REFRESH_TOKEN_NOT_FOUND } else { Wire::FAILED_TO_GET_ACCESS_TOKEN };
            return Err(Error::refused(wire, "no refresh token"));
        }
        let id = holding.id.clone();
        let turn = take_lease(context, LeaseHolder::Account(&id)).await?;
        // Loaded once more under the lease: what was loaded before it may be what somebody has just replaced.
        let reloaded: Option<Holding> = context.db()?.first(store::account::holding(context, user, &id)).await?;
        let reloaded = reloaded.ok_or_else(|| unavailable("unlinked meanwhile"))?;
        // Whoever came first may have come to an end between our look and our turn.
        is_new = reloaded.differs_from(&holding);
        match turn {
            Turn::Mine(name) if !is_new => return refresh_access_token(context, reloaded, &name).await,
            Turn::Mine(name) => {
                context.db()?.record([store::lease::release(LeaseHolder::Account(&id), &name)]).await?;
            }
            Turn::Done => (),
        }
        force = force && !is_new;
        holding = reloaded;
    }
    Err(unavailable("another request's refresh gave no good token"))
}

async fn refresh_access_token(context: &Context, holding: Holding, lease_name: &str) -> Result<AccessToken> {
    let id: &Id<Account> = &holding.id;
    let answer = match ask(context, &holding).await {
        Ok(answer) => answer,
        // Those who wait are told, whatever it was.
        Err(error) => Err(Refused { reason: error.to_string(), is_final: false }),
    };
    match answer {
        Ok(response) => {
            let refresh_token = holding.refresh_token.as_ref().ok_or_else(|| unavailable("no refresh token"))?;
            let tokens = response.tokens(&refresh_token.scope);
            let expires_at = tokens.expires_in.map(|seconds| context.now + seconds * 1000);
            let token_sealed = store::upstream::sealed(context, id, "access_token_sealed", tokens.access_token)?;
            let id_token = tokens.id_token.map(|text| store::upstream::sealed(context, id, "id_token_sealed", text));
            let id_token = id_token.transpose()?;
            let settled = Settled {
                token_sealed: &token_sealed,
                expires_at,
                scope: &tokens.granted,
                requested: &refresh_token.scope,
                id_token_sealed: id_token.as_deref(),
            };
            let mut statements = vec![store::lease::settle_account(context, id, lease_name, &settled)];
            if let (Some(text), Some(upstream)) = (tokens.id_token, &holding.issuer) {
                statements.push(store::upstream::seen(context, &upstream.id, text)?);
            }
            // The issuer may rotate: the one that was used is worth nothing any more.
            if let Some(next) = tokens.refresh_token {
                let scope = &refresh_token.scope;
                statements.push(store::upstream::keep_refresh_token(
                    context,
                    id,
                    next,
                    scope,
                    tokens.refresh_expires_in,
                )?);
            }
            context.db()?.record(statements).await?;
            let token = Secret::new(tokens.access_token.to_owned());
            let scope = tokens.granted.clone();
            Ok(AccessToken { token, expires_at, scope, holding })
        }
        Err(refused) => {
            let mut statements: Vec<Statement> =
                vec![store::lease::fail(LeaseHolder::Account(id), lease_name, read_clock())];
            if let (true, Some(token)) = (refused.is_final, &holding.refresh_token) {
                statements.push(store::account::forget_refresh_token(id, token));
            }
            context.db()?.record(statements).await?;
            Err(unavailable(refused.reason))
        }
    }
}

async fn ask(context: &Context, holding: &Holding) -> Result<std::result::Result<TokenResponse, Refused>> {
    let broken = |reason: &str| Ok(Err(Refused { reason: reason.to_owned(), is_final: false }));
    let (Some(upstream), Some(refresh_token)) = (&holding.issuer, &holding.refresh_token) else {
        return broken("no issuer or no refresh token");
    };
    let upstream: Upstream = match with_endpoints(context, upstream.clone()).await {
        Ok((upstream, writes)) => {
            if !writes.is_empty() {
                context.db()?.batch(writes).await?;
            }
            upstream
        }
        Err(error) => return broken(&error.to_string()),
    };
    refresh(context, &upstream, &refresh_token.open(context)?, None).await
}
