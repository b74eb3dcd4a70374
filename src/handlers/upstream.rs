//! The end of an upstream sign-in: the code is exchanged, the ID token believed, and whom it names signed in.

use std::rc::Rc;

use base64ct::{Base64, Encoding};
use serde::Deserialize;
use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::federation::callback::{AuthorizationCode, CallbackError};
use crate::federation::id_token::{Expected, IdToken, IdTokenError, UnverifiedIdToken};
use crate::federation::linking::{self, Decision, IssuerRules};
use crate::federation::profile::{Profile, profile};
use crate::federation::request::Flow;
use crate::handlers::opening::{self, Opening, OpeningError, Outcome};
use crate::handlers::outgoing::{self, Outgoing};
use crate::id::{Account, Id, User};
use crate::store;
use crate::store::database::Statement;
use crate::store::issuer::Upstream;
use crate::store::record::{Attempt, Severity};
use crate::store::sign_up::NewUser;
use crate::store::upstream::Tokens;

/// What ended a flow without a session: the code for the page, the exact reason for the log, and the page.
pub struct Failure {
    /// For the page.
    pub code: String,
    /// For the log.
    pub reason: String,
    /// Where to say it, if not on our own page.
    pub page: Option<String>,
}

impl Failure {
    /// A failure that our own page tells.
    pub fn new(code: &str, reason: impl Into<String>) -> Self {
        Self { code: code.to_owned(), reason: reason.into(), page: None }
    }
}

/// How a callback ends other than well.
pub enum End {
    /// The visitor is told on a page.
    Failure(Failure),
    /// Something of ours is broken.
    Error(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<crate::store::database::StoreError> for End {
    fn from(error: crate::store::database::StoreError) -> Self {
        Self::Error(error.into())
    }
}

impl From<CallbackError> for End {
    fn from(error: CallbackError) -> Self {
        Self::Failure(Failure::new(error.code(), error.to_string()))
    }
}

/// An endpoint of an issuer.
///
/// # Errors
/// 502 if it has none of that name.
pub fn endpoint<'a>(upstream: &'a Upstream, name: &str) -> Result<&'a str> {
    let url = upstream.endpoints.get(name).map(String::as_str);
    url.ok_or_else(|| Error::refused(Wire::PROVIDER_UNAVAILABLE, format!("issuer {} without {name}", upstream.id)))
}

/// Exchanges the code, believes the ID token, and signs in whom it names.
///
/// # Errors
/// [`End`].
pub async fn identify(
    context: &Context,
    upstream: &Upstream,
    code: AuthorizationCode,
) -> std::result::Result<(Outcome, String), End> {
    let failure = |code: &str| {
        let code = code.to_owned();
        move |reason: String| End::Failure(Failure::new(&code, reason))
    };
    let response = exchange(context, upstream, &code).await?.map_err(failure("invalid_code"))?;
    let token = verify_id_token(context, upstream, &code.flow, &response).await.map_err(failure("invalid_id_token"))?;
    let userinfo = match upstream.endpoints.get("userinfo_endpoint") {
        Some(url) => {
            let answer = outgoing::get_with_token(context, url, &response.access_token).await;
            Some(answer.map_err(failure("unable_to_get_user_info"))?)
        }
        None => None,
    };
    let profile = profile(token, userinfo)
        .map_err(|_| End::Failure(Failure::new("unable_to_get_user_info", "userinfo is of another subject")))?;
    // A third and fourth round trip, because who it may be is known only after the issuer was asked. If somebody was
    // quicker (the same first sign-in in two tabs), the second look finds what they made.
    for attempt in 0..2 {
        match sign_in(context, upstream, &profile, &response, &code.flow).await {
            Err(SignInEnd::Conflict) if attempt == 0 => (),
            Err(SignInEnd::Conflict) => break,
            Err(SignInEnd::End(end)) => return Err(end),
            Ok(done) => return Ok(done),
        }
    }
    Err(End::Error(Error::Storage("upstream sign-in lost two races in a row".to_owned())))
}

enum SignInEnd {
    Conflict,
    End(End),
}

impl<T: Into<End>> From<T> for SignInEnd {
    fn from(end: T) -> Self {
        Self::End(end.into())
    }
}

async fn sign_in(
    context: &Context,
    upstream: &Upstream,
    profile: &Profile,
    response: &TokenResponse,
    flow: &Flow,
) -> std::result::Result<(Outcome, String), SignInEnd> {
    let candidates = store::upstream::candidates(context, &upstream.id, profile).await?;
    if !candidates.tenant_is_active {
        return Err(End::Failure(Failure::new("tenant_unavailable", "tenant is not active")).into());
    }
    let rules = IssuerRules {
        allowed_domains: upstream.allowed_domains.clone(),
        trust_email: upstream.trust_email,
        sign_up_open: context.config.sign_up_open,
    };
    let (linked, same_email) = (candidates.linked.as_ref(), candidates.same_email.as_ref());
    let decision = match linking::decide(profile, &rules, linked, same_email, context.now) {
        Ok(decision) => decision,
        Err(refusal) => {
            let user_id = linked.map(|known| &known.user_id);
            let attempt = Attempt { user_id, session_id: None, failure: Some(refusal.code()), method: &upstream.name };
            context.db()?.batch([store::record::login(context, &context.row_id()?, attempt)]).await?;
            return Err(End::Failure(Failure::new(refusal.code(), format!("{refusal:?}"))).into());
        }
    };
    let is_new = matches!(decision, Decision::Create { .. });
    let (user_id, account_id, mut statements) = prepare(context, upstream, profile, decision)?;
    statements.push(store::upstream::refresh(context, &account_id, profile, &response.tokens())?);
    let opening = Opening { last_method: Some(&upstream.name), ..Opening::new(&user_id, &upstream.name, &["fed"]) };
    let outcome = match opening::open_or_ask(context, &opening, statements).await {
        Err(OpeningError::Conflict(_)) => return Err(SignInEnd::Conflict),
        other => other.map_err(Error::from)?,
    };
    let new_user_url = flow.new_user_callback_url.clone().filter(|_| is_new);
    Ok((outcome, new_user_url.unwrap_or_else(|| flow.callback_url.clone())))
}

/// The statements of a decision, before those that every upstream sign-in has.
fn prepare(
    context: &Context,
    upstream: &Upstream,
    profile: &Profile,
    decision: Decision,
) -> Result<(Id<User>, Id<Account>, Vec<Statement>)> {
    let details = json!({ "issuer": upstream.name, "subject": profile.subject });
    let audit = |user: &Id<User>, event: &str| -> Result<Statement> {
        Ok(store::record::audit(context, &context.row_id()?, Some(user), event, Severity::Low, &details))
    };
    match decision {
        Decision::SignIn(user_id, account_id) => Ok((user_id, account_id, Vec::new())),
        Decision::Link(user_id) => {
            let account_id = context.id()?;
            let link = store::upstream::link(context, &account_id, &user_id, &upstream.id, &profile.subject);
            let event = audit(&user_id, "account.linked")?;
            Ok((user_id, account_id, vec![link, event]))
        }
        Decision::Create { email, email_verified } => {
            let (user_id, account_id) = (context.id()?, context.id()?);
            let name = profile.name.clone().unwrap_or_default();
            let user = NewUser {
                email_verified,
                first_name: profile.first_name.as_deref(),
                last_name: profile.last_name.as_deref(),
                image: profile.picture.as_deref(),
                ..NewUser::new(&user_id, &email, &name)
            };
            let mut statements = store::sign_up::create(context, &user)?;
            statements.push(store::upstream::link(context, &account_id, &user_id, &upstream.id, &profile.subject));
            statements.push(audit(&user_id, "user.created")?);
            Ok((user_id, account_id, statements))
        }
    }
}

/// The token endpoint's answer (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    id_token: String,
    refresh_token: Option<String>,
    scope: Option<String>,
    expires_in: Option<i64>,
}

impl TokenResponse {
    fn tokens(&self) -> Tokens<'_> {
        Tokens {
            access_token: &self.access_token,
            refresh_token: self.refresh_token.as_deref(),
            id_token: &self.id_token,
            scope: self.scope.as_deref(),
            expires_in: self.expires_in.filter(|seconds| (0..=315_360_000).contains(seconds)),
        }
    }
}

/// Exchanges the code (RFC 6749, section 4.1.3). The inner error is the issuer's.
async fn exchange(
    context: &Context,
    upstream: &Upstream,
    code: &AuthorizationCode,
) -> Result<std::result::Result<TokenResponse, String>> {
    let secret = upstream.client_secret(context)?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", &code.code)
        .append_pair("redirect_uri", &code.flow.redirect_uri)
        .append_pair("code_verifier", &code.flow.code_verifier);
    let mut authorization = None;
    match secret {
        Some(secret) if upstream.basic_auth => {
            // Section 2.3.1: both parts are form-encoded before they are joined.
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encode(&upstream.client_id), encode(secret.expose()));
            authorization = Some(format!("Basic {}", Base64::encode_string(pair.as_bytes())));
        }
        Some(secret) => {
            form.append_pair("client_id", &upstream.client_id).append_pair("client_secret", secret.expose());
        }
        None => {
            form.append_pair("client_id", &upstream.client_id);
        }
    }
    let url = endpoint(upstream, "token_endpoint")?;
    let outgoing = Outgoing { url, form: Some(form.finish()), authorization, header: None };
    let answer = match outgoing::send(context, outgoing).await {
        Ok(answer) => answer,
        Err(problem) => return Ok(Err(problem)),
    };
    if answer.status != 200 {
        // The error's code and description, never the body: it may repeat what was sent.
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        return Ok(Err(format!("status {}: {} {}", answer.status, said["error"], said["error_description"])));
    }
    Ok(serde_json::from_slice(&answer.body).map_err(|error| format!("token response: {error}")))
}

async fn verify_id_token(
    context: &Context,
    upstream: &Upstream,
    flow: &Flow,
    response: &TokenResponse,
) -> std::result::Result<IdToken, String> {
    let jwks_uri = upstream.endpoints.get("jwks_uri").ok_or("issuer without jwks_uri")?;
    let expected = Expected {
        issuer: &upstream.base_url,
        client_id: &upstream.client_id,
        nonce: &flow.nonce,
        access_token: Some(&response.access_token),
        now: context.now,
    };
    let token = UnverifiedIdToken(&response.id_token);
    let keys = outgoing::key_set(context, jwks_uri, false).await?;
    match token.verify(&keys, &expected) {
        Err(IdTokenError::UnknownKey(_)) => {
            // The issuer may have rotated its keys since we looked.
            let fresh = outgoing::key_set(context, jwks_uri, true).await?;
            if Rc::ptr_eq(&fresh, &keys) {
                return Err("no such key, and the set is fresh".to_owned());
            }
            token.verify(&fresh, &expected).map_err(|error| error.to_string())
        }
        other => other.map_err(|error| error.to_string()),
    }
}
