//! Clients that are known by a document of their own (OAuth Client ID Metadata Document): `client_id` is the URL where it is.

use serde_json::{Map, Value};
use url::Url;

use crate::platform::error::Result;
use crate::platform::id::{Id, OauthClient};
use crate::platform::outbound_url::check_url;
use crate::platform::problem::{Code, Problem};
use crate::provider::client::Client;
use crate::provider::client_registration::check_registration_limit;
use crate::provider::clients::{make_signing_key, terms};
use crate::provider::registration::judge;
use crate::provider::store;
use crate::records;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::request::fetch;
use crate::request::fetch::Outgoing;

/// The largest document read, in bytes.
const LARGEST: usize = 16 * 1024;

/// The longest that a document is believed without being read again, in milliseconds: an hour.
const FRESH: i64 = 3_600_000;

/// How soon one is asked for again that did not answer, in milliseconds; also the shortest time that one is believed.
const AGAIN: i64 = 300_000;

/// How long a document is believed, in milliseconds: as its `Cache-Control` says (RFC 9111, section 5.2.2), between five
/// minutes and an hour. An hour where it says nothing.
fn lifetime(cache_control: Option<&str>) -> i64 {
    let Some(text) = cache_control else {
        return FRESH;
    };
    let mut seconds = FRESH / 1000;
    for directive in text.split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => seconds = 0,
            "max-age" => seconds = seconds.min(value.trim().trim_matches('"').parse().unwrap_or(0)),
            _ => (),
        }
    }
    (seconds * 1000).clamp(AGAIN, FRESH)
}

fn bad_document(reason: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, "client_id names no client metadata document").because(reason)
}

/// Whether a `client_id` may be such a URL: with a path, and without what could make two names of one place.
fn is_address(client_id: &str, development: bool) -> bool {
    let Ok(url) = check_url(client_id, development) else {
        return false;
    };
    // The parser has resolved dot segments; what is left must be what was sent.
    url.as_str() == client_id && url.path().len() > 1 && client_id.len() <= 500
}

/// The client: as it is known, or as its document says, where that is new or has not been read for a while.
///
/// # Errors
/// `invalid_request` for a document that is none; 429.
pub async fn load_client(context: &Context, client_id: &str, known: Option<Client>) -> Result<Option<Client>> {
    let is_by_document = known.as_ref().is_none_or(|client| client.document_read_at.is_some());
    if !context.config.client_documents || !is_by_document || !is_address(client_id, context.config.development) {
        // One that was known by its document is unknown where documents are not believed any more.
        return Ok(known.filter(|client| client.document_read_at.is_none()));
    }
    let is_fresh = |client: &Client| client.document_read_at.is_some_and(|at| context.now < at + FRESH);
    if known.as_ref().is_some_and(is_fresh) {
        return Ok(known);
    }
    // Whoever asks makes us ask a stranger.
    check_registration_limit(context).await?;
    let (metadata, lifetime) = match fetch_document(context, client_id).await {
        Ok(read) => read,
        // Its users are not kept out because it does not answer now.
        Err(NotRead::Unreachable(reason)) if known.is_some() => {
            context.note(&format!("document of client {client_id:?}: {reason}"));
            // Not with every one of them.
            let later = context.now - FRESH + AGAIN;
            context.db()?.batch([store::client::read_later(context, client_id, later)]).await?;
            return Ok(known);
        }
        Err(NotRead::Unreachable(reason) | NotRead::Bad(reason)) => return Err(bad_document(reason).into()),
    };
    let new = judge(&metadata, &terms(context, false))?;
    // It is public: a secret in it would be everybody's.
    if new.auth_method.has_secret() {
        return Err(bad_document("a client without secrets cannot authenticate by one").into());
    }
    make_signing_key(context, &new).await?;
    let id: Id<OauthClient> = context.id()?;
    let (event, details) = (context.row_id()?, serde_json::json!({ "client_id": client_id, "name": new.name }));
    let statements = [
        // What is believed for less than an hour counts as read that much earlier.
        store::client::keep_document(context, &id, client_id, context.now - FRESH + lifetime, &new),
        records::store::audit::audit(context, &event, None, "client.document_read", Severity::Low, &details),
        store::client::by_client_id(context, client_id),
    ];
    Ok(context.db()?.batch(statements).await?.skip(2).row()?)
}

/// Why there is no document.
enum NotRead {
    /// Nobody answers, or not now.
    Unreachable(String),
    /// It was taken down, or is none.
    Bad(String),
}

/// The document, and how long it is believed, in milliseconds.
async fn fetch_document(context: &Context, client_id: &str) -> std::result::Result<(Map<String, Value>, i64), NotRead> {
    let bad = |reason: &str| NotRead::Bad(reason.to_owned());
    let request = Outgoing { url: client_id, form: None, authorization: None, header: None };
    let answer = fetch::send_request(context, request).await.map_err(NotRead::Unreachable)?;
    match answer.status {
        200 => (),
        429 | 500..=599 => return Err(NotRead::Unreachable(format!("status {}", answer.status))),
        status => return Err(NotRead::Bad(format!("status {status}"))),
    }
    if answer.body.len() > LARGEST {
        return Err(bad("too large"));
    }
    let mut metadata: Map<String, Value> =
        serde_json::from_slice(&answer.body).map_err(|error| NotRead::Bad(error.to_string()))?;
    if metadata.get("client_id").and_then(Value::as_str) != Some(client_id) {
        return Err(bad("client_id is another"));
    }
    if metadata.contains_key("client_secret") {
        return Err(bad("a published secret"));
    }
    // The default of a registration is a secret, of which there is none here.
    metadata.entry("token_endpoint_auth_method").or_insert_with(|| "none".into());
    // Whatever the name says, its users see whose page it is.
    let host = Url::parse(client_id).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let name = metadata.get("client_name").and_then(Value::as_str).unwrap_or_default();
    // First, since a name may be as long as its owner likes.
    let name = if name.trim().is_empty() { host } else { format!("{host}: {}", name.trim()) };
    metadata.insert("client_name".to_owned(), name.into());
    Ok((metadata, lifetime(answer.cache_control.as_deref())))
}

#[cfg(test)]
mod tests {
    use super::{is_address, lifetime};

    #[test]
    fn a_document_is_believed_as_it_says_within_bounds() {
        for (text, minutes) in [
            (None, 60),
            (Some("public"), 60),
            (Some("max-age=600"), 10),
            (Some("public, Max-Age=\"900\""), 15),
            (Some("max-age=86400"), 60),
            (Some("max-age=0"), 5),
            (Some("max-age=-1"), 5),
            (Some("max-age=many"), 5),
            (Some("max-age=99999999999999999999"), 5),
            (Some("max-age=600, max-age=1200"), 10),
            (Some("no-store"), 5),
            (Some("max-age=600, no-cache"), 5),
        ] {
            assert_eq!(lifetime(text), minutes * 60_000, "{text:?}");
        }
    }

    #[test]
    fn the_table_of_addresses() {
        for (text, good) in [
            ("https://app.example/client.json", true),
            ("https://app.example/a?b=c", true),
            ("https://app.example", false),
            ("https://app.example/", false),
            ("http://app.example/client", false),
            ("https://app.example/a/../client", false),
            ("https://app.example/client#f", false),
            ("https://user@app.example/client", false),
            ("https://APP.example/client", false),
            ("https://10.0.0.1/client", false),
            ("https://localhost/client", false),
            ("app", false),
        ] {
            assert_eq!(is_address(text, false), good, "{text}");
        }
        assert!(is_address("http://127.0.0.1:8080/client", true));
    }
}
