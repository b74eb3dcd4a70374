//! A reply, as handlers build it: plain data until the very end.

use std::borrow::Cow;
use std::cell::RefCell;

use serde::Serialize;
use worker::{Headers, Response, ResponseBody, ResponseBuilder};

use crate::http::redirect::Target;
use crate::platform::error::{Error, Result};

type Header = (&'static str, Cow<'static, str>);

thread_local! {
    /// Sets of headers that are the same for many answers, as JavaScript objects ready to be copied: each string that
    /// crosses from here costs more than the whole copy.
    static COMMON: RefCell<Vec<(Vec<Header>, Headers)>> = const { RefCell::new(Vec::new()) };
}

/// The most sets kept.
const MOST_COMMON: usize = 64;

/// Status, headers and body.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<Header>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Empty,
    Text(String),
    /// An answer of an origin, streamed through.
    Forwarded(Response),
}

impl Reply {
    /// A status without a body.
    #[must_use]
    pub const fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Empty }
    }

    /// A JSON body.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::platform::error::Error::Internal) if the value cannot be written as JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Result<Self> {
        let text = serde_json::to_string(value).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self::text(status, "application/json", text))
    }

    /// A body of some media type.
    #[must_use]
    pub fn text(status: u16, media: &'static str, text: String) -> Self {
        Self { status, headers: vec![("content-type", Cow::Borrowed(media))], body: Body::Text(text) }
    }

    /// A hosted page. The policy lets it load our stylesheet and nothing else, and be framed by nobody. It says nothing of
    /// `form-action`: Chromium holds redirects to it as well, and signing in and consent end at a client's redirect URI.
    #[must_use]
    pub fn page(status: u16, html: String) -> Self {
        Self::text(status, "text/html; charset=utf-8", html)
            .with("cache-control", "no-store")
            .with(
                "content-security-policy",
                "default-src 'none'; style-src 'self'; img-src 'self' https: data:; base-uri 'none'; frame-ancestors 'none'",
            )
            .with("referrer-policy", "same-origin")
    }

    /// A hosted page that may run our script as well, and let it ask us.
    #[must_use]
    pub fn page_with_script(status: u16, html: String) -> Self {
        Self::text(status, "text/html; charset=utf-8", html)
            .with("cache-control", "no-store")
            .with(
                "content-security-policy",
                "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' https: data:; \
                 base-uri 'none'; frame-ancestors 'none'",
            )
            .with("referrer-policy", "same-origin")
    }

    /// A hosted page that may run our script, and frame pages of these origins.
    #[must_use]
    pub fn page_with_frames(status: u16, html: String, origins: &[String]) -> Self {
        let policy = format!(
            "default-src 'none'; style-src 'self'; script-src 'self'; frame-src {}; img-src 'self' data:; base-uri 'none'; \
             frame-ancestors 'none'",
            origins.join(" ")
        );
        Self::text(status, "text/html; charset=utf-8", html)
            .with("cache-control", "no-store")
            .with("content-security-policy", policy)
            .with("referrer-policy", "no-referrer")
    }

    /// 302, or 303 after a form was posted.
    #[must_use]
    pub fn redirect(status: u16, target: &Target) -> Self {
        Self::empty(status).with("location", target.as_str().to_owned())
    }

    /// An origin's answer.
    #[must_use]
    pub const fn forwarded(response: Response) -> Self {
        Self { status: 0, headers: Vec::new(), body: Body::Forwarded(response) }
    }

    /// The status; 0 for an origin's answer, which has its own.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Adds a header line.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds a `Set-Cookie` line.
    #[must_use]
    pub fn with_cookie(self, line: String) -> Self {
        self.with("set-cookie", line)
    }

    /// Adds several `Set-Cookie` lines.
    #[must_use]
    pub fn with_cookies(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.headers.extend(lines.into_iter().map(|line| ("set-cookie", Cow::Owned(line))));
        self
    }

    /// The value that a `Set-Cookie` line of ours gives a cookie; none if it is taken back or not set.
    #[must_use]
    pub fn cookie_value(&self, name: &str) -> Option<String> {
        let lines = self.headers.iter().filter(|(header, _)| *header == "set-cookie");
        let mut values = lines.filter_map(|(_, line)| line.strip_prefix(name)?.strip_prefix('=')?.split(';').next());
        values.rfind(|value| !value.is_empty()).map(str::to_owned)
    }

    /// The same by another status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The same without its body. An origin's answer to HEAD has none.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        if let Body::Text(_) = self.body {
            self.body = Body::Empty;
        }
        self
    }

    /// Whether a header is set already.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(key, _)| *key == name)
    }

    /// The runtime's response.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::platform::error::Error::Internal) if a header cannot be sent.
    pub fn into_response(self) -> Result<Response> {
        let (common, own): (Vec<Header>, Vec<Header>) =
            self.headers.into_iter().partition(|(_, value)| matches!(value, Cow::Borrowed(_)));
        let add = |headers: &Headers, lines: &[Header]| -> Result<()> {
            for (name, value) in lines {
                headers.append(name, &printable(value))?;
            }
            Ok(())
        };
        let body = match self.body {
            Body::Forwarded(response) => {
                add(response.headers(), &common)?;
                add(response.headers(), &own)?;
                return Ok(response);
            }
            Body::Empty => ResponseBody::Empty,
            Body::Text(text) => ResponseBody::Body(text.into_bytes()),
        };
        let headers = copy_of(&common)?;
        add(&headers, &own)?;
        Ok(ResponseBuilder::new().with_status(self.status).with_headers(headers).body(body))
    }
}

/// Headers that can be added to, beginning with these.
fn copy_of(common: &[Header]) -> Result<Headers> {
    COMMON.with_borrow_mut(|kept| {
        if let Some((_, headers)) = kept.iter().find(|(set, _)| set == common) {
            return Ok(headers.clone());
        }
        let headers = Headers::new();
        for (name, value) in common {
            headers.append(name, value)?;
        }
        if kept.len() < MOST_COMMON {
            kept.push((common.to_vec(), headers.clone()));
        }
        Ok(headers)
    })
}

/// A value that cannot end its line, whatever a stored name may bring.
fn printable(value: &str) -> Cow<'_, str> {
    if value.chars().any(char::is_control) {
        return Cow::Owned(value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect());
    }
    Cow::Borrowed(value)
}
