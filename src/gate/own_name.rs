//! The origin's own name in its answers, PURE. An origin that knows itself by the address that the gate asks it at sends
//! visitors there, past the gate, and sets cookies there: what names the origin is made to name the website.

use url::Url;

/// Where the gate asks an origin, and where visitors find the website.
pub struct Names {
    origin: Url,
    /// The path below which the origin serves the website, without a `/` at its end; empty at its root.
    prefix: String,
    /// The website's origin, as visitors see it: `https://app.example.com`.
    public: String,
}

impl Names {
    /// The names of a website at `public`, whose origin is asked at `base`; `None` where `base` is no URL.
    #[must_use]
    pub fn new(base: &str, public: &str) -> Option<Self> {
        let origin = Url::parse(base).ok().filter(Url::has_host)?;
        let prefix = origin.path().trim_end_matches('/').to_owned();
        Some(Self { origin, prefix, public: public.to_owned() })
    }

    /// `Location` or `Content-Location` (RFC 9110, sections 10.2.2 and 8.7) as a visitor may be told; `None` where it stays.
    #[must_use]
    pub fn location(&self, value: &str) -> Option<String> {
        let value = value.trim();
        let names_host = value.starts_with("//") || value.starts_with("/\\") || Url::parse(value).is_ok();
        if !names_host {
            // A path of the origin that is not the website's stays.
            let path = if self.prefix.is_empty() { None } else { self.below_prefix(value) }?;
            // Absolute, since what is left may begin with `//` or `/\\`, which would name another host.
            return Some(format!("{}{path}", self.public));
        }
        let url = self.origin.join(value).ok().filter(|url| self.is_origin(url))?;
        let path = &url[url::Position::BeforePath..];
        let path = self.below_prefix(path).unwrap_or_else(|| path.to_owned());
        Some(format!("{}{path}", self.public))
    }

    /// A path of the origin as the website has it.
    fn below_prefix(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.prefix.as_str())?;
        match rest.chars().next() {
            Some('/') => Some(rest.to_owned()),
            None | Some('?' | '#') => Some(format!("/{rest}")),
            Some(_) => None,
        }
    }

    /// `Refresh`, which names a URL behind a time: `5; url=http://…`; `None` where it stays.
    #[must_use]
    pub fn refresh(&self, value: &str) -> Option<String> {
        let at = value.to_ascii_lowercase().find("url=")? + "url=".len();
        let (head, url) = value.split_at(at);
        self.location(url.trim().trim_matches(['"', '\''])).map(|url| format!("{head}{url}"))
    }

    /// A `Set-Cookie` line without a `Domain` that is the origin's and not the website's: browsers refuse such a cookie. `None`
    /// where it stays.
    #[must_use]
    pub fn cookie(&self, line: &str) -> Option<String> {
        let origin = self.origin.host_str()?;
        let public = Url::parse(&self.public).ok()?;
        let within = |host: &str, domain: &str| {
            host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
        };
        let is_foreign = |part: &str| {
            let Some((name, domain)) = part.split_once('=') else {
                return false;
            };
            let domain = domain.trim().trim_start_matches('.').to_ascii_lowercase();
            name.trim().eq_ignore_ascii_case("domain")
                && within(origin, &domain)
                && !public.host_str().is_some_and(|host| within(host, &domain))
        };
        let mut parts = line.split(';');
        let first = parts.next()?;
        let rest: Vec<&str> = parts.collect();
        if !rest.iter().any(|part| is_foreign(part)) {
            return None;
        }
        let kept: Vec<&str> = std::iter::once(first).chain(rest.into_iter().filter(|part| !is_foreign(part))).collect();
        Some(kept.join(";"))
    }

    /// Whether a URL is of the origin, by either scheme: one that was told that visitors use https says so of its own name.
    fn is_origin(&self, url: &Url) -> bool {
        let plain = |url: &Url| matches!(url.scheme(), "http" | "https");
        let port = |url: &Url| url.port_or_known_default().filter(|port| !matches!(port, 80 | 443));
        plain(url)
            && url.username().is_empty()
            && url.host_str() == self.origin.host_str()
            && port(url) == port(&self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(base: &str) -> Names {
        Names::new(base, "https://app.example.com").expect("a URL")
    }

    #[test]
    fn what_names_the_origin_names_the_website() {
        let at = names("http://127.0.0.1:9700");
        for (value, expected) in [
            ("http://127.0.0.1:9700/docs/", Some("https://app.example.com/docs/")),
            ("https://127.0.0.1:9700/docs/?a=b#c", Some("https://app.example.com/docs/?a=b#c")),
            ("//127.0.0.1:9700/x", Some("https://app.example.com/x")),
            ("HTTP://127.0.0.1:9700", Some("https://app.example.com/")),
            ("http://127.0.0.1:9701/", None),
            ("http://127.0.0.1/", None),
            ("http://user@127.0.0.1:9700/", None),
            ("https://other.example/http://127.0.0.1:9700/", None),
            ("https://app.example.com/x", None),
            ("/docs/", None),
            ("docs/", None),
            ("?page=2", None),
            ("", None),
            ("ftp://127.0.0.1:9700/", None),
            ("http://", None),
        ] {
            assert_eq!(at.location(value).as_deref(), expected, "{value}");
        }
        let at = names("http://intranet.internal");
        for value in [
            "http://intranet.internal/x",
            "https://intranet.internal/x",
            "https://INTRANET.internal:443/x",
            "http://intranet.internal:80/x",
        ] {
            assert_eq!(at.location(value).as_deref(), Some("https://app.example.com/x"), "{value}");
        }
        assert_eq!(at.location("http://intranet.internal:8080/x"), None);
    }

    #[test]
    fn a_website_below_a_path_of_its_origin_is_told_its_own_paths() {
        let at = names("http://shared.internal:8000/wiki/");
        for (value, expected) in [
            ("http://shared.internal:8000/wiki/page", Some("https://app.example.com/page")),
            ("http://shared.internal:8000/wiki", Some("https://app.example.com/")),
            ("http://shared.internal:8000/wikipedia", Some("https://app.example.com/wikipedia")),
            ("/wiki/page?x", Some("https://app.example.com/page?x")),
            ("/wiki", Some("https://app.example.com/")),
            ("/wiki//evil.example/", Some("https://app.example.com//evil.example/")),
            ("/wiki/\\evil.example/", Some("https://app.example.com/\\evil.example/")),
            ("http://shared.internal:8000/wiki//evil.example/", Some("https://app.example.com//evil.example/")),
            ("/other", None),
            ("page", None),
        ] {
            assert_eq!(at.location(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn refresh_and_cookies_follow() {
        let at = names("http://intranet.internal:8080");
        assert_eq!(
            at.refresh("0; url=http://intranet.internal:8080/x").as_deref(),
            Some("0; url=https://app.example.com/x")
        );
        assert_eq!(
            at.refresh("5;URL='http://intranet.internal:8080/x'").as_deref(),
            Some("5;URL=https://app.example.com/x")
        );
        let below = names("http://shared.internal:8000/wiki");
        assert_eq!(
            below.refresh("0; url=/wiki//evil.example/").as_deref(),
            Some("0; url=https://app.example.com//evil.example/")
        );
        assert_eq!(at.refresh("5"), None);
        assert_eq!(at.refresh("5; url=/x"), None);
        for (line, expected) in [
            ("a=b; Domain=intranet.internal; Path=/", Some("a=b; Path=/")),
            ("a=b; path=/; DOMAIN=.internal", Some("a=b; path=/")),
            ("a=b; Domain=example.com; Path=/", None),
            ("a=b; Domain=app.example.com", None),
            ("a=b; Domain=other.example", None),
            ("domain=intranet.internal; Path=/", None),
            ("a=b", None),
        ] {
            assert_eq!(at.cookie(line).as_deref(), expected, "{line}");
        }
        // The website's own domain is the origin's too: the cookie is meant for both.
        let shared = Names::new("https://origin.example.com", "https://app.example.com").expect("a URL");
        assert_eq!(shared.cookie("a=b; Domain=example.com"), None);
    }
}
