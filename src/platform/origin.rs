//! Origins (RFC 6454): compared whole, never by prefix or suffix.

use std::fmt;

use url::Url;

/// Scheme, host and port of an http or https URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    text: String,
    host: String,
}

impl Origin {
    /// An origin written as such: nothing may follow the port but one slash.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text.trim()).ok()?;
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && !text.contains(['\\', '\t', '\n', '\r']);
        if bare { Self::of(&url) } else { None }
    }

    /// The origin of a URL; `None` for schemes without one and for URLs with user information.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        let plain = url.username().is_empty() && url.password().is_none();
        if !plain || !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        Some(Self { text: url.origin().ascii_serialization(), host: url.host_str()?.to_owned() })
    }

    /// The same scheme and port on another host.
    #[must_use]
    pub fn with_host(&self, host: &str) -> Option<Self> {
        let mut url = Url::parse(&self.text).ok()?;
        url.set_host(Some(host)).ok()?;
        Self::of(&url)
    }

    /// `https://host:port`, the port only where it is not the scheme's own.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Lower-case host name, without port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        if self.is_secure() { "https" } else { "http" }
    }

    /// Whether it is https, and cookies can be `Secure`.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.text.starts_with("https:")
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
