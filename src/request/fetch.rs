//! Requests to upstream issuers, and to clients for their keys and documents: bounded in time and size, and never redirected.

use futures_util::StreamExt;
use serde_json::Value;
use url::Url;
use wasm_bindgen::JsValue;
use worker::{AbortSignal, Fetch, Headers, Method, Request, RequestInit, RequestRedirect};

use crate::platform::outbound_url::check_url;
use crate::request::context::Context;
use crate::request::store;

/// The largest answer read, in bytes.
const LARGEST: usize = 256 * 1024;

/// What is sent.
pub struct Outgoing<'a> {
    /// Where.
    pub url: &'a str,
    /// A form to post; none is a GET.
    pub form: Option<String>,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// One more header.
    pub header: Option<(&'static str, &'static str)>,
}

/// An answer: its status, its body, and how long it may be kept.
pub struct Incame {
    /// Status.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
}

/// Sends a request to an issuer. The address is judged here, whatever was judged when it was stored.
///
/// # Errors
/// What went wrong, for the log.
pub async fn send_request(context: &Context, outgoing: Outgoing<'_>) -> Result<Incame, String> {
    let url = check_url(outgoing.url, context.config.development)?;
    refuse_own_url(context, &url).await?;
    let describe = |error: worker::Error| format!("{}: {error}", outgoing.url);
    let headers = Headers::new();
    headers.set("accept", "application/json").map_err(describe)?;
    headers.set("user-agent", "doorward").map_err(describe)?;
    if let Some(authorization) = &outgoing.authorization {
        headers.set("authorization", authorization).map_err(describe)?;
    }
    if let Some((name, value)) = outgoing.header {
        headers.set(name, value).map_err(describe)?;
    }
    let mut init = RequestInit::new();
    // A redirect would carry the client's secret to wherever it points.
    init.with_redirect(RequestRedirect::Manual);
    if let Some(form) = &outgoing.form {
        headers.set("content-type", "application/x-www-form-urlencoded").map_err(describe)?;
        init.with_method(Method::Post).with_body(Some(JsValue::from_str(form)));
    }
    init.with_headers(headers);
    let request = Request::new_with_init(url.as_str(), &init).map_err(describe)?;
    let millis = u32::try_from(context.config.upstream_timeout_seconds * 1000).unwrap_or(u32::MAX);
    let signal = AbortSignal::from(web_sys::AbortSignal::timeout_with_u32(millis));
    let mut response = Fetch::Request(request).send_with_signal(&signal).await.map_err(describe)?;
    let status = response.status_code();
    let mut body = Vec::new();
    if let Ok(mut stream) = response.stream() {
        while let Some(chunk) = stream.next().await {
            body.extend_from_slice(&chunk.map_err(describe)?);
            if body.len() > LARGEST {
                return Err(format!("{}: an answer over {LARGEST} bytes", outgoing.url));
            }
        }
    }
    let cache_control = response.headers().get("cache-control").ok().flatten();
    Ok(Incame { status, body, cache_control })
}

/// Whether a URL that somebody gave us is not one of ours.
///
/// # Errors
/// That it is, or that it cannot be told.
pub async fn refuse_own_url(context: &Context, url: &Url) -> Result<(), String> {
    let own = store::directory::is_own(&context.env, &context.config, context.binding(), url, context.now).await;
    match own {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!("{url}: {OWN}")),
        Err(error) => Err(format!("{url}: {error:?}")),
    }
}

/// What is said of a URL of ours.
pub const OWN: &str = "a host of this server's own, or an origin behind its gate";

/// Gets a document.
///
/// # Errors
/// As [`send_request`], or its status.
pub async fn fetch_document(context: &Context, url: &str) -> Result<Vec<u8>, String> {
    let answer = send_request(context, Outgoing { url, form: None, authorization: None, header: None }).await?;
    if answer.status != 200 {
        return Err(format!("{url}: status {}", answer.status));
    }
    Ok(answer.body)
}

/// Gets a document with an access token (RFC 6750, section 2.1).
///
/// # Errors
/// As [`fetch_document`].
pub async fn fetch_with_token(
    context: &Context,
    url: &str,
    token: &str,
    header: Option<(&'static str, &'static str)>,
) -> Result<Vec<u8>, String> {
    let authorization = Some(format!("Bearer {token}"));
    let answer = send_request(context, Outgoing { url, form: None, authorization, header }).await?;
    if answer.status != 200 {
        return Err(format!("{url}: status {}", answer.status));
    }
    Ok(answer.body)
}

/// The same of a JSON document.
///
/// # Errors
/// As [`fetch_document`].
pub async fn fetch_json_with_token(
    context: &Context,
    url: &str,
    token: &str,
    header: Option<(&'static str, &'static str)>,
) -> Result<Value, String> {
    let body = fetch_with_token(context, url, token, header).await?;
    serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))
}
