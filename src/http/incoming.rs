//! A request as it came in.

use std::cell::OnceCell;
use std::rc::Rc;

use base64ct::{Base64UrlUnpadded, Encoding};
use futures_util::StreamExt;
use js_sys::Reflect;
use wasm_bindgen::{JsCast, JsValue};
use worker::Request;

use crate::http::client::{Certificate, Client};
use crate::http::fields::Fields;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::origin::Origin;
use crate::platform::random;

/// What a request says beside what it asks. Read when somebody wants it: each header costs a call into JavaScript, and
/// a request that is answered from its snapshot wants almost none.
pub struct Source {
    raw: Request,
    id: OnceCell<String>,
}

impl Source {
    /// A header's value; several lines arrive joined by commas.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.raw.headers().get(name).ok().flatten()
    }

    /// Names the request: Cloudflare's name for it, or a random one.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.get_or_init(|| {
            self.header("CF-Ray").unwrap_or_else(|| {
                let random = random::random::<8>();
                random.map_or_else(|_| "none".to_owned(), |bytes| bytes.map(|byte| format!("{byte:02x}")).concat())
            })
        })
    }

    /// Whether a person is waiting for a page.
    #[must_use]
    pub fn is_navigation(&self) -> bool {
        match self.header("Sec-Fetch-Mode").as_deref() {
            Some(mode) => mode == "navigate",
            None => self.header("Accept").is_some_and(|accept| accept.contains("text/html")),
        }
    }

    /// The certificate that the client's connection was made with: `cf.tlsClientAuth`, which no client can send.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        let member = |object: &JsValue, name: &str| Reflect::get(object, &name.into()).ok();
        let cf = member(self.raw.inner(), "cf").filter(JsValue::is_object)?;
        let tls = member(&cf, "tlsClientAuth").filter(JsValue::is_object)?;
        let text = |name: &str| member(&tls, name)?.as_string();
        if text("certPresented").as_deref() != Some("1") {
            return None;
        }
        let digest = base16ct::mixed::decode_vec(text("certFingerprintSHA256")?).ok()?;
        Some(Certificate {
            // One that was revoked may be verified all the same.
            is_verified: text("certVerified").as_deref() == Some("SUCCESS"),
            is_revoked: text("certRevoked").as_deref() == Some("1"),
            subject: text("certSubjectDNRFC2253")?,
            digest: Base64UrlUnpadded::encode_string(&digest),
        })
    }

    /// Address and browser. `CF-Connecting-IP` is set by Cloudflare and cannot be sent past it.
    #[must_use]
    pub fn client(&self) -> Client {
        let mut client = Client::new(
            &self.header("CF-Connecting-IP").unwrap_or_default(),
            &self.header("User-Agent").unwrap_or_default(),
        );
        client.location = self.raw.cf().and_then(|cf| {
            let country = cf.country()?;
            Some(serde_json::json!({ "country": country, "region": cf.region(), "city": cf.city() }).to_string())
        });
        client
    }
}

/// The request, with the parts of its URL at hand. The runtime has parsed the URL: what is cut here is its
/// normalised form, in which the first `/` after the host begins the path.
pub struct Incoming {
    source: Rc<Source>,
    method: String,
    url: String,
    host_start: usize,
    path_start: usize,
}

impl Incoming {
    /// The largest body read, in bytes.
    pub const LARGEST_BODY: usize = 64 * 1024;

    /// Wraps the runtime's request.
    #[must_use]
    pub fn new(raw: Request) -> Self {
        let url = raw.inner().url();
        let host_start = url.find("://").map_or(0, |at| at + 3);
        let path_start = url[host_start..].find('/').map_or(url.len(), |at| host_start + at);
        Self {
            // Not `raw.method()`: that reads every method it does not know as GET.
            method: raw.inner().method(),
            source: Rc::new(Source { raw, id: OnceCell::new() }),
            url,
            host_start,
            path_start,
        }
    }

    /// The method, as sent.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Whether it may change something (RFC 9110, section 9.2.1).
    #[must_use]
    pub fn is_unsafe(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE")
    }

    /// Lower-case host name, without port.
    #[must_use]
    pub fn host(&self) -> &str {
        let authority = &self.url[self.host_start..self.path_start];
        let port = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
        port.map_or(authority, |at| &authority[..at])
    }

    /// The origin that was asked.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::platform::error::Error::Internal) if the runtime hands over a URL without one.
    pub fn origin(&self) -> Result<Origin> {
        Origin::parse(&self.url[..self.path_start])
            .ok_or_else(|| Error::Internal("request URL without an origin".to_owned()))
    }

    /// Whether it came over https.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.url.starts_with("https:")
    }

    /// The path, percent-encoded as it came.
    #[must_use]
    pub fn path(&self) -> &str {
        let rest = &self.url[self.path_start..];
        let path = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
        if path.is_empty() { "/" } else { path }
    }

    /// The query, without its `?`.
    #[must_use]
    pub fn query(&self) -> &str {
        let rest = &self.url[self.path_start..];
        rest.split_once('?').map_or("", |(_, query)| query)
    }

    /// Path and query, as a link back to here.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        let rest = &self.url[self.path_start..];
        if rest.is_empty() { "/" } else { rest }
    }

    /// A query parameter's first value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query().as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// Every value of a query parameter, decoded.
    #[must_use]
    pub fn params(&self, name: &str) -> Vec<String> {
        let pairs = form_urlencoded::parse(self.query().as_bytes());
        pairs.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect()
    }

    /// The runtime's request, for the gate.
    #[must_use]
    pub fn raw(&self) -> &Request {
        &self.source.raw
    }

    /// What it says beside what it asks.
    #[must_use]
    pub fn source(&self) -> &Rc<Source> {
        &self.source
    }

    /// A header's value; several lines arrive joined by commas.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.source.header(name)
    }

    /// Whether a person is looking: a page is asked for, not data.
    #[must_use]
    pub fn wants_page(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD") && self.source.is_navigation()
    }

    /// Whether a browser fetches this ahead of anybody's wish: nobody has followed the link yet.
    #[must_use]
    pub fn is_prefetch(&self) -> bool {
        let says = |name: &str| self.header(name).is_some_and(|value| value.to_ascii_lowercase().contains("prefetch"));
        says("Sec-Purpose") || says("Purpose") || says("X-Moz")
    }

    /// Reads a JSON or form body, whichever of them `media` allows. No body is an empty object.
    ///
    /// # Errors
    /// 413 over [`Self::LARGEST_BODY`], 415 for another media type, 400 for what is not a JSON object.
    pub async fn fields(&mut self, media: Media) -> Result<Fields> {
        let content_type = self.header("Content-Type").unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let body = self.body().await?;
        let form = essence == "application/x-www-form-urlencoded";
        if body.is_empty() && !form {
            return Ok(Fields::empty());
        }
        match essence.as_str() {
            "application/json" if media != Media::Form => Fields::from_json(&body),
            "application/x-www-form-urlencoded" if media != Media::Json => Fields::from_form(&body),
            _ => Err(Error::UnsupportedMediaType(format!(
                "Content-Type \"{}\" is not allowed. Allowed types: {}",
                essence.chars().filter(char::is_ascii_graphic).take(100).collect::<String>(),
                media.allowed()
            ))),
        }
    }

    /// The text of a form, for whoever tells doubled parameters from one.
    ///
    /// # Errors
    /// 413, 415.
    pub async fn form(&mut self) -> Result<String> {
        let content_type = self.header("Content-Type").unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let body = self.body().await?;
        if essence != "application/x-www-form-urlencoded" {
            let essence: String = essence.chars().filter(char::is_ascii_graphic).take(100).collect();
            let text = format!("Content-Type \"{essence}\" is not allowed. Allowed types: {}", Media::Form.allowed());
            return Err(Error::UnsupportedMediaType(text));
        }
        String::from_utf8(body).map_err(|_| Error::refused(Wire::INVALID_JSON, "a form that is not UTF-8"))
    }

    /// The whole body, up to [`Self::LARGEST_BODY`]; more is not even read.
    async fn body(&mut self) -> Result<Vec<u8>> {
        let too_large = || Error::refused(Wire::BODY_TOO_LARGE, "body over 64 KiB");
        let declared = self.header("Content-Length").and_then(|text| text.parse::<usize>().ok());
        if declared.is_some_and(|length| length > Self::LARGEST_BODY) {
            return Err(too_large());
        }
        let Some(body) = self.source.raw.inner().body() else {
            return Ok(Vec::new());
        };
        let mut stream = wasm_streams::ReadableStream::from_raw(body.unchecked_into()).into_stream();
        let mut body = Vec::with_capacity(declared.unwrap_or(0));
        while let Some(chunk) = stream.next().await {
            let broken = |error| Error::refused(Wire::INVALID_JSON, format!("body broke off: {error:?}"));
            let chunk = js_sys::Uint8Array::new(&chunk.map_err(broken)?).to_vec();
            if body.len() + chunk.len() > Self::LARGEST_BODY {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// Which media types an endpoint reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json` alone.
    Json,
    /// `application/x-www-form-urlencoded` alone: hosted pages.
    Form,
    /// Either.
    Both,
}

impl Media {
    const fn allowed(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
            Self::Both => "application/x-www-form-urlencoded, application/json",
        }
    }
}
