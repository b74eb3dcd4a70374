//! Signing out by a client (OpenID Connect RP-Initiated Logout 1.0).

use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::platform::problem::{Code, Problem};
use crate::provider::authorize::refuse_doubled_parameter;
use crate::provider::client::Client;
use crate::provider::logout::front_channel;
use crate::provider::parameters::Parameters;
use crate::provider::store::logout::Framed;
use crate::provider::subject::{issuer, session_identifier};
use crate::provider::{id_token_hint, pages, store};
use crate::request::context::Context;
use crate::session::authenticate::{Authentication, Depth};
use crate::session::call::Call;
use crate::session::live_session::LiveSession;
use crate::session::sessions::end_current_session;

/// What a request is about.
struct Asked {
    /// The session that the hint names.
    session: Option<String>,
    /// Where to go afterwards, if it is the client's own.
    target: Option<Target>,
    /// The client's name.
    client: Option<Client>,
}

/// `GET /oauth2/end_session`.
///
/// # Errors
/// 400 for a hint that is not ours, or a URI that is not the client's; 503.
pub async fn get(call: &mut Call) -> Result<Reply> {
    let parameters = Parameters::parse(call.request.query()).map_err(refuse_doubled_parameter)?;
    end(call, &parameters).await
}

/// `POST /oauth2/end_session` (section 2): our cookies do not come along, so the browser is sent once more.
///
/// # Errors
/// As [`get`].
pub async fn post(call: &mut Call) -> Result<Reply> {
    let form = call.request.form().await?;
    Parameters::parse(&form).map_err(refuse_doubled_parameter)?;
    Ok(Reply::redirect(303, &Target::own(format!("/oauth2/end_session?{form}"))))
}

async fn end(call: &Call, parameters: &Parameters) -> Result<Reply> {
    let context = &call.context;
    let asked = read(context, parameters).await?;
    let visitor = match call.visitor(Depth::Database).await? {
        Authentication::Authenticated(one) => Some(one.session),
        _ => None,
    };
    let Some(session) = visitor else {
        return Ok(done(context, asked.target));
    };
    // Whoever holds an ID token of this very session may end it; anybody else's link asks first (section 2).
    if asked.session.is_some()
        && asked.session == asked.client.as_ref().map(|client| name_for(context, &session, client))
    {
        return end_and_tell(call, &session, asked.target).await;
    }
    let name = asked.client.as_ref().map(|client| client.name.as_str());
    let page = pages::sign_out::confirm(&context.frame("Sign out"), name, &session.user.email, call.request.query());
    Ok(Reply::page(200, page))
}

/// `POST /oauth2/end_session/confirm`: by the visitor, on our own page.
///
/// # Errors
/// As [`get`].
pub async fn confirm(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let query = fields.optional("query", 32 * 1024).unwrap_or_default();
    fields.finish()?;
    let parameters = Parameters::parse(&query).map_err(refuse_doubled_parameter)?;
    let asked = read(&call.context, &parameters).await?;
    match call.visitor(Depth::Database).await? {
        Authentication::Authenticated(one) => end_and_tell(call, &one.session, asked.target).await,
        _ => Ok(done(&call.context, asked.target)),
    }
}

/// Ends the session, and shows a page that signs its reader out at the clients that want it so: their cookies are in this
/// browser alone (OpenID Connect Front-Channel Logout 1.0). A round trip of its own: it is asked before all else is gone.
async fn end_and_tell(call: &Call, session: &LiveSession, target: Option<Target>) -> Result<Reply> {
    let context = &call.context;
    let statement = store::logout::front_channels(context, &session.id);
    let channels: Vec<Framed> = context.db()?.batch([statement]).await?.rows()?;
    let cookies = end_current_session(&call.context).await?;
    let issuer = issuer(context);
    let frames: Vec<(String, String)> = channels
        .iter()
        .filter_map(|Framed { client_id, is_pairwise, uri }| {
            front_channel(uri, &issuer, &session_identifier(context.pairwise(*is_pairwise), &session.id, client_id))
        })
        .collect();
    if frames.is_empty() {
        return Ok(done(context, target).with_cookies(cookies));
    }
    let (uris, origins): (Vec<String>, Vec<String>) = frames.into_iter().unzip();
    let page = pages::sign_out::frames(&context.frame("Signing you out"), &uris, target.as_ref().map(Target::as_str));
    Ok(Reply::page_with_frames(200, page, &origins).with_cookies(cookies))
}

fn name_for(context: &Context, session: &LiveSession, client: &Client) -> String {
    session_identifier(context.pairwise(client.is_pairwise), &session.id, &client.client_id)
}

fn done(context: &Context, target: Option<Target>) -> Reply {
    match target {
        Some(target) => Reply::redirect(303, &target),
        None => Reply::page(200, pages::sign_out::done(&context.frame("You are signed out"))),
    }
}

async fn read(context: &Context, parameters: &Parameters) -> Result<Asked> {
    let invalid = |description| Problem::new(Code::InvalidRequest, description);
    let hint = match parameters.get("id_token_hint") {
        None => None,
        Some(text) => Some(
            id_token_hint::read_hint(context, text).await?.ok_or_else(|| invalid("id_token_hint is not of ours"))?,
        ),
    };
    let of_hint = hint.as_ref().and_then(|hint| hint.client_id.clone());
    let named = parameters.get("client_id").map(str::to_owned);
    if let (Some(named), Some(of_hint)) = (&named, &of_hint)
        && named != of_hint
    {
        return Err(invalid("client_id is another than id_token_hint's").into());
    }
    let client: Option<Client> = match named.or(of_hint) {
        None => None,
        Some(id) => context.db()?.first(store::client::by_client_id(context, &id)).await?,
    };
    let target = match parameters.get("post_logout_redirect_uri") {
        None => None,
        // Nobody says whose it is: there is nowhere to go afterwards but our own page (section 3).
        Some(_) if client.is_none() && parameters.get("client_id").is_none() && hint.is_none() => None,
        // Section 3: exactly one of the client's own, or an open redirect.
        Some(uri) => {
            let is_own =
                client.as_ref().is_some_and(|client| client.post_logout_redirect_uris.iter().any(|own| own == uri));
            if !is_own {
                return Err(invalid("post_logout_redirect_uri is not registered for this client").into());
            }
            let target = Target::own(uri);
            Some(parameters.get("state").map_or(target.clone(), |state| target.with_query("state", state)))
        }
    };
    let session = hint.and_then(|hint| hint.session);
    Ok(Asked { session, target, client })
}
