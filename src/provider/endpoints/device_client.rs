//! The device flow as the published client asks for it: in JSON, below `/api/auth/device`. What it gives is the provider's
//! access token (RFC 8628), for the scopes that were agreed to: a device gets no session of its user's.

use serde_json::json;

use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::problem::{Code, Problem};
use crate::provider::authorize::refuse_doubled_parameter;
use crate::provider::device_grant::{begin_device_authorization, decide_device, load_device};
use crate::provider::parameters::Parameters;
use crate::provider::subject::load_signed_in_person;
use crate::provider::token_grant;
use crate::session::call::Call;

/// The longest parameter, in characters.
const LONGEST: usize = 2048;

/// The parameters of a body in JSON or as a form.
async fn parameters(call: &mut Call, names: &[&str]) -> Result<Parameters> {
    let mut fields = call.request.fields(Media::Both).await?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    for name in names {
        if let Some(value) = fields.optional(name, LONGEST) {
            form.append_pair(name, &value);
        }
    }
    fields.finish()?;
    Ok(Parameters::parse(&form.finish()).map_err(refuse_doubled_parameter)?)
}

/// `POST /device/code`.
///
/// # Errors
/// As the device authorization endpoint.
pub async fn code(call: &mut Call) -> Result<Reply> {
    let parameters = parameters(call, &["client_id", "client_secret", "scope"]).await?;
    begin_device_authorization(&call.context, &parameters).await
}

/// `POST /device/token`.
///
/// # Errors
/// As the token endpoint.
pub async fn poll(call: &mut Call) -> Result<Reply> {
    let parameters = parameters(call, &["grant_type", "device_code", "client_id", "client_secret"]).await?;
    if parameters.get("grant_type") != Some("urn:ietf:params:oauth:grant-type:device_code") {
        return Err(Problem::new(Code::UnsupportedGrantType, "grant_type is not of devices").into());
    }
    token_grant::answer_token_request(&call.context, &parameters).await
}

fn unknown() -> Error {
    Problem::new(Code::InvalidRequest, "Invalid user code").into()
}

/// `GET /device`: whether a device waits under a code. Looks are counted by user, or by network for a caller who is not signed in.
///
/// # Errors
/// 400, 429, 503.
pub async fn show(call: &mut Call) -> Result<Reply> {
    let typed = call.request.param("user_code").filter(|typed| !typed.is_empty());
    let typed = typed.ok_or_else(|| {
        Error::Validation("[query.user_code] Invalid input: expected string, received undefined".to_owned())
    })?;
    let authenticated = load_signed_in_person(&call.context).await?;
    let context = &call.context;
    let who = authenticated.as_ref().map(|one| one.session.user.id.as_str().to_owned());
    let who = who.unwrap_or_else(|| format!("network {}", context.client().network()));
    let (code, waiting) = load_device(context, &who, &typed).await?.ok_or_else(unknown)?;
    let mut body = json!({ "user_code": code.shown(), "status": "pending" });
    if authenticated.is_some() {
        body["client_id"] = json!(waiting.public_client_id);
        body["client_name"] = json!(waiting.client_name);
        body["scope"] = json!(waiting.scopes.join(" "));
    }
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.map(|one| one.cookies).unwrap_or_default()))
}

/// `POST /device/approve`.
///
/// # Errors
/// 400, 401, 429, 503.
pub async fn approve(call: &mut Call) -> Result<Reply> {
    decide(call, true).await
}

/// `POST /device/deny`.
///
/// # Errors
/// As [`approve`].
pub async fn deny(call: &mut Call) -> Result<Reply> {
    decide(call, false).await
}

async fn decide(call: &mut Call, agrees: bool) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let typed = fields.required("userCode", 50);
    fields.finish()?;
    let authenticated = load_signed_in_person(&call.context).await?;
    let authenticated = authenticated.ok_or_else(|| Error::refused(Wire::UNAUTHORIZED, "nobody who may agree"))?;
    let context = &call.context;
    let user = authenticated.session.user.id.as_str();
    let (_, waiting) = load_device(context, user, &typed).await?.ok_or_else(unknown)?;
    if !decide_device(context, &authenticated, &waiting, agrees).await? {
        return Err(unknown());
    }
    Ok(Reply::json(200, &json!({ "success": true }))?.with_cookies(authenticated.cookies))
}
