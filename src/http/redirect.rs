//! Where a browser may be sent: a path on our own host, or a URL of a trusted origin. Everything else is an open
//! redirect (RFC 9700, section 4.11).

use url::Url;

use crate::platform::origin::Origin;

/// A redirect target that was checked: what it holds is what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(String);

impl Target {
    /// The longest target accepted, in bytes: a website's deep link travels in one, signed.
    pub const LONGEST: usize = 8192;

    /// Checks a target given by a client. `here` is the origin that relative paths belong to.
    ///
    /// What is judged is the normalised form, and the normalised form is what is sent: `/..//evil.example` is a
    /// path to the eye, and `//evil.example`, another host, once its dots are resolved.
    #[must_use]
    pub fn check(text: &str, here: &Origin, trusts: impl Fn(&Origin) -> bool) -> Option<Self> {
        let clean = text.len() <= Self::LONGEST
            && !text.is_empty()
            // Browsers drop tabs and newlines inside URLs and read a backslash as a slash.
            && !text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\' || c == '\u{FFFD}');
        if !clean {
            return None;
        }
        let relative = text.starts_with('/');
        // `https:evil` and `https:/evil` are read as relative by some parsers and absolute by others.
        if !relative && !text.starts_with("https://") && !text.starts_with("http://") {
            return None;
        }
        let base = Url::parse(here.as_str()).ok()?;
        let url = if relative { base.join(text).ok()? } else { Url::parse(text).ok()? };
        let path = url.path().to_ascii_lowercase();
        let tricks = ["%2f", "%5c", "%00", "%0a", "%0d", "%09"];
        // An encoded slash becomes a real one in whatever decodes the path before it redirects on.
        if path.starts_with("//") || tricks.iter().any(|trick| path.contains(trick)) {
            return None;
        }
        let origin = Origin::of(&url)?;
        if relative {
            if origin != *here {
                return None;
            }
            return Some(Self(url[url::Position::BeforePath..].to_owned()));
        }
        // Userinfo such as https://trusted@evil has no origin here; a trusted one must still be exact.
        (origin == *here || trusts(&origin)).then(|| Self(url.into()))
    }

    /// Checks a target in an app, by a scheme that is no website's: `myapp://home`.
    #[must_use]
    pub fn check_app(text: &str, trusts: impl Fn(&Url) -> bool) -> Option<Self> {
        let clean = text.len() <= Self::LONGEST
            && text.is_ascii()
            && !text
                .chars()
                .any(|c| c.is_control() || c.is_whitespace() || c == '\\' || c == '"' || c == '<' || c == '>');
        let url = if clean && text.contains("://") { Url::parse(text).ok()? } else { return None };
        // Of websites the other rule decides.
        let is_app = !matches!(url.scheme(), "http" | "https");
        (is_app && trusts(&url)).then(|| Self(url.into()))
    }

    /// A path of ours, written in the code.
    #[must_use]
    pub fn own(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// What goes into `Location`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The target with a query parameter appended, before its fragment.
    #[must_use]
    pub fn with_query(&self, name: &str, value: &str) -> Self {
        let (head, fragment) = match self.0.split_once('#') {
            Some((head, fragment)) => (head, Some(fragment)),
            None => (self.0.as_str(), None),
        };
        let pair = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        let separator = if head.contains('?') { '&' } else { '?' };
        let fragment = fragment.map(|text| format!("#{text}")).unwrap_or_default();
        Self(format!("{head}{separator}{pair}{fragment}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Option<String> {
        let here = Origin::parse("https://auth.example").expect("origin");
        let trusted = Origin::parse("https://spa.example").expect("origin");
        Target::check(text, &here, |origin| *origin == trusted).map(|target| target.0)
    }

    #[test]
    fn paths_and_trusted_origins_pass_normalised() {
        for (given, sent) in [
            ("/", "/"),
            ("/dash?x=1#top", "/dash?x=1#top"),
            ("/a/../b", "/b"),
            ("/search?next=https://evil.example", "/search?next=https://evil.example"),
            ("/q?u=%2F%2Fevil", "/q?u=%2F%2Fevil"),
            ("/ä", "/%C3%A4"),
            ("https://spa.example", "https://spa.example/"),
            ("https://spa.example/a/b?c", "https://spa.example/a/b?c"),
            ("https://auth.example/account", "https://auth.example/account"),
            ("https://SPA.example/", "https://spa.example/"),
            ("https://spa.example:443/", "https://spa.example/"),
        ] {
            assert_eq!(check(given).as_deref(), Some(sent), "{given}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            " ",
            "dash",
            "?x",
            "#x",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "\\/evil.example",
            "https:evil.example",
            "https:/evil.example",
            "https:///evil.example",
            "http:evil.example",
            "https://evil.example",
            "https://evil.example/https://spa.example",
            "https://spa.example.evil.example",
            "https://spa.example@evil.example",
            "https://spa.example:pw@evil.example",
            "https://user@spa.example",
            "https://evil.example#spa.example",
            "https://evil.example\\@spa.example",
            "https://spa.example:8443",
            "http://spa.example",
            "https://spa.example%2eevil.example",
            "https://xn--spa.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            "/ /evil",
            "/..//evil.example",
            "/.//evil.example",
            "/x/..//evil.example",
            "/%2e%2e//evil.example",
            "/%2f%2fevil.example",
            "/%2F/evil.example",
            "/%5cevil.example",
            "/%5C%5Cevil.example",
            "/a%0d%0aSet-Cookie:x",
            "/%00",
            "/%09/evil.example",
            "/\u{0}",
            "/\u{7f}",
            "/\u{2028}x",
            "\u{feff}/x",
            "ftp://spa.example",
            "https://[::1]",
            "https://",
            "http://",
        ] {
            assert_eq!(check(text), None, "{text:?}");
        }
        assert_eq!(check(&format!("/{}", "a".repeat(8192))), None);
    }

    #[test]
    fn an_app_is_reached_by_its_own_scheme_alone() {
        let check = |text: &str| Target::check_app(text, |url| url.scheme() == "myapp").map(|target| target.0);
        assert_eq!(check("myapp://home?x=1").as_deref(), Some("myapp://home?x=1"));
        for bad in [
            "myapp:home",
            "other://home",
            "javascript://x",
            "https://spa.example",
            "myapp://a b",
            "myapp://a\\b",
            "myapp://\n",
            "//myapp://",
        ] {
            assert_eq!(check(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_query_parameter_goes_before_the_fragment() {
        let target = Target::own("/a?b=1#c");
        assert_eq!(target.with_query("error", "x y").as_str(), "/a?b=1&error=x+y#c");
        assert_eq!(Target::own("/a").with_query("e", "&").as_str(), "/a?e=%26");
    }
}
