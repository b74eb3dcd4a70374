//! A protected host's request that its visitor be signed in: carried by the visitor to the auth host and back,
//! signed, so that nothing is stored for visitors who never come back.

use serde::{Deserialize, Serialize};

use crate::id::{App, Id, Millis, Tenant};
use crate::secret::{Keyring, Purpose};

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
}

impl GateRequest {
    /// The longest way back that is kept, in bytes; a longer one returns to `/`.
    const LONGEST_RETURN: usize = 1000;

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

    /// Reads what [`Self::sign`] signed: `None` if it is not ours, or too old.
    #[must_use]
    pub fn read(keyring: &Keyring, text: &str, now: Millis) -> Option<Self> {
        let payload = keyring.read_text(Purpose::GateRequest, text)?;
        let request: Self = serde_json::from_slice(&payload).ok()?;
        (request.expires_at > now).then_some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;

    #[test]
    fn only_a_fresh_request_of_ours_is_read() {
        let config = with(&[]).expect("config");
        let request = GateRequest {
            tenant_id: Id::trusted("t".to_owned()),
            is_isolated: false,
            app_id: Id::trusted("a".to_owned()),
            origin: "https://app.example".to_owned(),
            return_to: "/deep?x=1".to_owned(),
            binding: "b".to_owned(),
            expires_at: 10,
        };
        let text = request.sign(&config.keyring);
        assert_eq!(GateRequest::read(&config.keyring, &text, 9), Some(request));
        assert_eq!(GateRequest::read(&config.keyring, &text, 10), None);
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
        assert_eq!(GateRequest::return_path(&format!("/{}", "a".repeat(2000))), "/");
    }
}
