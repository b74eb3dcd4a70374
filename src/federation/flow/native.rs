//! Signing in with an ID token that a native app got from the issuer itself: `idToken` of `sign-in/social`.

use serde::Deserialize;
use serde_json::Value;

use crate::federation::flow::begin::with_endpoints;
use crate::federation::flow::identify::{Evidence, identify};
use crate::federation::flow::token_endpoint::TokenResponse;
use crate::federation::flow::{End, Failure};
use crate::federation::id_token::Nonce;
use crate::federation::profile::Profile;
use crate::federation::store;
use crate::federation::store::issuer::Upstream;
use crate::platform::d1::{Statement, StoreError};
use crate::platform::error::{Error, Result, Wire};
use crate::request;
use crate::request::context::Context;

/// The longest token read, in bytes.
const LONGEST: usize = 16 * 1024;

/// `idToken` of the protocol's bodies.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Native {
    token: String,
    nonce: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    user: Option<Value>,
    /// Whether the nonce is the page's to compare: it tells us none.
    #[serde(skip)]
    is_of_page: bool,
}

impl Native {
    /// A token that a page got from the issuer's own script, without more.
    ///
    /// # Errors
    /// 400 for one that is too long.
    pub fn of_page(token: String) -> Result<Self> {
        if token.len() > LONGEST {
            return Err(Error::Validation("[body.idToken] Too big".to_owned()));
        }
        let (nonce, access_token, refresh_token, user) = (None, None, None, None);
        Ok(Self { token, nonce, access_token, refresh_token, user, is_of_page: true })
    }

    /// Reads it.
    ///
    /// # Errors
    /// 400.
    pub fn read(value: Value) -> Result<Self> {
        if !value.is_object() {
            return Err(Error::Validation("[body.idToken] Invalid input: expected object".to_owned()));
        }
        let native: Self =
            serde_json::from_value(value).map_err(|error| Error::Validation(format!("[body.idToken] {error}")))?;
        let texts =
            [Some(&native.token), native.nonce.as_ref(), native.access_token.as_ref(), native.refresh_token.as_ref()];
        if texts.into_iter().flatten().any(|text| text.len() > LONGEST) {
            return Err(Error::Validation("[body.idToken] Too big".to_owned()));
        }
        Ok(native)
    }
}

/// Believed: whom it names, the tokens that came along, and the issuer.
pub struct Believed {
    /// The issuer.
    pub upstream: Upstream,
    /// Whom it names.
    pub profile: Profile,
    /// What is kept.
    pub response: TokenResponse,
}

/// Believes an ID token of the issuer that a statement finds: signature, claims and nonce as in a flow of ours. There is no state here that is used up, so the
/// token itself is: whoever copies it from a log or a proxy comes too late.
///
/// # Errors
/// 401 for a token that is not good, or not any more; 404 for an issuer without ID tokens.
pub async fn believe(context: &Context, issuer: Statement, native: Native) -> Result<Believed> {
    let (limit, tenant) = (context.config.limit_sign_in, &context.tenant().id);
    let key = request::store::rate_limit::key(
        &context.config,
        "sign-in:network",
        tenant.as_str(),
        &context.client().network(),
    );
    let statements = [request::store::rate_limit::count(&key, limit, context.now), issuer];
    let mut answers = context.db()?.batch(statements).await?;
    let window: Option<request::store::rate_limit::Window> = answers.row()?;
    if let Some(retry_after) = window.and_then(|window| window.retry_after(limit, context.now)) {
        return Err(Error::TooManyRequests { retry_after, limit: "ID tokens by network" });
    }
    let upstream: Option<Upstream> = answers.row()?;
    let upstream =
        upstream.ok_or_else(|| Error::refused(Wire::PROVIDER_NOT_FOUND, "no such issuer, or not enabled"))?;
    if !upstream.is_open_id() {
        return Err(Error::refused(Wire::ID_TOKEN_NOT_SUPPORTED, "the service has no ID tokens"));
    }
    let (upstream, mut writes) = with_endpoints(context, upstream).await?;
    let evidence = Evidence {
        id_token: Some(&native.token),
        nonce: match native.nonce.as_deref() {
            Some(nonce) => Nonce::Required(nonce),
            None if native.is_of_page => Nonce::Unjudged,
            None => Nonce::Without,
        },
        access_token: native.access_token.as_deref(),
        is_brought: true,
        form_user: native.user.as_ref(),
    };
    let profile = identify(context, &upstream, &evidence).await.map_err(refused)?;
    let (seen, until) = store::upstream::remembered(&native.token, context.now)?;
    let about = upstream.id.as_str();
    writes.push(request::store::verification::keep(context, &context.tenant().id, &seen, about, b"{}", until)?);
    // Who brings a token that is good guesses at nothing.
    writes.push(request::store::rate_limit::give_back(&key, context.now));
    match context.db()?.batch(writes).await {
        Err(StoreError::Conflict(_)) => {
            return Err(Error::refused(Wire::ID_TOKEN_INVALID, "this ID token has signed in before"));
        }
        other => other?,
    };
    let response = TokenResponse::of_app(
        native.access_token.unwrap_or_default(),
        native.token,
        native.refresh_token.filter(|token| !token.is_empty()),
    );
    Ok(Believed { upstream, profile, response })
}

/// A failure that a page would be told, as the protocol says it.
#[must_use]
pub fn refused(end: End) -> Error {
    let Failure { code, reason, .. } = match end {
        End::Error(error) => return error,
        End::Failure(failure) => failure,
    };
    let wire = match code.as_str() {
        "invalid_id_token" => Wire::ID_TOKEN_INVALID,
        "unable_to_get_user_info" => Wire::NO_USER_INFO,
        "user_not_active" => Wire::BANNED_USER,
        "tenant_unavailable" => Wire::TENANT_UNAVAILABLE,
        "account_already_linked_to_different_user" => Wire::SOCIAL_ACCOUNT_ALREADY_LINKED,
        _ => Wire::OAUTH_LINK_ERROR,
    };
    Error::refused(wire, format!("{code}: {reason}"))
}
