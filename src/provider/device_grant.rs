//! The device authorization grant (RFC 8628): codes, and the decision of the user.

use serde_json::json;

use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result};
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::{DeviceCode, Purpose, Token};
use crate::provider::authenticate_client::{authenticate_client, check_network_limit};
use crate::provider::authorization::{asked_for, judge_resources, scopes};
use crate::provider::client::{Client, GrantType};
use crate::provider::client_authentication::UnverifiedClient;
use crate::provider::device::UserCode;
use crate::provider::parameters::Parameters;
use crate::provider::store::device::{WaitingDevice, WantedDevice};
use crate::provider::subject::issuer;
use crate::provider::{client_id_metadata, device, store};
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::authenticate::Authenticated;
use crate::{records, request};

/// The page where a code is typed.
pub const PAGE: &str = "/device";

fn user_code_digest(context: &Context, code: &UserCode) -> String {
    let message = format!("device\0{}\0{}", context.tenant().id, code.as_str());
    context.config.keyring.sign(Purpose::Code, message.as_bytes())
}

/// Begins by parameters that were read.
///
/// # Errors
/// An error of OAuth (RFC 8628, section 3.2; RFC 6749, section 5.2); 429; 503.
pub async fn begin_device_authorization(context: &Context, parameters: &Parameters) -> Result<Reply> {
    let presented = UnverifiedClient::read(context.header("Authorization").as_deref(), parameters)?;
    let found = context.db()?.first(store::client::by_client_id(context, &presented.client_id)).await?;
    let found: Option<Client> = client_id_metadata::load_client(context, &presented.client_id, found).await?;
    let (client, once) = authenticate_client(context, found, &presented).await?;
    if !client.may(GrantType::DeviceCode) {
        return Err(Problem::new(Code::UnauthorizedClient, "the client may not use this grant").into());
    }
    let scopes = scopes(parameters, &client)?;
    let resources = parameters.resources();
    judge_resources(resources, &client)?;
    let consent = asked_for(&client, &scopes, std::iter::empty(), resources);
    let wanted = WantedDevice { scopes: &scopes, resources, consent: &consent };
    let token: Token<DeviceCode> = Token::new(context.random()?);
    let code = UserCode::new(context.random()?);
    let digest = user_code_digest(context, &code);
    let seconds = context.config.device_code_seconds;
    let keep = store::device::keep(context, &token.hash(), &digest, &client.id, &wanted, seconds)?;
    let mut statements = check_network_limit(context, &client, "device");
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

/// The device that waits under a code. Each look is counted: there are fewer codes than would take nobody long to try
/// (section 5.1).
///
/// # Errors
/// 429 for whom `who` names; 503.
pub async fn load_device(context: &Context, who: &str, typed: &str) -> Result<Option<(UserCode, WaitingDevice)>> {
    let code = UserCode::parse(typed);
    let limit = context.config.limit_sign_in;
    let key = request::store::rate_limit::key(&context.config, "device", context.tenant().id.as_str(), who);
    let digest = code.as_ref().map(|code| user_code_digest(context, code)).unwrap_or_default();
    let statements =
        [request::store::rate_limit::count(&key, limit, context.now), store::device::waiting(context, &digest)];
    let mut answers = context.db()?.batch(statements).await?;
    let window: Option<request::store::rate_limit::Window> = answers.row()?;
    if let Some(retry_after) = window.and_then(|window| window.retry_after(limit, context.now)) {
        return Err(Error::TooManyRequests { retry_after, limit: "device codes by user" });
    }
    let waiting: Option<WaitingDevice> = answers.row()?;
    Ok(code.zip(waiting))
}

/// Writes the user's answer; whether nobody had answered before.
///
/// # Errors
/// 503.
pub async fn decide_device(
    context: &Context,
    authenticated: &Authenticated,
    waiting: &WaitingDevice,
    agrees: bool,
) -> Result<bool> {
    let session = &authenticated.session;
    let (event, details) = (context.row_id()?, json!({ "client": waiting.client_name, "allowed": agrees }));
    let name = "device.decided";
    let mut statements = vec![
        store::device::decide(context, &waiting.id, session, agrees),
        must_change(),
        records::store::audit::audit(context, &event, Some(&session.user.id), name, Severity::Low, &details),
    ];
    if agrees {
        // Where they see it, and take it back.
        statements.push(store::consent::give(context, &waiting.client_id, &session.user.id, &waiting.scopes)?);
    }
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => Ok(false),
        other => {
            other?;
            Ok(true)
        }
    }
}
