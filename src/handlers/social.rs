//! Signing in through an upstream issuer.

use std::rc::Rc;

use base64ct::{Base64, Encoding};
use serde::Deserialize;
use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::federation::callback::{AuthorizationCode, CallbackError, ExpectedIssuer, UnverifiedCallback};
use crate::federation::id_token::{Expected, IdToken, IdTokenError, UnverifiedIdToken};
use crate::federation::linking::{self, Decision, IssuerRules};
use crate::federation::profile::{Profile, profile};
use crate::federation::request::{Flow, Parameters, authorization_url};
use crate::handlers::Call;
use crate::handlers::authenticate::Depth;
use crate::handlers::opening::{self, Opened, Opening, OpeningError};
use crate::handlers::outgoing::{self, Outgoing};
use crate::http::cookie::{self, Cookie, Presented};
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::id::{Account, Id, User};
use crate::secret::{BrowserBinding, Token, UpstreamState, equal_in_constant_time};
use crate::store;
use crate::store::database::Statement;
use crate::store::issuer::Upstream;
use crate::store::record::{Attempt, Severity};
use crate::store::sign_up::NewUser;
use crate::store::upstream::Tokens;
use crate::store::verification::Used;

/// What a front-end asks for.
#[derive(Debug, Default)]
pub struct Wish {
    /// The issuer's name.
    pub provider: String,
    /// Where to go afterwards.
    pub callback_url: Option<String>,
    /// Where to go with an error.
    pub error_callback_url: Option<String>,
    /// Where to go with a new user.
    pub new_user_callback_url: Option<String>,
    /// Whom the issuer should expect.
    pub login_hint: Option<String>,
}

/// A begun flow.
pub struct Begun {
    /// Where to send the visitor.
    pub url: String,
    /// The `Set-Cookie` line that ties the flow to the browser.
    pub cookie: String,
}

/// `POST /sign-in/social`.
///
/// # Errors
/// 400, 403 for a bad target, 404 for an unknown provider, 502 for one that does not answer.
pub async fn start(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let wish = Wish {
        provider: fields.required("provider", 100),
        callback_url: fields.optional("callbackURL", Target::LONGEST),
        error_callback_url: fields.optional("errorCallbackURL", Target::LONGEST),
        new_user_callback_url: fields.optional("newUserCallbackURL", Target::LONGEST),
        login_hint: fields.optional("loginHint", 256),
    };
    let disable_redirect = fields.boolean("disableRedirect").unwrap_or(false);
    fields.finish()?;
    let begun = begin(call, &wish).await?;
    let reply =
        Reply::json(200, &json!({ "url": begun.url, "redirect": !disable_redirect }))?.with_cookie(begun.cookie);
    Ok(if disable_redirect { reply } else { reply.with("location", begun.url) })
}

/// Begins a flow: state, nonce and code verifier are kept sealed, and only the browser that begins it can end it.
///
/// # Errors
/// As [`start`].
pub async fn begin(call: &Call, wish: &Wish) -> Result<Begun> {
    let context = &call.context;
    let callback = opening::target(context, wish.callback_url.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let on_error = opening::target(context, wish.error_callback_url.as_deref(), Wire::INVALID_ERROR_CALLBACK_URL)?;
    let on_new = opening::target(context, wish.new_user_callback_url.as_deref(), Wire::INVALID_NEW_USER_CALLBACK_URL)?;
    let upstream: Option<Upstream> =
        context.db()?.first(store::issuer::by_name(&context.tenant().id, &wish.provider)).await?;
    let upstream = upstream.ok_or_else(|| Error::refused(Wire::PROVIDER_NOT_FOUND, format!("{:?}", wish.provider)))?;
    let (upstream, mut writes) = with_endpoints(context, upstream).await?;
    let flow = Flow {
        issuer_id: upstream.id.clone(),
        nonce: Token::<UpstreamState>::new(context.random()?).expose().to_owned(),
        code_verifier: Token::<UpstreamState>::new(context.random()?).expose().to_owned(),
        redirect_uri: format!("{}/api/auth/callback/{}", context.auth_origin(), upstream.name),
        callback_url: callback.map_or_else(|| "/".to_owned(), |target| target.as_str().to_owned()),
        error_callback_url: on_error.map(|target| target.as_str().to_owned()),
        new_user_callback_url: on_new.map(|target| target.as_str().to_owned()),
        started_at: context.now,
    };
    let state: Token<UpstreamState> = Token::new(context.random()?);
    // One binding a browser, not a flow: two tabs may each have theirs under way.
    let binding = match binding(call) {
        Some(binding) => binding,
        None => Token::new(context.random()?),
    };
    let payload = serde_json::to_vec(&flow).map_err(|error| Error::Internal(error.to_string()))?;
    let expires_at = context.now + context.config.flow_seconds * 1000;
    writes.push(store::verification::keep(
        context,
        &context.tenant().id,
        &state,
        binding.hash().as_str(),
        &payload,
        expires_at,
    )?);
    context.db()?.batch(writes).await?;
    let extra: Vec<(String, String)> = upstream.login_params.clone().into_iter().collect();
    let url = authorization_url(
        &flow,
        &Parameters {
            endpoint: endpoint(&upstream, "authorization_endpoint")?,
            client_id: &upstream.client_id,
            scope: &upstream.login_scopes,
            state: state.expose(),
            login_hint: wish.login_hint.as_deref(),
            extra: &extra,
        },
    );
    let url = url.ok_or_else(|| Error::Internal(format!("issuer_endpoint of {} is no URL", upstream.id)))?;
    let cookie = Cookie::Binding.set(context.is_secure, binding.expose(), Some(context.config.flow_seconds));
    Ok(Begun { url, cookie })
}

fn binding(call: &Call) -> Option<Token<BrowserBinding>> {
    let header = call.request.header("Cookie")?;
    match cookie::read(&header, Cookie::Binding.name(call.context.is_secure)) {
        Presented::Value(value) => Token::parse(value),
        _ => None,
    }
}

fn endpoint<'a>(upstream: &'a Upstream, name: &str) -> Result<&'a str> {
    let url = upstream.endpoints.get(name).map(String::as_str);
    url.ok_or_else(|| Error::refused(Wire::PROVIDER_UNAVAILABLE, format!("issuer {} without {name}", upstream.id)))
}

/// The issuer with endpoints that are recent enough, and what is to be written if they were fetched. An issuer that
/// does not answer is used as it was last known.
async fn with_endpoints(context: &Context, mut upstream: Upstream) -> Result<(Upstream, Vec<Statement>)> {
    let seconds = context.config.discovery_seconds;
    let is_recent = upstream.discovered_at.is_some_and(|at| context.now < at + seconds * 1000);
    if is_recent {
        return Ok((upstream, Vec::new()));
    }
    match outgoing::discover(context, &upstream.base_url).await {
        Ok(metadata) => {
            let writes = store::issuer::keep_discovery(context, &upstream.id, &metadata)?;
            upstream.endpoints.extend(metadata.endpoints);
            upstream.sends_iss = metadata.sends_iss;
            Ok((upstream, writes))
        }
        Err(problem) if upstream.endpoints.contains_key("authorization_endpoint") => {
            context.note(&format!("discovery of issuer {}: {problem}", upstream.id));
            Ok((upstream, Vec::new()))
        }
        Err(problem) => Err(Error::refused(Wire::PROVIDER_UNAVAILABLE, problem)),
    }
}

/// `POST /callback/:id`: an issuer that answers by form (OAuth 2.0 Form Post Response Mode). Our cookies do not come
/// along with another site's POST, so the browser is sent once more, by GET, from our own.
///
/// # Errors
/// 400, 415.
pub async fn posted_callback(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in ["code", "state", "error", "error_description", "iss"] {
        if let Some(value) = fields.optional(name, 8192) {
            query.append_pair(name, &value);
        }
    }
    fields.finish()?;
    let target = Target::own(format!("{}?{}", call.request.path(), query.finish()));
    Ok(Reply::redirect(303, &target))
}

/// What ended a flow without a session: the code for the page, the exact reason for the log, and the page.
struct Failure {
    code: String,
    reason: String,
    page: Option<String>,
}

impl Failure {
    fn new(code: &str, reason: impl Into<String>) -> Self {
        Self { code: code.to_owned(), reason: reason.into(), page: None }
    }
}

/// How a callback ends other than well.
enum End {
    Failure(Failure),
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

/// `GET /callback/:id`.
///
/// # Errors
/// 503. Everything else is a redirect to a page that says what happened.
pub async fn callback(call: &mut Call) -> Result<Reply> {
    let name = call.segment.clone().unwrap_or_default();
    match finish(call, &name).await {
        Ok((opened, target)) => Ok(Reply::redirect(302, &Target::own(target)).with_cookies(opened.cookies)),
        Err(End::Error(error)) => Err(error),
        Err(End::Failure(failure)) => {
            let refused = Error::refused(
                Wire { status: 302, code: "UPSTREAM_SIGN_IN_FAILED", message: "" },
                format!("{name}: {}: {}", failure.code, failure.reason),
            );
            call.context.log(call.request.path(), &refused);
            let page = failure.page.unwrap_or_else(|| "/api/auth/error".to_owned());
            Ok(Reply::redirect(302, &Target::own(page).with_query("error", &failure.code)))
        }
    }
}

async fn finish(call: &Call, name: &str) -> std::result::Result<(Opened, String), End> {
    let context = &call.context;
    let unverified = UnverifiedCallback::parse(call.request.query())?;
    let state = unverified.state()?;
    // Used up by looking: whatever is wrong with the rest, this state is over.
    let statements =
        [store::verification::take(context, &state.hash()), store::issuer::by_name(&context.tenant().id, name)];
    let mut answers = context.db()?.batch(statements).await?;
    let used: Option<Used> = answers.row()?;
    let upstream: Option<Upstream> = answers.row()?;
    let used = used.ok_or(CallbackError::StateMismatch("unknown, expired or used"))?;
    let mine = binding(call).map(|binding| binding.hash());
    let is_mine = mine.is_some_and(|hash| {
        used.identifier.as_deref().is_some_and(|bound| equal_in_constant_time(bound, hash.as_str()))
    });
    if !is_mine {
        return Err(CallbackError::StateMismatch("begun in another browser").into());
    }
    let payload = used.payload(context)?;
    let flow: Flow = serde_json::from_slice(payload.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no flow: {error}")))?;
    let page = flow.error_callback_url.clone();
    let at_page = |end: End| match end {
        End::Failure(failure) => End::Failure(Failure { page: page.clone(), ..failure }),
        End::Error(error) => End::Error(error),
    };
    let upstream = upstream.ok_or_else(|| Failure::new("provider_not_found", "issuer is gone or disabled"));
    let upstream = upstream.map_err(|failure| at_page(End::Failure(failure)))?;
    let expected = ExpectedIssuer { id: &upstream.id, identifier: &upstream.base_url, sends_iss: upstream.sends_iss };
    let code = unverified.verify(flow, &expected).map_err(|error| at_page(error.into()))?;
    identify(context, &upstream, code).await.map_err(at_page)
}

/// Exchanges the code, believes the ID token, and signs in whom it names.
async fn identify(
    context: &Context,
    upstream: &Upstream,
    code: AuthorizationCode,
) -> std::result::Result<(Opened, String), End> {
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
) -> std::result::Result<(Opened, String), SignInEnd> {
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
    let opening =
        Opening { user_id: &user_id, method: &upstream.name, amr: &["fed"], is_remembered: true, while_password: None };
    let opened = match opening::open(context, &opening, statements).await {
        Err(OpeningError::Conflict(_)) => return Err(SignInEnd::Conflict),
        other => other.map_err(Error::from)?,
    };
    let new_user_url = flow.new_user_callback_url.clone().filter(|_| is_new);
    Ok((opened, new_user_url.unwrap_or_else(|| flow.callback_url.clone())))
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
                id: &user_id,
                email: &email,
                email_verified,
                name: &name,
                first_name: profile.first_name.as_deref(),
                last_name: profile.last_name.as_deref(),
                image: profile.picture.as_deref(),
            };
            let mut statements = Vec::from(store::sign_up::create(context, &user)?);
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
    let outgoing = Outgoing { url, form: Some(form.finish()), authorization };
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

/// Whether somebody is signed in, for pages that skip the login then.
///
/// # Errors
/// 503.
pub async fn is_signed_in(call: &Call) -> Result<bool> {
    let visitor = call.visitor(Depth::Snapshot).await?;
    Ok(matches!(visitor, crate::handlers::authenticate::Authentication::Authenticated(_)))
}
