//! A protected host's request that its visitor be signed in: carried by the visitor to the auth host and back,
//! signed, so that nothing is stored for visitors who never come back.
//!
//! PURE: no I/O, no clock, no randomness.

use serde::{Deserialize, Serialize};

use crate::platform::id::{App, Id, Millis, Tenant};
use crate::platform::secret::{Keyring, Purpose};

/// The request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRequest {
    /// The app's tenant.
    pub tenant_id: Id<Tenant>,
    /// Whether its users are its own: nobody else's sign-in is worth anything to it.
    pub is_isolated: bool,
    /// The protected app.
    pub app_id: Id<App>,
    /// Scheme, host and port that the visitor used.
    pub origin: String,
    /// Path and query to return to.
    pub return_to: String,
    /// Hash of the value in the visitor's cookie at the protected host: a code fetched by one browser is worth
    /// nothing in another.
    pub binding: String,
    /// When it is no longer honoured.
    pub expires_at: Millis,
    /// Whether it was begun again because the one before came back to a browser that had not asked: once is enough for
    /// a visitor who followed a link, and a browser that keeps no cookies would go in circles.
    #[serde(default)]
    pub is_again: bool,
}

/// A request that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundRequest {
    /// It is honoured.
    Fresh(GateRequest),
    /// It is good for one thing alone: to say where to begin again. We signed its origin and its way back.
    TooOld(GateRequest),
}

/// The longest link to our own page of sign-in: servers in front of us take 8 KiB for a request's first line.
const LONGEST_LINK: usize = 7500;

/// The page of a protected host that begins a sign-in and comes back to `return_to`; `origin` may be empty, for a link
/// within the host. A way back that makes the link too long leads to `/`.
#[must_use]
pub fn sign_in_page(origin: &str, return_to: &str, is_again: bool) -> String {
    let page = format!("{origin}/.doorward/sign-in");
    let again = if is_again { "&again=true" } else { "" };
    let link = format!("{page}?return={}{again}", query_of_request(return_to));
    if link.len() <= LONGEST_LINK { link } else { format!("{page}?return=/{again}") }
}

/// A value in a query, with no more escapes than it needs: what is escaped twice grows.
fn query_of_request(value: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && !b"%&+#\"<>'\\`{}|^".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing into a string fails never.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

impl GateRequest {
    /// The longest way back that is kept, in bytes; a longer one returns to `/`. Signed and in a URL it is a third longer,
    /// and that URL is to fit into 8 KiB as well.
    const LONGEST_RETURN: usize = 5500;

    /// The path and query to come back to. Only those of pages: a sign-in does not repeat a POST.
    #[must_use]
    pub fn return_path(path_and_query: &str) -> String {
        // `//host` in a Location is another host.
        let safe = path_and_query.starts_with('/')
            && !path_and_query.starts_with("//")
            && !path_and_query.contains('\\')
            // Browsers drop tabs and line ends: a slash, a tab and a slash are another host's beginning.
            && !path_and_query.chars().any(|c| c.is_control() || c.is_whitespace())
            && path_and_query.len() <= Self::LONGEST_RETURN;
        if safe { path_and_query.to_owned() } else { "/".to_owned() }
    }

    /// Signed, for a URL.
    #[must_use]
    pub fn sign(&self, keyring: &Keyring) -> String {
        let payload = serde_json::to_vec(self).unwrap_or_default();
        keyring.sign_text(Purpose::GateRequest, &payload)
    }

    /// Reads what [`Self::sign`] signed: `None` if it is not ours.
    #[must_use]
    pub fn read(keyring: &Keyring, text: &str, now: Millis) -> Option<FoundRequest> {
        let payload = keyring.read_text(Purpose::GateRequest, text)?;
        let request: Self = serde_json::from_slice(&payload).ok()?;
        Some(if request.expires_at > now { FoundRequest::Fresh(request) } else { FoundRequest::TooOld(request) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::config::tests::with;

    #[test]
    fn a_request_of_ours_is_read_and_known_to_be_too_old() {
        let config = with(&[]).expect("config");
        let request = GateRequest {
            tenant_id: Id::trusted("t".to_owned()),
            is_isolated: false,
            app_id: Id::trusted("a".to_owned()),
            origin: "https://app.example".to_owned(),
            return_to: "/deep?x=1".to_owned(),
            binding: "b".to_owned(),
            expires_at: 10,
            is_again: false,
        };
        let text = request.sign(&config.keyring);
        assert_eq!(GateRequest::read(&config.keyring, &text, 9), Some(FoundRequest::Fresh(request.clone())));
        assert_eq!(GateRequest::read(&config.keyring, &text, 10), Some(FoundRequest::TooOld(request)));
        assert_eq!(GateRequest::read(&config.keyring, &text[1..], 9), None);
    }

    #[test]
    fn the_way_back_stays_on_the_host() {
        for (given, kept) in [
            ("/deep/link?x=1&y=%2F", "/deep/link?x=1&y=%2F"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("/\r\n/evil.example", "/"),
            ("https://evil.example", "/"),
            ("", "/"),
        ] {
            assert_eq!(GateRequest::return_path(given), kept, "{given}");
        }
        let long = format!("/{}", "a".repeat(5400));
        assert_eq!(GateRequest::return_path(&long), long);
        assert_eq!(GateRequest::return_path(&format!("/{}", "a".repeat(5500))), "/");
    }

    #[test]
    fn a_link_to_the_page_of_sign_in_says_the_way_back_and_stays_short() {
        assert_eq!(sign_in_page("", "/a?b=1&c=%2F+#", false), "/.doorward/sign-in?return=/a?b=1%26c=%252F%2B%23");
        assert_eq!(
            sign_in_page("https://a.example", "/ä", true),
            "https://a.example/.doorward/sign-in?return=/%C3%A4&again=true"
        );
        let long = format!("/{}", "%22".repeat(1800));
        assert_eq!(sign_in_page("", &long, true), "/.doorward/sign-in?return=/&again=true");
    }
}
