//! Unicode by the runtime's own tables.

/// NFKC, by the runtime's own Unicode tables.
#[must_use]
pub fn nfkc(text: &str) -> String {
    js_sys::JsString::from(text).normalize("NFKC").into()
}

/// A domain name in ASCII (RFC 5891), in lower case, by the runtime's own tables; `None` for what is none.
#[must_use]
pub fn ascii_domain(domain: &str) -> Option<String> {
    if domain.is_empty() || domain.contains(['/', '?', '#', '@', ':', '\\', '[', '%', ' ']) {
        return None;
    }
    let url = web_sys::Url::new(&format!("http://{domain}/")).ok()?;
    Some(url.hostname()).filter(|host| !host.is_empty())
}
