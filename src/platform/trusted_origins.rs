//! Whose scripts and apps are welcome: `TRUSTED_ORIGINS`.

use url::Url;

use crate::platform::origin::Origin;

/// What begins a pattern of hosts.
const BELOW: &str = "*.";

/// Domains below which anybody may have a host: trusting all of them would be trusting everybody.
const ANYBODYS: [&str; 14] = [
    "workers.dev",
    "pages.dev",
    "vercel.app",
    "netlify.app",
    "github.io",
    "gitlab.io",
    "web.app",
    "firebaseapp.com",
    "herokuapp.com",
    "fly.dev",
    "onrender.com",
    "co.uk",
    "com.au",
    "co.jp",
];

/// Schemes that are no app's own.
const NO_APPS: [&str; 14] = [
    "http",
    "https",
    "ws",
    "wss",
    "ftp",
    "file",
    "filesystem",
    "data",
    "blob",
    "about",
    "javascript",
    "vbscript",
    "view-source",
    "mailto",
];

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// An origin.
    Exactly(Origin),
    /// Every host below a domain, with one scheme and port: `https://*.example.com`.
    Below {
        /// The domain itself, which is not among them, as an origin.
        parent: Origin,
    },
    /// Whatever an app's own scheme names: `myapp://`.
    App(String),
    /// An extension of a browser, or another named host of a scheme that is no website's: `chrome-extension://id`.
    Named(String),
}

impl Trusted {
    /// Reads an entry.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("is not an origin such as https://app.example.com");
        };
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return Self::app(&scheme, rest);
        }
        if let Some(domain) = rest.strip_prefix(BELOW) {
            let parent = Origin::parse(&format!("{scheme}://{domain}")).filter(|_| !domain.contains('*'));
            let parent = parent.ok_or("is not an origin such as https://*.example.com")?;
            let host = parent.host();
            // An address of the network has nothing below it.
            if !host.contains('.') || host.split('.').any(str::is_empty) || host.ends_with(|c: char| c.is_ascii_digit())
            {
                return Err("must name at least two labels after the asterisk");
            }
            if ANYBODYS.contains(&host) {
                return Err("trusts hosts that anybody may have");
            }
            return Ok(Self::Below { parent });
        }
        if text.contains('*') {
            return Err("may have one asterisk, in the place of the first label: https://*.example.com");
        }
        Origin::parse(text).map(Self::Exactly).ok_or("is not an origin such as https://app.example.com")
    }

    fn app(scheme: &str, rest: &str) -> Result<Self, &'static str> {
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !is_scheme || NO_APPS.contains(&scheme) {
            return Err("is of a scheme that is no app's own");
        }
        let is_name = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        match rest {
            "" if scheme.ends_with("-extension") => Err("must name the extension"),
            "" => Ok(Self::App(scheme.to_owned())),
            name if is_name => Ok(Self::Named(format!("{scheme}://{}", name.to_ascii_lowercase()))),
            _ => Err("is neither an app's scheme such as myapp:// nor an extension such as chrome-extension://id"),
        }
    }

    /// Whether an origin is meant.
    #[must_use]
    pub fn covers(&self, origin: &Origin) -> bool {
        match self {
            Self::Exactly(exact) => exact == origin,
            Self::Below { parent } => {
                let head = origin.host().strip_suffix(parent.host()).and_then(|head| head.strip_suffix('.'));
                // Scheme and port are the parent's: with its host they make the same origin.
                head.is_some_and(|head| !head.is_empty()) && origin.with_host(parent.host()).as_ref() == Some(parent)
            }
            Self::App(_) | Self::Named(_) => false,
        }
    }

    /// Whether a URL that is no website's is meant: where an app is, or may be sent to.
    #[must_use]
    pub fn covers_app(&self, url: &Url) -> bool {
        match self {
            Self::App(scheme) => url.scheme() == scheme,
            Self::Named(named) => {
                let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
                url.port().is_none() && url.username().is_empty() && *named == format!("{}://{host}", url.scheme())
            }
            Self::Exactly(_) | Self::Below { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_below_a_domain_are_matched_by_whole_labels() {
        let below = Trusted::parse("https://*.example.com").expect("a pattern");
        let covers = |text: &str| below.covers(&Origin::parse(text).expect("an origin"));
        for good in ["https://a.example.com", "https://a.b.example.com", "https://PREVIEW-1.example.com"] {
            assert!(covers(good), "{good}");
        }
        for bad in [
            "https://example.com",
            "https://evilexample.com",
            "https://a.example.com.evil.org",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://a.example.org",
        ] {
            assert!(!covers(bad), "{bad}");
        }
        let with_port = Trusted::parse("http://*.app.localhost:3000").expect("a pattern");
        assert!(with_port.covers(&Origin::parse("http://x.app.localhost:3000").expect("an origin")));
        assert!(!with_port.covers(&Origin::parse("http://x.app.localhost").expect("an origin")));
    }

    #[test]
    fn apps_and_extensions_are_matched_by_scheme_and_name() {
        let covers = |entry: &str, url: &str| {
            Trusted::parse(entry).expect("an entry").covers_app(&Url::parse(url).expect("a URL"))
        };
        assert!(covers("myapp://", "myapp://home"));
        assert!(covers("myapp://", "myapp:///a?b=c"));
        assert!(!covers("myapp://", "myapp2://home"));
        assert!(covers("chrome-extension://abcdef", "chrome-extension://abcdef/x.html"));
        assert!(!covers("chrome-extension://abcdef", "chrome-extension://abcdeg"));
        assert!(!covers("https://app.example.com", "myapp://app.example.com"));
    }

    #[test]
    fn what_would_trust_everybody_or_nobody_is_refused() {
        for bad in [
            "*",
            "https://*",
            "https://*.com",
            "https://*.co.uk",
            "https://*.workers.dev",
            "https://a.*.example.com",
            "https://*.*.example.com",
            "https://*example.com",
            "https://*.example.com/x",
            "https://*.10.0.0.1",
            "http://localhost:*",
            "https://*.localhost",
            "javascript://",
            "data://",
            "file://",
            "chrome-extension://",
            "my app://",
            "://",
            "myapp",
            "myapp:",
            "myapp://a/b",
            "https://user@*.example.com",
            "1app://",
            "https://*.example.com:*",
        ] {
            assert!(Trusted::parse(bad).is_err(), "{bad}");
        }
    }
}
