//! The authorization endpoint (RFC 6749, section 3.1): loading a request, and answering it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::d1::Statement;
use crate::platform::error::{Error, Result};
use crate::platform::id::{Id, Millis, Session};
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::{AuthorizationCode, Cell, KeptRequest, Token};
use crate::provider::authorization::{AuthorizationRequest, Place, Prompt, Refused, ResponseMode};
use crate::provider::client::Client;
use crate::provider::client_authentication::CREDENTIALS;
use crate::provider::parameters::Parameters;
use crate::provider::store::grant::{FoundGrant, NewGrant};
use crate::provider::subject::{REQUEST_URI, issuer};
use crate::provider::token::Granted;
use crate::provider::{client_id_metadata, pages, resolve_request, store};
use crate::request::context::Context;
use crate::session::authenticate::Authenticated;
use crate::{jose, request};

/// How long a signed answer is good, in seconds (JARM, section 2.1: ten minutes at most).
const ANSWER_SECONDS: i64 = 120;

/// What a `request_uri` begins with that holds the request itself.
const CARRIED: &str = "urn:ietf:params:oauth:request_uri:carried:";

/// How long a request is kept while its user signs in and agrees, in seconds: as long as a page may stand open.
const KEPT_SECONDS: i64 = 86_400;

/// A request, its client, and what was kept of it.
pub struct LoadedRequest {
    /// The client.
    pub client: Client,
    /// The parameters.
    pub parameters: Parameters,
    /// When the user must have signed in since.
    pub signed_in_after: Option<Millis>,
    /// The kept request's id, if it was one.
    pub kept_id: Option<String>,
    /// Whom the client wants, as its `id_token_hint` said.
    pub wanted: Option<String>,
    /// In which session its user is asked to agree to it.
    pub asks: Option<Id<Session>>,
    /// The pushed request that it is, or is a copy of.
    pub pushed_id: Option<String>,
}

/// A parameter that stands there twice, or is too long.
#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
#[must_use]
pub fn refuse_doubled_parameter(name: String) -> Problem {
    Problem::new(Code::InvalidRequest, "a parameter stands there twice, or is too long").because(format!("{name:?}"))
}

/// Leaves of a request what can be kept.
///
/// # Errors
/// `invalid_request` for more than that.
pub fn check_request_size(parameters: &mut Parameters) -> Result<()> {
    if parameters.fit_to_be_kept() {
        return Ok(());
    }
    Err(Problem::new(Code::InvalidRequest, "the request is too large").into())
}

/// Loads what a request asks: its own parameters, those of its request object, or those that were kept.
///
/// # Errors
/// 400 for an unknown client or kept request.
pub async fn load_authorization_request(context: &Context, mut given: Parameters) -> Result<LoadedRequest> {
    // A client that puts its secret into its user's browser by mistake must not find it in our database.
    for name in CREDENTIALS {
        given.remove(name);
    }
    let unknown = || Problem::new(Code::InvalidRequest, "client_id is missing, or of no client of ours");
    let client_id = given.get("client_id").ok_or_else(unknown)?.to_owned();
    let mut statements = vec![store::client::by_client_id(context, &client_id)];
    let kept: Option<Token<KeptRequest>> = match given.get("request_uri") {
        None => None,
        Some(uri) if !uri.starts_with(REQUEST_URI) => {
            // Fetching it would be a stranger's way to our network; who wants it kept pushes it.
            let problem = Problem::new(Code::RequestUriNotSupported, "request_uri is for pushed requests");
            return Err(problem.into());
        }
        Some(uri) if uri.starts_with(CARRIED) => None,
        Some(uri) => {
            let token = uri.strip_prefix(REQUEST_URI).and_then(Token::parse);
            let bad = || Problem::new(Code::InvalidRequestUri, "request_uri is not one of ours");
            Some(token.ok_or_else(bad)?)
        }
    };
    statements.extend(kept.as_ref().map(|token| store::grant::request(context, &token.hash())));
    let mut answers = context.db()?.batch(statements).await?;
    let client: Option<Client> = answers.row()?;
    let client = client_id_metadata::load_client(context, &client_id, client).await?.ok_or_else(unknown)?;
    let old = || is_authentication_too_old(&client);
    if let Some(carried) = given.get("request_uri").and_then(|uri| uri.strip_prefix(CARRIED)) {
        let NewGrant { parameters, signed_in_after, asks, wanted, pushed_id, .. } =
            open_request(context, &client, carried).ok_or_else(old)?;
        return Ok(LoadedRequest { client, parameters, signed_in_after, kept_id: None, wanted, asks, pushed_id });
    }
    if kept.is_none() {
        if client.details.require_pushed_authorization_requests {
            return Err(Problem::new(Code::InvalidRequest, "this client pushes its requests").into());
        }
        let mut parameters = resolve_request::resolve_request_object(context, &client, given).await?;
        check_request_size(&mut parameters)?;
        let (kept_id, wanted) = (None, None);
        return Ok(LoadedRequest {
            client,
            parameters,
            signed_in_after: None,
            kept_id,
            wanted,
            asks: None,
            pushed_id: None,
        });
    }
    let found: Option<FoundGrant> = answers.row()?;
    let found = found.filter(|found| found.client_id == client.id);
    let FoundGrant {
        id, request: NewGrant { parameters, signed_in_after, asks, wanted, is_pushed, pushed_id }, ..
    } = found.ok_or_else(old)?;
    let pushed_id = if is_pushed { Some(id.clone()) } else { pushed_id };
    Ok(LoadedRequest { client, parameters, signed_in_after, kept_id: Some(id), wanted, asks, pushed_id })
}

/// A kept request that cannot be used any more: its user begins again at the client.
#[must_use]
pub fn is_authentication_too_old(client: &Client) -> Problem {
    let problem = Problem::new(Code::InvalidRequestUri, "request_uri is unknown, used or too old");
    problem.of_client(&client.name, client.client_uri.as_deref())
}

/// A pushed request is good once (RFC 9126, section 7.3): it is used up by the code, also where that comes of a copy that its
/// user took along to sign in. Until then a browser may load it again (section 4). One that cron has deleted meanwhile is
/// out of date, and opens nothing anyway.
#[must_use]
pub fn spend_statements(context: &Context, asked: &LoadedRequest) -> Vec<Statement> {
    let spend = |id: &String| [store::grant::redeem(context, id), store::grant::must_be_spent(context, id)];
    asked.pushed_id.iter().flat_map(spend).collect()
}

/// A request that travels with its user, and when it is too old.
#[derive(Serialize, Deserialize)]
struct Carried {
    kept: NewGrant,
    expires_at: Millis,
}

/// What a sealed request is sealed for: one client's eyes on it would be no harm, another's use of it would.
fn sealed_for(client: &Client) -> Cell<'_> {
    Cell { table: "oauth_grant", column: "request", row: client.id.as_str() }
}

/// The `request_uri` of a request that travels with its user while they sign in.
///
/// # Errors
/// [`Error::Internal`] if it cannot be sealed.
pub fn seal_request(context: &Context, asked: &LoadedRequest) -> Result<String> {
    let kept = NewGrant {
        parameters: asked.parameters.clone(),
        signed_in_after: Some(context.now),
        asks: None,
        wanted: asked.wanted.clone(),
        is_pushed: false,
        pushed_id: asked.pushed_id.clone(),
    };
    let seconds = context.config.flow_seconds.max(KEPT_SECONDS);
    let carried = Carried { kept, expires_at: context.now + seconds * 1000 };
    let text = serde_json::to_vec(&carried).map_err(|error| Error::Internal(error.to_string()))?;
    let sealed = context.config.keyring.seal(sealed_for(&asked.client), &text, context.random()?);
    Ok(format!("{CARRIED}{sealed}"))
}

/// The request that [`seal_request`] sealed for this client, if it is not too old.
fn open_request(context: &Context, client: &Client, sealed: &str) -> Option<NewGrant> {
    let text = context.config.keyring.open(sealed_for(client), sealed).ok()?;
    let carried: Carried = serde_json::from_slice(text.expose()).ok()?;
    (carried.expires_at > context.now).then_some(carried.kept)
}

pub(crate) fn keep_code(
    context: &Context,
    asked: &LoadedRequest,
    after: Option<Millis>,
    asks: Option<Id<Session>>,
) -> Result<(String, Vec<Statement>)> {
    let token: Token<KeptRequest> = Token::new(context.random()?);
    let kept = NewGrant {
        parameters: asked.parameters.clone(),
        signed_in_after: after,
        asks,
        wanted: asked.wanted.clone(),
        is_pushed: false,
        pushed_id: asked.pushed_id.clone(),
    };
    let seconds = context.config.flow_seconds.max(KEPT_SECONDS);
    let mut statements = Vec::from(request::store::rate_limit::hold(context, "authorize"));
    statements.push(store::grant::keep_request(context, &token.hash(), &asked.client.id, &kept, seconds)?);
    Ok((format!("{REQUEST_URI}{}", token.expose()), statements))
}

/// A code for what was agreed to, and the statement that keeps it.
///
/// # Errors
/// If the platform has no randomness.
pub fn issue_code(
    context: &Context,
    client: &Client,
    request: &AuthorizationRequest,
    authenticated: &Authenticated,
) -> Result<(Token<AuthorizationCode>, Statement)> {
    let session = &authenticated.session;
    let code: Token<AuthorizationCode> = Token::new(context.random()?);
    let granted = Granted {
        request: AuthorizationRequest { prompt: Prompt::default(), login_hint: None, state: None, ..request.clone() },
        authenticated_at: session.authenticated_at,
        amr: session.amr.clone(),
    };
    let id = context.row_id()?;
    let who = (&session.user.id, &session.id);
    let keep = store::grant::keep_code(context, &id, &code.hash(), &client.id, who, &granted)?;
    Ok((code, keep))
}

/// Where a request's answer goes.
#[must_use]
pub fn response_target(request: &AuthorizationRequest) -> Place {
    Place {
        redirect_uri: request.redirect_uri.clone(),
        response_mode: request.response_mode,
        state: request.state.clone(),
    }
}

/// Tells an error to the client, or on our own page.
///
/// # Errors
/// The error, where it is told on our page.
pub async fn refuse_authorization(context: &Context, client: &Client, refused: Refused) -> Result<Reply> {
    let Some(place) = refused.place else {
        return Err(refused.problem.of_client(&client.name, client.client_uri.as_deref()).into());
    };
    context.log("/oauth2/authorize", &Error::from(refused.problem.clone()));
    let problem = refused.problem;
    let parameters = [("error", problem.code.as_str()), ("error_description", problem.description)];
    answer_authorization(context, client, &place, &parameters).await
}

/// Sends the browser back with an answer, which names us (RFC 9207).
///
/// # Errors
/// If there is no key to sign it with.
pub async fn answer_authorization(
    context: &Context,
    client: &Client,
    place: &Place,
    parameters: &[(&str, &str)],
) -> Result<Reply> {
    let issuer = issuer(context);
    let mut all: Vec<(&str, &str)> = parameters.to_vec();
    all.extend(place.state.as_deref().map(|state| ("state", state)));
    all.push(("iss", &issuer));
    let response;
    if place.response_mode.is_jwt() {
        // JWT Secured Authorization Response Mode for OAuth 2.0, section 2.1: `iss` is a claim of every one.
        let mut claims: Map<String, Value> =
            all.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        claims.insert("aud".to_owned(), client.client_id.clone().into());
        let signer = jose::store::signer_for(context, client.details.authorization_signed_response_alg).await?;
        response = signer.sign_as("JWT", Value::Object(claims), context.now, ANSWER_SECONDS).await?;
        all = vec![("response", &response)];
    }
    let reply = match place.response_mode {
        ResponseMode::Query | ResponseMode::QueryJwt => {
            let mut target = Target::own(&place.redirect_uri);
            for (name, value) in all {
                target = target.with_query(name, value);
            }
            Reply::redirect(302, &target)
        }
        ResponseMode::Fragment | ResponseMode::FragmentJwt => {
            let pairs = form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish();
            Reply::redirect(302, &Target::own(format!("{}#{pairs}", place.redirect_uri)))
        }
        ResponseMode::FormPost | ResponseMode::FormPostJwt => {
            let frame = context.frame("One moment");
            Reply::page_with_script(200, pages::consent::form_post(&frame, &place.redirect_uri, &all))
        }
    };
    // The code must not go on to wherever the page's links lead (RFC 9700, section 4.2.4).
    Ok(reply.with("referrer-policy", "no-referrer").with("cache-control", "no-store"))
}
