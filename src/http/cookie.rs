//! Cookies (RFC 6265): ours read from a request, ours taken out of one, and `Set-Cookie` lines.

/// Our cookies. On https each carries the `__Host-` prefix: Secure, host-only, for the whole path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// The session's token.
    Session,
    /// The signed snapshot of the session.
    Snapshot,
    /// Ties an upstream sign-in to the browser that began it.
    Binding,
    /// Ties a protected host's sign-in to the browser that began it.
    Gate,
    /// A sign-in that waits for its second factor.
    SecondFactor,
    /// A browser that is asked for no second factor.
    TrustedDevice,
    /// Ties a passkey's ceremony to the browser that began it.
    Passkey,
    /// The sessions of further accounts in this browser.
    Others,
    /// The same of those that go with the browser: nothing that outlives it may open them.
    Unremembered,
    /// An administrator's own session, while they act as somebody else.
    Administrator,
    /// The browser that an account was made in, until its address is proven.
    Maker,
}

impl Cookie {
    /// The name on http or on https.
    #[must_use]
    pub const fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::Session, false) => "doorward.session",
            (Self::Session, true) => "__Host-doorward.session",
            (Self::Snapshot, false) => "doorward.snapshot",
            (Self::Snapshot, true) => "__Host-doorward.snapshot",
            (Self::Binding, false) => "doorward.binding",
            (Self::Binding, true) => "__Host-doorward.binding",
            (Self::Gate, false) => "doorward.gate",
            (Self::Gate, true) => "__Host-doorward.gate",
            (Self::SecondFactor, false) => "doorward.second_factor",
            (Self::SecondFactor, true) => "__Host-doorward.second_factor",
            (Self::TrustedDevice, false) => "doorward.trusted_device",
            (Self::TrustedDevice, true) => "__Host-doorward.trusted_device",
            (Self::Passkey, false) => "doorward.passkey",
            (Self::Passkey, true) => "__Host-doorward.passkey",
            (Self::Others, false) => "doorward.others",
            (Self::Others, true) => "__Host-doorward.others",
            (Self::Unremembered, false) => "doorward.unremembered",
            (Self::Unremembered, true) => "__Host-doorward.unremembered",
            (Self::Administrator, false) => "doorward.administrator",
            (Self::Administrator, true) => "__Host-doorward.administrator",
            (Self::Maker, false) => "doorward.maker",
            (Self::Maker, true) => "__Host-doorward.maker",
        }
    }

    /// A `Set-Cookie` line. Without `max_age` (seconds) the cookie goes with the browser.
    #[must_use]
    pub fn set(self, secure: bool, value: &str, max_age: Option<i64>) -> String {
        Self::line(self.name(secure), secure, value, max_age)
    }

    fn line(name: &str, secure: bool, value: &str, max_age: Option<i64>) -> String {
        let mut line = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
        if let Some(seconds) = max_age {
            line.push_str("; Max-Age=");
            line.push_str(&seconds.max(0).to_string());
        }
        if secure {
            line.push_str("; Secure");
        }
        line
    }

    /// A `Set-Cookie` line that deletes it.
    #[must_use]
    pub fn clear(self, secure: bool) -> String {
        self.set(secure, "", Some(0))
    }
}

/// How many sign-ins a browser may have under way at one protected host, each with a cookie of its own: tabs that are
/// restored together ask at the same moment, and of one name the last answer would win.
pub const GATE_SLOTS: u8 = 8;

/// The name of one of the [`Cookie::Gate`] cookies.
#[must_use]
pub fn gate_name(secure: bool, slot: u8) -> String {
    format!("{}.{slot}", Cookie::Gate.name(secure))
}

/// The `Set-Cookie` line of one of them.
#[must_use]
pub fn set_gate(secure: bool, slot: u8, value: &str, max_age: i64) -> String {
    Cookie::line(&gate_name(secure, slot), secure, value, Some(max_age))
}

/// The cookie that the client's `lastLoginMethod` plugin reads, by that very name: for scripts, and without a secret.
pub const LAST_METHOD: &str = "better-auth.last_used_login_method";

/// The `Set-Cookie` line of [`LAST_METHOD`], for 30 days.
#[must_use]
pub fn last_method(secure: bool, method: &str) -> String {
    let value: String = form_urlencoded::byte_serialize(method.as_bytes()).collect();
    let secure = if secure { "; Secure" } else { "" };
    format!("{LAST_METHOD}={value}; Path=/; SameSite=Lax; Max-Age=2592000{secure}")
}

/// What was presented under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieValue<'a> {
    /// No such cookie.
    Nothing,
    /// One value.
    Value(&'a str),
    /// Several that differ: somebody tossed a cookie from a sibling host, and none can be believed.
    Conflict,
}

/// Whether a cookie name is one of ours, on http or https. Browsers match the prefixes in any case.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    // A cookie without a name is sent as its bare value: `=doorward.session=x` comes back as ours.
    let name = name.trim().trim_start_matches('=').trim_start();
    ["doorward.", "__host-doorward.", "__secure-doorward."]
        .iter()
        .any(|prefix| name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)))
}

/// The `name=value` pieces of a `Cookie` header.
///
/// HTTP/2 may send several `Cookie` lines, which the runtime joins with a comma: behind one, a cookie of ours could
/// hide from whoever splits at semicolons alone. Commas inside other cookies' values are left as they are.
fn pieces(header: &str) -> impl Iterator<Item = &str> {
    header.split(';').flat_map(|piece| {
        let mut cuts = vec![0];
        for (at, _) in piece.match_indices(',') {
            // Values of ours have no comma: one that follows begins another line.
            let after_ours = is_ours(&piece[cuts[cuts.len() - 1]..]);
            if after_ours || is_ours(&piece[at + 1..]) {
                cuts.push(at + 1);
            }
        }
        let ends = cuts.iter().skip(1).map(|at| at - 1).chain([piece.len()]);
        let spans: Vec<(usize, usize)> = cuts.iter().copied().zip(ends).collect();
        spans.into_iter().map(move |(from, to)| piece[from..to].trim())
    })
}

/// What a `Cookie` header presents under `name`.
#[must_use]
pub fn read<'a>(header: &'a str, name: &str) -> CookieValue<'a> {
    let mut found = CookieValue::Nothing;
    // Cheap way out for the many requests without it.
    if !header.contains(name) {
        return found;
    }
    for piece in pieces(header) {
        let Some((key, value)) = piece.split_once('=') else {
            continue;
        };
        if key.trim() != name {
            continue;
        }
        let value = value.trim().trim_matches('"');
        found = match found {
            CookieValue::Nothing => CookieValue::Value(value),
            CookieValue::Value(first) if first == value => found,
            _ => CookieValue::Conflict,
        };
    }
    found
}

/// A `Cookie` header without our cookies; `None` when nothing is left.
#[must_use]
pub fn without_ours(header: &str) -> Option<String> {
    let kept: Vec<&str> = pieces(header).filter(|piece| !piece.is_empty() && !is_ours(piece)).collect();
    (!kept.is_empty()).then(|| kept.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_conflicts_are_not_believed() {
        let name = "doorward.session";
        assert_eq!(read("", name), CookieValue::Nothing);
        assert_eq!(read("a=1; doorward.session=x", name), CookieValue::Value("x"));
        assert_eq!(read("doorward.session=\"x\"", name), CookieValue::Value("x"));
        assert_eq!(read("doorward.session=x; doorward.session=x", name), CookieValue::Value("x"));
        assert_eq!(read("doorward.session=x; doorward.session=y", name), CookieValue::Conflict);
        assert_eq!(read("a=1, doorward.session=x", name), CookieValue::Value("x"));
        assert_eq!(read("doorward.session=x, a=1", name), CookieValue::Value("x"));
        assert_eq!(read("doorward.session=x, doorward.session=y", name), CookieValue::Conflict);
        assert_eq!(read("doorward.session2=x", name), CookieValue::Nothing);
        assert_eq!(read("x=doorward.session", name), CookieValue::Nothing);
        assert_eq!(read("__Host-doorward.session=x", name), CookieValue::Nothing);
    }

    #[test]
    fn ours_never_reach_the_origin() {
        for (header, left) in [
            ("", None),
            ("doorward.session=x", None),
            ("a=1; doorward.session=x; b=2", Some("a=1; b=2")),
            ("doorward.session=x, a=1", Some("a=1")),
            ("=doorward.session=x; a=1", Some("a=1")),
            ("a=1, doorward.session=x; b=2", Some("a=1; b=2")),
            ("a=1,doorward.snapshot=x,doorward.session=y", Some("a=1")),
            ("__HOST-doorward.session=x; __Secure-Doorward.x=1; a", Some("a")),
            ("json={\"a\":1,\"b\":2}; DOORWARD.gate=1", Some("json={\"a\":1,\"b\":2}")),
            (" doorward.session =x; z=doorward.session", Some("z=doorward.session")),
            ("doorward.session", None),
        ] {
            assert_eq!(without_ours(header).as_deref(), left, "{header}");
        }
    }

    #[test]
    fn set_cookie_lines() {
        assert_eq!(
            Cookie::Session.set(true, "v", Some(60)),
            "__Host-doorward.session=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"
        );
        assert_eq!(Cookie::Gate.set(false, "v", None), "doorward.gate=v; Path=/; HttpOnly; SameSite=Lax");
        assert!(set_gate(true, 3, "v", 60).starts_with("__Host-doorward.gate.3=v; Path=/; "));
        assert!(is_ours(&gate_name(false, 7)) && is_ours(&gate_name(true, 0)));
        assert!(Cookie::Session.clear(false).contains("doorward.session=; "));
        assert!(Cookie::Session.clear(false).contains("Max-Age=0"));
    }
}
