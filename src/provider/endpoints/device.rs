//! Devices without a browser of their own (RFC 8628): they show a code, and their user agrees to it in another browser.

use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::provider::authorize::refuse_doubled_parameter;
use crate::provider::device_grant::PAGE;
use crate::provider::parameters::Parameters;
use crate::provider::subject::{load_signed_in_person, sign_in_redirect};
use crate::provider::{device_grant, pages};
use crate::session::call::Call;

/// `POST /oauth2/device_authorization` (section 3.1).
///
/// # Errors
/// 401 `invalid_client`, 400.
pub async fn begin(call: &mut Call) -> Result<Reply> {
    let form = call.request.form().await?;
    device_grant::begin_device_authorization(
        &call.context,
        &Parameters::parse(&form).map_err(refuse_doubled_parameter)?,
    )
    .await
}

/// `GET /device`: asks for the code, or, with one, whether the device is the user's.
///
/// # Errors
/// 429, 503.
pub async fn page(call: &mut Call) -> Result<Reply> {
    let Some(authenticated) = load_signed_in_person(&call.context).await? else {
        return Ok(Reply::redirect(302, &sign_in_redirect(call.request.path_and_query())));
    };
    let context = &call.context;
    let frame = context.frame("Connect a device");
    let Some(typed) = call.request.param("user_code").filter(|typed| !typed.is_empty()) else {
        return Ok(Reply::page(200, pages::device::ask(&frame, None)).with_cookies(authenticated.cookies));
    };
    let found = device_grant::load_device(context, authenticated.session.user.id.as_str(), &typed).await?;
    let Some((code, waiting)) = found else {
        return Ok(Reply::page(400, pages::device::ask(&frame, Some("This code is unknown, used, or too old."))));
    };
    let email = &authenticated.session.user.email;
    let page = pages::device::confirm(&frame, &code.shown(), &waiting.client_name, &waiting.scopes, email);
    Ok(Reply::page(200, page).with_cookies(authenticated.cookies))
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
    let authenticated = load_signed_in_person(&call.context).await?;
    let Some(authenticated) = authenticated else {
        let back = Target::own(PAGE).with_query("user_code", &typed);
        return Ok(Reply::redirect(303, &sign_in_redirect(back.as_str())));
    };
    let context = &call.context;
    let frame = context.frame("Connect a device");
    let gone = || Reply::page(400, pages::device::ask(&frame, Some("This code is unknown, used, or too old.")));
    let Some((_, waiting)) = device_grant::load_device(context, authenticated.session.user.id.as_str(), &typed).await?
    else {
        return Ok(gone());
    };
    if !device_grant::decide_device(context, &authenticated, &waiting, agrees).await? {
        return Ok(gone());
    }
    Ok(Reply::page(200, pages::device::done(&frame, agrees)).with_cookies(authenticated.cookies))
}
