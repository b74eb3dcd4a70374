//! The authorization endpoint (RFC 6749, section 3.1): the user signs in, agrees, and comes back with a code.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::handlers::Call;
use crate::handlers::authenticate::{Authenticated, Authentication, Depth};
use crate::handlers::provider::{REQUEST_URI, issuer};
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::id::{Id, Millis, User};
use crate::oauth::authorization::{AuthorizationRequest, Place, Prompt, Refused, ResponseMode, judge};
use crate::oauth::client::Client;
use crate::oauth::client_authentication::CREDENTIALS;
use crate::oauth::parameters::Parameters;
use crate::oauth::problem::{Code, Problem};
use crate::oauth::token::Granted;
use crate::pages::{self, Frame};
use crate::secret::{AuthorizationCode, KeptRequest, Token};
use crate::store;
use crate::store::database::{Statement, StoreError, must_change};
use crate::store::oauth::grant::{Found, Kept};

/// A request, its client, and what was kept of it.
pub struct Asked {
    /// The client.
    pub client: Client,
    /// The parameters.
    pub parameters: Parameters,
    /// When the user must have signed in since.
    pub signed_in_after: Option<Millis>,
    /// The kept request's id, if it was one.
    pub kept_id: Option<String>,
    /// Who is asked to agree to it.
    pub asks: Option<Id<User>>,
    /// Whether the client pushed it.
    pub is_pushed: bool,
}

/// `GET /oauth2/authorize`.
///
/// # Errors
/// 400 on a page of ours where no redirect URI is to be trusted; 503.
pub async fn get(call: &mut Call) -> Result<Reply> {
    let query = call.request.query().to_owned();
    authorize(call, &query).await
}

/// `POST /oauth2/authorize`: the same by form (OpenID Connect Core 1.0, section 3.1.2.1). Our cookies do not come along with
/// another site's POST, so the browser is sent once more, by GET, from our own.
///
/// # Errors
/// 400, 415.
pub async fn post(call: &mut Call) -> Result<Reply> {
    let form = call.request.form().await?;
    Parameters::parse(&form).map_err(doubled)?;
    Ok(Reply::redirect(303, &Target::own(format!("/oauth2/authorize?{form}"))))
}

/// A parameter that stands there twice, or is too long.
#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
#[must_use]
pub fn doubled(name: String) -> Problem {
    Problem::new(Code::InvalidRequest, "a parameter stands there twice, or is too long").because(format!("{name:?}"))
}

/// Loads what a request asks: its own parameters, or those that were kept.
///
/// # Errors
/// 400 for an unknown client or kept request.
pub async fn load(context: &Context, mut given: Parameters) -> Result<Asked> {
    // A client that puts its secret into its user's browser by mistake must not find it in our database.
    for name in CREDENTIALS {
        given.remove(name);
    }
    let unknown = || Problem::new(Code::InvalidRequest, "client_id is missing, or of no client of ours");
    let client_id = given.get("client_id").ok_or_else(unknown)?.to_owned();
    let mut statements = vec![store::oauth::client::by_client_id(context, &client_id)];
    let kept: Option<Token<KeptRequest>> = match given.get("request_uri") {
        None => None,
        Some(uri) => {
            let token = uri.strip_prefix(REQUEST_URI).and_then(Token::parse);
            let bad = || Problem::new(Code::InvalidRequestUri, "request_uri is not one of ours");
            Some(token.ok_or_else(bad)?)
        }
    };
    statements.extend(kept.as_ref().map(|token| store::oauth::grant::request(context, &token.hash())));
    let mut answers = context.db()?.batch(statements).await?;
    let client: Option<Client> = answers.row()?;
    let client = client.ok_or_else(unknown)?;
    if kept.is_none() {
        return Ok(Asked {
            client,
            parameters: given,
            signed_in_after: None,
            kept_id: None,
            asks: None,
            is_pushed: false,
        });
    }
    let found: Option<Found> = answers.row()?;
    let found = found.filter(|found| found.client_id == client.id);
    let old = || Problem::new(Code::InvalidRequestUri, "request_uri is unknown, used or too old");
    let Found { id, request: Kept { parameters, signed_in_after, asks, is_pushed }, .. } = found.ok_or_else(old)?;
    Ok(Asked { client, parameters, signed_in_after, kept_id: Some(id), asks, is_pushed })
}

async fn authorize(call: &Call, query: &str) -> Result<Reply> {
    let context = &call.context;
    let asked = load(context, Parameters::parse(query).map_err(doubled)?).await?;
    let request = match judge(&asked.parameters, &asked.client) {
        Ok(request) => request,
        Err(refused) => return refuse(context, refused),
    };
    let refuse_with = |code, description| {
        let place = place(&request);
        refuse(context, Refused { problem: Problem::new(code, description), place: Some(place) })
    };
    let authenticated = match call.visitor(Depth::Database).await? {
        Authentication::Authenticated(one) if !one.session.user.is_anonymous => Some(one),
        _ => None,
    };
    let Some(authenticated) = authenticated else {
        if request.prompt.none {
            return refuse_with(Code::LoginRequired, "nobody is signed in");
        }
        return sign_in_first(context, &asked, &request, None).await;
    };
    let since = authenticated.session.authenticated_at;
    let asks = request.prompt.login || request.prompt.select_account || request.prompt.create;
    let is_stale = request.asks_again(since, context.now);
    // A kept request says since when: they have done what was asked of them once they come back from it.
    let has_done = asked.signed_in_after.is_some_and(|after| since >= after);
    if (asks || is_stale) && !has_done {
        if request.prompt.none {
            return refuse_with(Code::LoginRequired, "the sign-in is too old");
        }
        return sign_in_first(context, &asked, &request, Some(context.now)).await;
    }
    if authenticated.session.impersonated_by.is_some() {
        return refuse_with(Code::AccessDenied, "an administrator is signed in as somebody else");
    }
    if needs_consent(context, &asked.client, &request, &authenticated).await? {
        if request.prompt.none {
            return refuse_with(Code::ConsentRequired, "the user has not agreed");
        }
        let user = Some(authenticated.session.user.id.clone());
        let (uri, statements) = keep(context, &asked, asked.signed_in_after, user)?;
        write(context, statements).await?;
        let page = Target::own("/consent").with_query("client_id", &asked.client.client_id);
        return Ok(Reply::redirect(302, &page.with_query("request_uri", &uri)).with_cookies(authenticated.cookies));
    }
    let (code, keep) = code(context, &asked.client, &request, &authenticated)?;
    let mut statements = spend(context, &asked);
    statements.push(keep);
    write(context, statements).await?;
    Ok(answer(context, &place(&request), &[("code", code.expose())]).with_cookies(authenticated.cookies))
}

/// Keeps the request while its user signs in, and sends them there.
async fn sign_in_first(
    context: &Context,
    asked: &Asked,
    request: &AuthorizationRequest,
    after: Option<Millis>,
) -> Result<Reply> {
    let (uri, statements) = keep(context, asked, after, None)?;
    write(context, statements).await?;
    let back = Target::own("/oauth2/authorize").with_query("client_id", &asked.client.client_id);
    let back = back.with_query("request_uri", &uri);
    let mut page = Target::own(if request.prompt.create { "/sign-up" } else { "/login" });
    page = page.with_query("continue", back.as_str());
    if after.is_some() {
        page = page.with_query("again", "true");
    }
    if let Some(hint) = &request.login_hint {
        page = page.with_query("login_hint", hint);
    }
    Ok(Reply::redirect(302, &page))
}

/// A pushed request is good once (RFC 9126, section 7.3): it becomes a code, or one that we keep while the user signs in.
fn spend(context: &Context, asked: &Asked) -> Vec<Statement> {
    match &asked.kept_id {
        Some(id) if asked.is_pushed => vec![store::oauth::grant::redeem(context, id), must_change()],
        _ => Vec::new(),
    }
}

async fn write(context: &Context, statements: Vec<Statement>) -> Result<()> {
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => {
            Err(Problem::new(Code::InvalidRequestUri, "request_uri is unknown, used or too old").into())
        }
        other => Ok(other.map(|_| ())?),
    }
}

fn keep(
    context: &Context,
    asked: &Asked,
    after: Option<Millis>,
    asks: Option<Id<User>>,
) -> Result<(String, Vec<Statement>)> {
    let token: Token<KeptRequest> = Token::new(context.random()?);
    let kept = Kept { parameters: asked.parameters.clone(), signed_in_after: after, asks, is_pushed: false };
    let seconds = context.config.flow_seconds;
    let mut statements = spend(context, asked);
    statements.push(store::oauth::grant::keep_request(context, &token.hash(), &asked.client.id, &kept, seconds)?);
    Ok((format!("{REQUEST_URI}{}", token.expose()), statements))
}

/// Whether the user is to be asked: each scope once, and again where the client wants it or may not stay signed in unasked
/// (OpenID Connect Core 1.0, section 11).
async fn needs_consent(
    context: &Context,
    client: &Client,
    request: &AuthorizationRequest,
    authenticated: &Authenticated,
) -> Result<bool> {
    if request.prompt.consent {
        return Ok(true);
    }
    if client.skips_consent {
        return Ok(false);
    }
    let user = &authenticated.session.user.id;
    let given: Option<Vec<String>> =
        context.db()?.first(store::oauth::consent::given(context, &client.id, user)).await?;
    let given = given.unwrap_or_default();
    Ok(!request.scopes.iter().all(|scope| given.contains(scope)))
}

/// A code for what was agreed to, and the statement that keeps it.
///
/// # Errors
/// If the platform has no randomness.
pub fn code(
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
    let keep = store::oauth::grant::keep_code(context, &id, &code.hash(), &client.id, who, &granted)?;
    Ok((code, keep))
}

/// Where a request's answer goes.
#[must_use]
pub fn place(request: &AuthorizationRequest) -> Place {
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
pub fn refuse(context: &Context, refused: Refused) -> Result<Reply> {
    let Some(place) = refused.place else {
        return Err(refused.problem.into());
    };
    context.log("/oauth2/authorize", &Error::from(refused.problem.clone()));
    let problem = refused.problem;
    Ok(answer(context, &place, &[("error", problem.code.as_str()), ("error_description", problem.description)]))
}

/// Sends the browser back with an answer, which names us (RFC 9207).
#[must_use]
pub fn answer(context: &Context, place: &Place, parameters: &[(&str, &str)]) -> Reply {
    let issuer = issuer(context);
    let mut all: Vec<(&str, &str)> = parameters.to_vec();
    all.extend(place.state.as_deref().map(|state| ("state", state)));
    all.push(("iss", &issuer));
    let reply = match place.response_mode {
        ResponseMode::Query => {
            let mut target = Target::own(&place.redirect_uri);
            for (name, value) in all {
                target = target.with_query(name, value);
            }
            Reply::redirect(302, &target)
        }
        ResponseMode::Fragment => {
            let pairs = form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish();
            Reply::redirect(302, &Target::own(format!("{}#{pairs}", place.redirect_uri)))
        }
        ResponseMode::FormPost => {
            let frame = Frame::of(context, "One moment");
            Reply::page_with_script(200, pages::consent::form_post(&frame, &place.redirect_uri, &all))
        }
    };
    // The code must not go on to wherever the page's links lead (RFC 9700, section 4.2.4).
    reply.with("referrer-policy", "no-referrer").with("cache-control", "no-store")
}
