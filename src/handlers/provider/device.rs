//! Devices without a browser of their own (RFC 8628): they show a code, and their user agrees to it in another browser.

use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::handlers::Call;
use crate::handlers::authenticate::Authenticated;
use crate::handlers::provider::authorize::doubled;
use crate::handlers::provider::client::{authenticate, held_by_network};
use crate::handlers::provider::{document, issuer, person, sign_in_page};
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::oauth::authorization::{asked_for, judge_resources, scopes};
use crate::oauth::client::{Client, GrantType};
use crate::oauth::client_authentication::UnverifiedClient;
use crate::oauth::device::{self, UserCode};
use crate::oauth::parameters::Parameters;
use crate::oauth::problem::{Code, Problem};
use crate::pages::{self};
use crate::secret::{DeviceCode, Purpose, Token};
use crate::store;
use crate::store::database::{StoreError, must_change};
use crate::store::oauth::device::{Waiting, Wanted};
use crate::store::rate_limit;
use crate::store::record::Severity;

/// The page where a code is typed.
const PAGE: &str = "/device";

fn digest(context: &Context, code: &UserCode) -> String {
    let message = format!("device\0{}\0{}", context.tenant().id, code.as_str());
    context.config.keyring.sign(Purpose::Code, message.as_bytes())
}

/// `POST /oauth2/device_authorization` (section 3.1).
///
/// # Errors
/// 401 `invalid_client`, 400.
pub async fn begin(call: &mut Call) -> Result<Reply> {
    let form = call.request.form().await?;
    begin_by(&call.context, &Parameters::parse(&form).map_err(doubled)?).await
}

/// Begins by parameters that were read.
///
/// # Errors
/// As [`begin`].
pub async fn begin_by(context: &Context, parameters: &Parameters) -> Result<Reply> {
    let presented = UnverifiedClient::read(context.header("Authorization").as_deref(), parameters)?;
    let found = context.db()?.first(store::oauth::client::by_client_id(context, &presented.client_id)).await?;
    let found: Option<Client> = document::client(context, &presented.client_id, found).await?;
    let (client, once) = authenticate(context, found, &presented).await?;
    if !client.may(GrantType::DeviceCode) {
        return Err(Problem::new(Code::UnauthorizedClient, "the client may not use this grant").into());
    }
    let scopes = scopes(parameters, &client)?;
    let resources = parameters.resources();
    judge_resources(resources, &client)?;
    let consent = asked_for(&client, &scopes, std::iter::empty(), resources);
    let wanted = Wanted { scopes: &scopes, resources, consent: &consent };
    let token: Token<DeviceCode> = Token::new(context.random()?);
    let code = UserCode::new(context.random()?);
    let digest = digest(context, &code);
    let seconds = context.config.device_code_seconds;
    let keep = store::oauth::device::keep(context, &token.hash(), &digest, &client.id, &wanted, seconds)?;
    let mut statements = held_by_network(context, &client, "device");
    statements.push(keep);
    once.write(context, statements).await?;
    let page = format!("{}{PAGE}", issuer(context));
    let complete = Target::own(&page).with_query("user_code", &code.shown());
    let body = json!({
        "device_code": token.expose(),
        "user_code": code.shown(),
        "verification_uri": page,
        "verification_uri_complete": complete.as_str(),
        "expires_in": seconds,
        "interval": device::INTERVAL,
    });
    Ok(Reply::json(200, &body)?.with("cache-control", "no-store"))
}

/// `GET /device`: asks for the code, or, with one, whether the device is the user's.
///
/// # Errors
/// 429, 503.
pub async fn page(call: &mut Call) -> Result<Reply> {
    let Some(authenticated) = person(call).await? else {
        return Ok(Reply::redirect(302, &sign_in_page(call.request.path_and_query())));
    };
    let context = &call.context;
    let frame = context.frame("Connect a device");
    let Some(typed) = call.request.param("user_code").filter(|typed| !typed.is_empty()) else {
        return Ok(Reply::page(200, pages::device::ask(&frame, None)).with_cookies(authenticated.cookies));
    };
    let found = look(context, authenticated.session.user.id.as_str(), &typed).await?;
    let Some((code, waiting)) = found else {
        return Ok(Reply::page(400, pages::device::ask(&frame, Some("This code is unknown, used, or too old."))));
    };
    let email = &authenticated.session.user.email;
    let page = pages::device::confirm(&frame, &code.shown(), &waiting.client_name, &waiting.scopes, email);
    Ok(Reply::page(200, page).with_cookies(authenticated.cookies))
}

/// The device that waits under a code. Each look is counted: there are fewer codes than would take nobody long to try
/// (section 5.1).
///
/// # Errors
/// 429 for whom `who` names; 503.
pub async fn look(context: &Context, who: &str, typed: &str) -> Result<Option<(UserCode, Waiting)>> {
    let code = UserCode::parse(typed);
    let limit = context.config.limit_sign_in;
    let key = rate_limit::key(&context.config, "device", context.tenant().id.as_str(), who);
    let digest = code.as_ref().map(|code| digest(context, code)).unwrap_or_default();
    let statements = [rate_limit::count(&key, limit, context.now), store::oauth::device::waiting(context, &digest)];
    let mut answers = context.db()?.batch(statements).await?;
    let window: Option<rate_limit::Window> = answers.row()?;
    if let Some(retry_after) = window.and_then(|window| window.retry_after(limit, context.now)) {
        return Err(Error::TooManyRequests { retry_after, limit: "device codes by user" });
    }
    let waiting: Option<Waiting> = answers.row()?;
    Ok(code.zip(waiting))
}

/// `POST /device`: the user's answer.
///
/// # Errors
/// 401, 429, 503.
pub async fn decide(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let typed = fields.required("user_code", 50);
    let agrees = fields.required("decision", 10) == "allow";
    fields.finish()?;
    let authenticated = person(call).await?;
    let Some(authenticated) = authenticated else {
        let back = Target::own(PAGE).with_query("user_code", &typed);
        return Ok(Reply::redirect(303, &sign_in_page(back.as_str())));
    };
    let context = &call.context;
    let frame = context.frame("Connect a device");
    let gone = || Reply::page(400, pages::device::ask(&frame, Some("This code is unknown, used, or too old.")));
    let Some((_, waiting)) = look(context, authenticated.session.user.id.as_str(), &typed).await? else {
        return Ok(gone());
    };
    if !settle(context, &authenticated, &waiting, agrees).await? {
        return Ok(gone());
    }
    Ok(Reply::page(200, pages::device::done(&frame, agrees)).with_cookies(authenticated.cookies))
}

/// Writes the user's answer; whether nobody had answered before.
///
/// # Errors
/// 503.
pub async fn settle(context: &Context, authenticated: &Authenticated, waiting: &Waiting, agrees: bool) -> Result<bool> {
    let session = &authenticated.session;
    let (event, details) = (context.row_id()?, json!({ "client": waiting.client_name, "allowed": agrees }));
    let name = "device.decided";
    let mut statements = vec![
        store::oauth::device::decide(context, &waiting.id, session, agrees),
        must_change(),
        store::record::audit(context, &event, Some(&session.user.id), name, Severity::Low, &details),
    ];
    if agrees {
        // Where they see it, and take it back.
        statements.push(store::oauth::consent::give(context, &waiting.client_id, &session.user.id, &waiting.scopes)?);
    }
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => Ok(false),
        other => {
            other?;
            Ok(true)
        }
    }
}
