//! The authorization endpoint (RFC 6749, section 3.1): the user signs in, agrees, and comes back with a code.

use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::d1::{Statement, StoreError};
use crate::platform::error::Result;
use crate::platform::problem::{Code, Problem};
use crate::provider::assurance::{MULTI_FACTOR, met};
use crate::provider::authorization::{AuthorizationRequest, Refused, judge};
use crate::provider::authorize::LoadedRequest;
use crate::provider::client::Client;
use crate::provider::parameters::Parameters;
use crate::provider::subject::subject_identifier;
use crate::provider::{authorize, id_token_hint, store};
use crate::request::context::Context;
use crate::session::authenticate::{Authenticated, Authentication, Depth};
use crate::session::call::Call;

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
    Parameters::parse(&form).map_err(authorize::refuse_doubled_parameter)?;
    Ok(Reply::redirect(303, &Target::own(format!("/oauth2/authorize?{form}"))))
}

/// Three round trips, and a fourth where it is looked up what they agreed to: the request is judged before anybody is looked
/// up, so that a bad one costs the database one question and tells nothing of who is signed in.
async fn authorize(call: &Call, query: &str) -> Result<Reply> {
    let context = &call.context;
    let mut asked = authorize::load_authorization_request(
        context,
        Parameters::parse(query).map_err(authorize::refuse_doubled_parameter)?,
    )
    .await?;
    let hinted = id_token_hint::take_hint(context, &asked.client, &mut asked.parameters).await?;
    if let Ok(Some(subject)) = &hinted {
        asked.wanted = Some(subject.clone());
    }
    let client = &asked.client;
    let request = match judge(&asked.parameters, client) {
        Ok(request) => request,
        Err(refused) => return authorize::refuse_authorization(context, client, refused).await,
    };
    let refuse_with = |code, description| {
        let place = authorize::response_target(&request);
        authorize::refuse_authorization(
            context,
            client,
            Refused { problem: Problem::new(code, description), place: Some(place) },
        )
    };
    if let Err(problem) = hinted {
        return refuse_with(problem.code, problem.description).await;
    }
    // By an ID token of ours, or by a claim: two users cannot sign in at once.
    let by_claim = request.claims.sub.as_ref();
    if by_claim.is_some() && asked.wanted.is_some() && by_claim != asked.wanted.as_ref() {
        return refuse_with(Code::InvalidRequest, "id_token_hint and claims want different users").await;
    }
    let wanted = asked.wanted.as_ref().or(by_claim);
    let authenticated = match call.visitor(Depth::Database).await? {
        Authentication::Authenticated(one) if !one.session.user.is_anonymous => Some(one),
        _ => None,
    };
    let Some(authenticated) = authenticated else {
        if request.prompt.none {
            return refuse_with(Code::LoginRequired, "nobody is signed in").await;
        }
        return sign_in_first(context, &asked, &request, false).await;
    };
    let session = &authenticated.session;
    // A kept request says since when: they have done what was asked of them once they come back from it.
    let has_done = asked.signed_in_after.is_some_and(|after| session.authenticated_at >= after);
    if let Some(shortcoming) = shortcoming(context, client, &request, wanted.map(String::as_str), &authenticated) {
        // Signing in again is all that can be asked of them, and for some of it that is enough.
        let is_settled = has_done && matches!(shortcoming, Shortcoming::Again | Shortcoming::Voluntary);
        if request.prompt.none || (has_done && !is_settled) {
            return refuse_with(shortcoming.code(), "the sign-in is not as the client wants it").await;
        }
        if !is_settled {
            return sign_in_first(context, &asked, &request, true).await;
        }
    }
    if session.impersonated_by.is_some() {
        return refuse_with(Code::AccessDenied, "an administrator is signed in as somebody else").await;
    }
    if needs_consent(context, client, &request, &authenticated).await? {
        if request.prompt.none {
            return refuse_with(Code::ConsentRequired, "the user has not agreed").await;
        }
        let who = Some(session.id.clone());
        let (uri, statements) = authorize::keep_code(context, &asked, asked.signed_in_after, who)?;
        write(context, client, statements).await?;
        let page = Target::own("/consent").with_query("client_id", &client.client_id);
        return Ok(Reply::redirect(302, &page.with_query("request_uri", &uri)).with_cookies(authenticated.cookies));
    }
    let (code, keep) = authorize::issue_code(context, client, &request, &authenticated)?;
    let mut statements = authorize::spend_statements(context, &asked);
    statements.push(keep);
    write(context, client, statements).await?;
    let reply = authorize::answer_authorization(
        context,
        client,
        &authorize::response_target(&request),
        &[("code", code.expose())],
    )
    .await?;
    Ok(reply.with_cookies(authenticated.cookies))
}

/// Why a sign-in is not what the client wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shortcoming {
    /// They are to sign in again, or did so too long ago.
    Again,
    /// They are somebody else (OpenID Connect Core 1.0, sections 3.1.2.1 and 5.5.1).
    Another,
    /// They have to sign in better (section 5.5.1.1).
    Essential,
    /// They should.
    Voluntary,
}

impl Shortcoming {
    const fn code(self) -> Code {
        match self {
            Self::Essential => Code::UnmetAuthenticationRequirements,
            _ => Code::LoginRequired,
        }
    }
}

fn shortcoming(
    context: &Context,
    client: &Client,
    request: &AuthorizationRequest,
    wanted: Option<&str>,
    authenticated: &Authenticated,
) -> Option<Shortcoming> {
    let session = &authenticated.session;
    let user = &session.user;
    let is_another = |wanted: &str| {
        subject_identifier(context.pairwise(client.is_pairwise), &user.id, &client.redirect_uris) != wanted
    };
    if wanted.is_some_and(is_another) {
        return Some(Shortcoming::Another);
    }
    let wanted = request.wanted_acr();
    if !wanted.is_empty() && !met(&session.amr).any(|met| wanted.iter().any(|value| value == met)) {
        if request.claims.is_acr_essential {
            return Some(Shortcoming::Essential);
        }
        // To ask somebody who has no second factor for it would ask in vain, each time anew.
        let could = user.two_factor_enabled && wanted.iter().any(|value| value == MULTI_FACTOR);
        if could && !request.prompt.none {
            return Some(Shortcoming::Voluntary);
        }
    }
    let prompt = &request.prompt;
    let is_asked = prompt.login || prompt.select_account || prompt.create;
    let is_stale = request.asks_again(session.authenticated_at, context.now);
    (is_asked || is_stale).then_some(Shortcoming::Again)
}

/// Sends the user to sign in, and the request with them, sealed: what anybody may ask without having proven anything is not
/// kept, unless it is too long to travel. A user who comes back has done what was asked of them, also where nobody was signed in
/// before.
async fn sign_in_first(
    context: &Context,
    asked: &LoadedRequest,
    request: &AuthorizationRequest,
    again: bool,
) -> Result<Reply> {
    let page = Target::own("/oauth2/authorize").with_query("client_id", &asked.client.client_id);
    let mut back = page.with_query("request_uri", &authorize::seal_request(context, asked)?);
    if back.as_str().len() > Target::LONGEST {
        let (uri, statements) = authorize::keep_code(context, asked, Some(context.now), None)?;
        write(context, &asked.client, statements).await?;
        back = page.with_query("request_uri", &uri);
    }
    let mut page = Target::own(if request.prompt.create { "/sign-up" } else { "/login" });
    page = page.with_query("continue", back.as_str());
    // An issuer at which they are signed in already must not answer for them.
    if again || request.prompt.login || request.max_age.is_some() {
        page = page.with_query("again", "true");
    }
    if let Some(hint) = &request.login_hint {
        page = page.with_query("login_hint", hint);
    }
    Ok(Reply::redirect(302, &page))
}

async fn write(context: &Context, client: &Client, statements: Vec<Statement>) -> Result<()> {
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => Err(authorize::is_authentication_too_old(client).into()),
        other => Ok(other.map(|_| ())?),
    }
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
    let given: Option<Vec<String>> = context.db()?.first(store::consent::given(context, &client.id, user)).await?;
    let given = given.unwrap_or_default();
    Ok(!request.consent_scopes(client).iter().all(|scope| given.contains(scope)))
}
