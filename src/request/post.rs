//! Posting to a service that the operator chose.

use serde_json::Value;
use wasm_bindgen::JsValue;
use worker::{AbortSignal, Fetch, Headers, Method, Request, RequestInit, RequestRedirect};

use crate::platform::secret::Secret;

/// How long a mail service may take, in milliseconds.
const PATIENCE: u32 = 10_000;

/// What is posted.
pub enum Body {
    /// JSON.
    Json(Value),
    /// A form, encoded.
    Form(String),
}

/// Posts to a service, which must say that it went well.
///
/// # Errors
/// What went wrong.
pub async fn post_to_service(url: &str, token: Option<&Secret<String>>, id: &str, body: Body) -> Result<(), String> {
    let describe = |error: worker::Error| error.to_string();
    let headers = Headers::new();
    let (media, text) = match body {
        Body::Json(value) => ("application/json", value.to_string()),
        Body::Form(text) => ("application/x-www-form-urlencoded", text),
    };
    headers.set("content-type", media).map_err(describe)?;
    // The service may see a message twice, if its answer was lost; by this it can tell.
    headers.set("idempotency-key", id).map_err(describe)?;
    if let Some(token) = token {
        headers.set("authorization", &format!("Bearer {}", token.expose())).map_err(describe)?;
    }
    let mut init = RequestInit::new();
    init.with_method(Method::Post)
        .with_headers(headers)
        .with_redirect(RequestRedirect::Manual)
        .with_body(Some(JsValue::from_str(&text)));
    let request = Request::new_with_init(url, &init).map_err(describe)?;
    let signal = AbortSignal::from(web_sys::AbortSignal::timeout_with_u32(PATIENCE));
    let response = Fetch::Request(request).send_with_signal(&signal).await.map_err(describe)?;
    match response.status_code() {
        200..=299 => Ok(()),
        status => Err(format!("status {status}")),
    }
}
