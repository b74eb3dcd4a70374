//! Signing in through an upstream issuer.

use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::federation::callback::{CallbackError, ExpectedIssuer, UnverifiedCallback};
use crate::federation::request::{Flow, Parameters, authorization_url};
use crate::handlers::Call;
use crate::handlers::opening::{self, Outcome};
use crate::handlers::outgoing;
use crate::handlers::upstream::{End, Failure, endpoint, identify};
use crate::http::cookie::{self, Cookie, Presented};
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::secret::{BrowserBinding, Token, UpstreamState, equal_in_constant_time};
use crate::store;
use crate::store::database::Statement;
use crate::store::issuer::Upstream;
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

/// `GET /callback/:id`.
///
/// # Errors
/// 503. Everything else is a redirect to a page that says what happened.
pub async fn callback(call: &mut Call) -> Result<Reply> {
    let name = call.segment.clone().unwrap_or_default();
    match finish(call, &name).await {
        Ok((outcome, target)) => Ok(outcome.redirect(302, &Target::own(target))),
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

async fn finish(call: &Call, name: &str) -> std::result::Result<(Outcome, String), End> {
    let context = &call.context;
    let unverified = UnverifiedCallback::parse(call.request.query())?;
    let state = unverified.state()?;
    // Used up by looking: whatever is wrong with the rest, this state is over.
    let statements =
        [store::verification::take(context, &state.hash(), None), store::issuer::by_name(&context.tenant().id, name)];
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
