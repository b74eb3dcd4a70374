//! What a proxy in front of a website was asked for, in its own words.

use crate::http::incoming::Incoming;

/// What the proxy was asked for, in its own words.
pub struct ProxyQuestion {
    /// `http` or `https`.
    is_secure: bool,
    /// Host, and port if one was said.
    authority: String,
    /// Path and query as they came, before any parser resolved their dots: rules judge what the origin may make of
    /// them. None where the proxy did not say.
    pub(crate) uri: Option<String>,
    /// The method. None where the proxy did not say.
    pub(crate) method: Option<String>,
    /// The same path in other words, which is judged as well.
    pub(crate) uri_too: Option<String>,
    /// Which proxy asks.
    pub(crate) by: Proxy,
}

/// Proxies that ask differently or want another answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// It passes no redirect on.
    Nginx,
    /// It is told which of the visitor's headers to remove.
    Envoy,
    /// Caddy, Traefik and those that ask like them.
    Other,
}

impl ProxyQuestion {
    /// Reads the headers of one family of proxies. Proxies overwrite the headers of their own and pass a visitor's
    /// headers of the other on: where both are there, one of them may be the visitor's, and neither is believed.
    ///
    /// A code is sent to the origin that stands here. Outside development only https on its own port may be named by a
    /// header: a made-up one, plain or of another service on the same host, could catch a visitor's code.
    pub(crate) fn read(request: &Incoming, development: bool) -> Option<Self> {
        let header = |name| request.header(name);
        let asked = if let Some(url) = header("X-Original-URL") {
            let (scheme, rest) = url.split_once("://")?;
            let is_secure = is_https(scheme)?;
            let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let authority = authority(&rest[..at], is_secure);
            let forwarded = header("X-Forwarded-Host").map(|host| self::authority(&host, is_secure));
            let both = header("X-Forwarded-Uri").is_some()
                || header("X-Forwarded-Method").is_some()
                || forwarded.is_some_and(|host| host != authority);
            if both {
                return None;
            }
            let (uri, method) = (Some(rest[at..].to_owned()), header("X-Original-Method"));
            Self { is_secure, authority, uri, method, uri_too: None, by: Proxy::Nginx }
        } else {
            if header("X-Original-Method").is_some() {
                return None;
            }
            let is_secure = is_https(&header("X-Forwarded-Proto").unwrap_or_else(|| "https".to_owned()))?;
            Self {
                is_secure,
                authority: authority(&header("X-Forwarded-Host")?, is_secure),
                uri: header("X-Forwarded-Uri"),
                method: header("X-Forwarded-Method"),
                uri_too: None,
                by: Proxy::Other,
            }
        };
        asked.check(development)
    }

    /// Reads the question of Envoy, whose path is `uri`.
    ///
    /// Method and path are those of the question: Envoy makes it of the visitor's request line, and no header of the
    /// visitor's changes that. So is the host where it is a website's; `X-Forwarded-Host` counts on the auth host alone, where
    /// Envoy has to be told to set it. Headers of other proxies can only be the visitor's: one that contradicts the question
    /// refuses it. `X-Forwarded-Uri` has the path as it was before the runtime resolved its dots, if Envoy is told to
    /// set it. As it may be the visitor's, it is judged beside the question's path and can only forbid more.
    pub(crate) fn read_envoy(request: &Incoming, uri: &str, is_website: bool, development: bool) -> Option<Self> {
        let header = |name| request.header(name);
        if header("X-Original-URL").is_some() || header("X-Original-Method").is_some() {
            return None;
        }
        if header("X-Forwarded-Method").is_some_and(|method| method != request.method()) {
            return None;
        }
        let here = request.origin().ok()?;
        let asked = if is_website {
            let (_, host) = here.as_str().split_once("://")?;
            (here.is_secure(), host.to_owned())
        } else {
            let is_secure = is_https(&header("X-Forwarded-Proto").unwrap_or_else(|| "https".to_owned()))?;
            (is_secure, authority(&header("X-Forwarded-Host")?, is_secure))
        };
        let (is_secure, authority) = asked;
        Self {
            is_secure,
            authority,
            uri: Some(uri.to_owned()),
            method: Some(request.method().to_owned()),
            uri_too: header("X-Forwarded-Uri"),
            by: Proxy::Envoy,
        }
        .check(development)
    }

    /// What was said, if it can be believed.
    fn check(self, development: bool) -> Option<Self> {
        // A list, user information or a path here would make another host of it in the URL that visitors are sent to.
        let is_plain = self.authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
        // Two header lines arrive joined by ", ", and an honest URI has no space: one of two is somebody else's.
        let is_path = |uri: &&String| uri.starts_with('/') && !uri.contains(' ');
        let are_paths = [&self.uri, &self.uri_too].into_iter().flatten().all(|uri| is_path(&uri));
        let usual = self.is_secure && !self.authority.contains(':');
        (is_plain && are_paths && (usual || development)).then_some(self)
    }

    /// The visitor's method, if the proxy said it.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    pub(crate) fn host(&self) -> &str {
        let port = self.authority.rfind(':').filter(|at| !self.authority[*at..].contains(']'));
        port.map_or(&self.authority, |at| &self.authority[..at])
    }

    /// The website's origin, as its visitor sees it.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.is_secure { "https" } else { "http" }, self.authority)
    }

    /// Whether the visitor uses https.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }
}

/// Host and port in their normal form: the scheme's own port is no port (RFC 9110, section 4.2.3).
pub fn authority(text: &str, is_secure: bool) -> String {
    let text = text.to_ascii_lowercase();
    let port = if is_secure { ":443" } else { ":80" };
    text.strip_suffix(port).map_or_else(|| text.clone(), str::to_owned)
}

/// Proxies name a WebSocket's scheme as well, in whichever case (RFC 3986, section 3.1).
fn is_https(scheme: &str) -> Option<bool> {
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}
