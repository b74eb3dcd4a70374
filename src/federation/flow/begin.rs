//! The beginning of a flow: state, nonce and code verifier are kept sealed, and only the browser that begins it ends it.

use std::collections::BTreeMap;

use crate::federation::request::{Flow, Parameters, Purpose, authorization_url, is_scope, joined};
use crate::federation::store::issuer::Upstream;
use crate::federation::{discover, store};
use crate::http::cookie::Cookie;
use crate::http::fields::Fields;
use crate::http::redirect::Target;
use crate::platform::d1::Statement;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::secret::{BrowserBinding, Token, UpstreamState};
use crate::request;
use crate::request::context::Context;
use crate::request::origins;

/// The most scopes, and the most further parameters, that a client asks for.
const MOST: usize = 30;

/// The most that is kept of a flow, in bytes.
const LARGEST: usize = 8 * 1024;

/// The scope that asks for a refresh token (OpenID Connect Core 1.0, section 11).
const OFFLINE: &str = "offline_access";

/// What a front-end asks for.
#[derive(Debug, Default)]
pub struct AuthorizationWish {
    /// The issuer's name.
    pub provider: String,
    /// What for.
    pub purpose: Purpose,
    /// Where to go afterwards.
    pub callback_url: Option<String>,
    /// Where to go with an error.
    pub error_callback_url: Option<String>,
    /// Where to go with a new user.
    pub new_user_callback_url: Option<String>,
    /// Whom the issuer should expect.
    pub login_hint: Option<String>,
    /// Scopes beyond those of the issuer's settings; `offline_access` among them asks for a refresh token.
    pub scopes: Vec<String>,
    /// Parameters beyond those of the issuer's settings.
    pub parameters: BTreeMap<String, String>,
    /// Whether the visitor is to prove anew who they are.
    pub again: bool,
}

impl AuthorizationWish {
    /// Reads what the protocol's bodies have in common.
    #[must_use]
    pub fn read(fields: &mut Fields) -> Self {
        Self {
            provider: fields.required("provider", 100),
            purpose: Purpose::SignIn,
            callback_url: fields.optional("callbackURL", Target::LONGEST),
            error_callback_url: fields.optional("errorCallbackURL", Target::LONGEST),
            new_user_callback_url: fields.optional("newUserCallbackURL", Target::LONGEST),
            login_hint: fields.optional("loginHint", 256),
            scopes: fields.list("scopes", MOST, is_scope),
            parameters: fields.texts("additionalParams", MOST, 1024),
            again: false,
        }
    }
}

/// A begun flow.
pub struct BegunAuthorization {
    /// Where to send the visitor.
    pub url: String,
    /// The `Set-Cookie` line that ties the flow to the browser.
    pub cookie: String,
}

/// Begins a flow with the issuer of that name.
///
/// # Errors
/// 403 for a bad target, 404 for an unknown provider, 502 for one that does not answer.
pub async fn begin_authorization(context: &Context, wish: &AuthorizationWish) -> Result<BegunAuthorization> {
    let upstream: Option<Upstream> =
        context.db()?.first(store::issuer::by_name(&context.tenant().id, &wish.provider)).await?;
    let upstream = upstream.ok_or_else(|| Error::refused(Wire::PROVIDER_NOT_FOUND, format!("{:?}", wish.provider)))?;
    begin_authorization_with(context, upstream, wish).await
}

/// Begins a flow with an issuer.
///
/// # Errors
/// As [`begin_authorization`].
pub async fn begin_authorization_with(
    context: &Context,
    upstream: Upstream,
    wish: &AuthorizationWish,
) -> Result<BegunAuthorization> {
    let callback = origins::check_target(context, wish.callback_url.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let on_error =
        origins::check_target(context, wish.error_callback_url.as_deref(), Wire::INVALID_ERROR_CALLBACK_URL)?;
    let on_new =
        origins::check_target(context, wish.new_user_callback_url.as_deref(), Wire::INVALID_NEW_USER_CALLBACK_URL)?;
    let (upstream, mut writes) = with_endpoints(context, upstream).await?;
    let is_offline =
        matches!(wish.purpose, Purpose::SystemAccount(_)) || wish.scopes.iter().any(|scope| scope == OFFLINE);
    let (configured, settings) = if is_offline {
        (&upstream.login_scopes_offline, &upstream.login_params_offline)
    } else {
        (&upstream.login_scopes, &upstream.login_params)
    };
    // Some services want a parameter and know no such scope: the issuer's settings say which.
    let asked = wish.scopes.iter().map(String::as_str).filter(|scope| *scope != OFFLINE);
    let scope = joined(std::iter::once(configured.as_str()).chain(asked));
    let flow = Flow {
        issuer_id: upstream.id.clone(),
        nonce: Token::<UpstreamState>::new(context.random()?).expose().to_owned(),
        code_verifier: Token::<UpstreamState>::new(context.random()?).expose().to_owned(),
        purpose: wish.purpose.clone(),
        scope,
        redirect_uri: format!("{}/api/auth/callback/{}", context.auth_origin(), upstream.name),
        callback_url: callback.map_or_else(|| "/".to_owned(), |target| target.as_str().to_owned()),
        error_callback_url: on_error.map(|target| target.as_str().to_owned()),
        new_user_callback_url: on_new.map(|target| target.as_str().to_owned()),
        started_at: context.now,
    };
    let state: Token<UpstreamState> = Token::new(context.random()?);
    // One binding a browser, not a flow: two tabs may each have theirs under way.
    let binding = match browser_binding(context) {
        Some(binding) => binding,
        None => Token::new(context.random()?),
    };
    let payload = serde_json::to_vec(&flow).map_err(|error| Error::Internal(error.to_string()))?;
    let (tenant, about) = (&context.tenant().id, binding.hash());
    let expires_at = context.now + context.config.flow_seconds * 1000;
    if payload.len() > LARGEST {
        return Err(Error::Validation("[body] Too big: what is asked for cannot be kept".to_owned()));
    }
    // Nobody has proven anything yet.
    writes.extend(request::store::rate_limit::hold(context, "upstream"));
    writes.push(request::store::verification::keep(context, tenant, &state, about.as_str(), &payload, expires_at)?);
    context.db()?.batch(writes).await?;
    // OpenID Connect Core 1.0, section 3.1.2.1: being signed in there must not be enough.
    let anew = [("prompt", "login"), ("max_age", "0")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let anew = anew.into_iter().filter(|_| wish.again && upstream.is_open_id());
    let extra: Vec<(String, String)> =
        anew.chain(settings.iter().chain(&wish.parameters).map(|(k, v)| (k.clone(), v.clone()))).collect();
    let url = authorization_url(
        &flow,
        &Parameters {
            endpoint: &endpoint_of(&upstream, "authorization_endpoint")?,
            client_id: &upstream.client_id,
            scope: &flow.scope,
            state: state.expose(),
            does_pkce: upstream.does_pkce(),
            login_hint: wish.login_hint.as_deref(),
            extra: &extra,
        },
    );
    let url = url.ok_or_else(|| Error::Internal(format!("issuer_endpoint of {} is no URL", upstream.id)))?;
    let cookie = Cookie::Binding.set(context.is_secure, binding.expose(), Some(context.config.flow_seconds));
    Ok(BegunAuthorization { url, cookie })
}

/// What ties flows to this browser, as it was presented.
#[must_use]
pub fn browser_binding(context: &Context) -> Option<Token<BrowserBinding>> {
    context.cookie(Cookie::Binding).and_then(|text| Token::parse(&text))
}

/// An endpoint of an issuer.
///
/// # Errors
/// 502 if it has none of that name.
pub fn endpoint_of(upstream: &Upstream, name: &str) -> Result<String> {
    let missing = || Error::refused(Wire::PROVIDER_UNAVAILABLE, format!("issuer {} without {name}", upstream.id));
    upstream.endpoint(name).ok_or_else(missing)
}

/// The issuer with endpoints that are recent enough, and what is to be written if they were fetched. An issuer that
/// does not answer is used as it was last known.
///
/// # Errors
/// 502 if it was never known.
pub async fn with_endpoints(context: &Context, mut upstream: Upstream) -> Result<(Upstream, Vec<Statement>)> {
    let seconds = context.config.discovery_seconds;
    let is_recent = upstream.discovered_at.is_some_and(|at| context.now < at + seconds * 1000);
    if is_recent || !upstream.is_open_id() {
        return Ok((upstream, Vec::new()));
    }
    match discover::fetch_metadata(context, &upstream.base_url, &upstream.discovered_issuer()).await {
        Ok(metadata) => {
            let writes = store::issuer::keep_discovery(context, &upstream.id, &metadata)?;
            for (name, url) in metadata.endpoints {
                // What was set by hand stays.
                upstream.endpoints.entry(name).or_insert(url);
            }
            upstream.sends_iss = metadata.sends_iss;
            Ok((upstream, writes))
        }
        Err(problem) if upstream.endpoint("authorization_endpoint").is_some() => {
            context.note(&format!("discovery of issuer {}: {problem}", upstream.id));
            Ok((upstream, Vec::new()))
        }
        Err(problem) => Err(Error::refused(Wire::PROVIDER_UNAVAILABLE, problem)),
    }
}
