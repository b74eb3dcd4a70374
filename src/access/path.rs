//! Every path that an origin may make of the one that was sent.
//!
//! We forward the path as it came and cannot know how the origin reads it. Where servers differ, a rule that judged
//! one reading could be walked around by another: `/;/admin`, `/%61dmin`, `//admin`, `/x/..%2fadmin`, `/ADMIN`. Servers
//! in a row each do something to a path, so every order of what they do is tried: `/secret.;x`, `/x%2fy/../%61dmin`.
//! Each reading is judged, and the strictest wins.
//!
//! PURE: no I/O, no clock, no randomness.

use std::borrow::Cow;
use std::collections::HashSet;

use percent_encoding::percent_decode_str;

/// The most bytes of readings, so that a long path in many disguises costs no more than a long path. No honest path comes
/// near: the longest that a request can have stays below in eight readings.
const MOST: usize = 192 * 1024;

/// What each reading counts beside its bytes.
const EACH: usize = 32;

/// Paths that an origin may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings {
    /// For origins that tell capitals from small letters, beginning with the path in its usual spelling.
    pub exact: Vec<String>,
    /// For origins that do not: all in small letters.
    pub folded: Vec<String>,
}

/// The readings of `path`; `None` if no honest client sends it.
#[must_use]
pub fn readings(path: &str) -> Option<Readings> {
    if is_plain(path) {
        return Some(Readings { exact: vec![path.to_owned()], folded: vec![path.to_owned()] });
    }
    if is_hostile(path) {
        return None;
    }
    let mut exact = vec![usual(path).into_owned()];
    let mut seen: HashSet<String> = exact.iter().cloned().collect();
    let mut spent = 0;
    let mut at = 0;
    while let Some(text) = exact.get(at).cloned() {
        spent += text.len() + EACH;
        if spent > MOST {
            return None;
        }
        for change in CHANGES {
            if let Some(reading) = change(&text)
                && seen.insert(reading.clone())
            {
                exact.push(reading);
            }
        }
        at += 1;
    }
    let mut folded: Vec<String> = exact.iter().map(|text| fold(text)).collect();
    folded.sort_unstable();
    folded.dedup();
    Some(Readings { exact, folded })
}

/// The usual path has one reading, and is judged once.
fn is_plain(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'/' | b'-' | b'_');
    path.bytes().all(plain) && !path.contains("//")
}

/// A path for an origin that does not tell capitals from small letters. By way of capitals: some letters meet only there.
#[must_use]
pub fn fold(path: &str) -> String {
    if path.is_ascii() { path.to_ascii_lowercase() } else { path.to_uppercase().to_lowercase() }
}

/// Whether no honest client sends it: more layers of encoding than are judged, a fragment, or bytes that are no UTF-8,
/// such as the overlong `%c0%af` that some decoders read as a slash.
fn is_hostile(path: &str) -> bool {
    let mut decoded = Cow::Borrowed(path);
    for _ in 0..3 {
        let Ok(next) = percent_decode_str(&decoded).decode_utf8() else {
            return true;
        };
        decoded = Cow::Owned(next.into_owned());
    }
    let once_more = percent_decode_str(&decoded).decode_utf8_lossy();
    path.contains('#') || once_more != decoded
}

/// The usual spelling of a path (RFC 3986, section 6.2.2.2): only what would mean something else when decoded stays
/// encoded.
#[must_use]
pub fn usual(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let byte = (*first == b'%').then(|| hex(after)).flatten().and_then(|value| u8::try_from(value).ok());
        match byte {
            Some(byte) if !is_structural(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a byte of a path says something about the path, where it is not encoded.
const fn is_structural(byte: u8) -> bool {
    byte.is_ascii_control() || matches!(byte, b'/' | b'\\' | b'%' | b'?' | b'#' | b';')
}

/// The number in the first two digits.
fn hex(bytes: &[u8]) -> Option<u32> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    Some(digit(0)? * 16 + digit(1)?)
}

/// What servers do to paths: each `None` where it changes nothing.
const CHANGES: [fn(&str) -> Option<String>; 9] =
    [decoded, unescaped, narrow, with_slashes, cut, without_parameters, trimmed, resolved, merged];

/// Takes a layer of percent-encoding off.
fn decoded(path: &str) -> Option<String> {
    path.contains('%')
        .then(|| percent_decode_str(path).decode_utf8_lossy())
        .filter(|next| next != path)
        .map(Cow::into_owned)
}

/// Reads `%u0073`, as Windows' HTTP.sys does.
fn unescaped(path: &str) -> Option<String> {
    let mut pieces = path.split("%u");
    let mut text = pieces.next()?.to_owned();
    let mut changed = false;
    for piece in pieces {
        let code = match (hex(piece.as_bytes()), piece.as_bytes().get(2..).and_then(hex)) {
            (Some(high), Some(low)) => char::from_u32(high * 256 + low),
            _ => None,
        };
        if let Some(code) = code {
            text.push(code);
            text.push_str(&piece[4..]);
            changed = true;
        } else {
            text.push_str("%u");
            text.push_str(piece);
        }
    }
    changed.then_some(text)
}

/// Full-width letters and signs as the usual ones, as code pages without them have it.
fn narrow(path: &str) -> Option<String> {
    let is_wide = |c: char| ('\u{ff01}'..='\u{ff5e}').contains(&c);
    let narrow = |c: char| if is_wide(c) { char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c) } else { c };
    path.contains(is_wide).then(|| path.chars().map(narrow).collect())
}

/// Backslashes count as slashes, as on Windows.
fn with_slashes(path: &str) -> Option<String> {
    path.contains('\\').then(|| path.replace('\\', "/"))
}

/// A decoded `?` or `#` ends the path for an origin that decodes before parsing; a null byte for one that passes it to C.
fn cut(path: &str) -> Option<String> {
    path.find(['?', '#', '\0']).map(|at| path[..at].to_owned())
}

/// Cuts `;parameters` off each segment (RFC 3986, section 3.3), as Java servers do.
fn without_parameters(path: &str) -> Option<String> {
    path.contains(';').then(|| each_segment(path, |segment| segment.split(';').next().unwrap_or_default()))
}

/// Cuts trailing dots and blanks off each segment, as Windows does with file names, but leaves `.` and `..`.
fn trimmed(path: &str) -> Option<String> {
    let blank = |c: char| c.is_whitespace() || c.is_control();
    let trim = |segment: &str| -> usize {
        let kept = segment.trim_end_matches(blank);
        if kept.trim_end_matches('.').is_empty() {
            kept.len()
        } else {
            kept.trim_end_matches(|c| c == '.' || blank(c)).len()
        }
    };
    let leading = |segment: &str| segment.starts_with(blank);
    let changes = path.split('/').any(|segment| leading(segment) || trim(segment) < segment.len());
    changes.then(|| each_segment(path, |segment| segment[..trim(segment)].trim_start_matches(blank)))
}

/// Resolves `.` and `..` (RFC 3986, section 5.2.4).
fn resolved(path: &str) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    if path.starts_with('/') && !segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return None;
    }
    let last = segments.len() - 1;
    for (at, segment) in segments.into_iter().enumerate() {
        if !matches!(segment, "." | "..") {
            kept.push(segment);
            continue;
        }
        if segment == ".." {
            kept.pop();
        }
        if at == last {
            kept.push("");
        }
    }
    Some(format!("/{}", kept.join("/")))
}

/// Doubled slashes count as one.
fn merged(path: &str) -> Option<String> {
    if !path.contains("//") {
        return None;
    }
    let mut text = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !text.ends_with('/') {
            text.push(c);
        }
    }
    Some(text)
}

fn each_segment<'a>(path: &'a str, change: impl Fn(&'a str) -> &'a str) -> String {
    path.split('/').map(change).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_has_one_reading() {
        for path in ["/", "/admin/users-1/x_y"] {
            let one = vec![path.to_owned()];
            assert_eq!(readings(path), Some(Readings { exact: one.clone(), folded: one }));
        }
    }

    #[test]
    fn every_disguise_is_seen_through() {
        for path in [
            "/admin",
            "//admin",
            "///admin",
            "/./admin",
            "/x/../admin",
            "/x/%2e%2e/admin",
            "/x/..%2fadmin",
            "/x%2f..%2fadmin",
            "/%61dmin",
            "/%2561dmin",
            "/%252561dmin",
            "/;/admin",
            "/;x=1/admin",
            "/admin;x=1",
            "/x/..;/admin",
            "/x/..;a=b/admin",
            "/ADMIN",
            "/%41dmin",
            "/\\admin",
            "/x\\..\\admin",
            "/x%5c..%5cadmin",
            "/%2fadmin",
            "/%2Fadmin",
            "/admin%00.png",
            "/admin%00",
            "/x/%2e%2e%2fadmin",
            "/.%2fadmin",
            "/%2e/admin",
            "/..%2fadmin",
            "/../admin",
            "/x//..//admin",
            "/admin%3bx=1",
            "/admin%3fx",
            "/admin%23x",
            "/admin%20",
            "/admin%09",
            "/admin%0a",
            "/admin.",
            "/admin%2e",
            "/admin%20.",
            "/admin.;x",
            "/admin%20;x",
            "/admin;x%2f..%2f..%2fadmin",
            "/x%2fy/../%61dmin",
            "/x/%2fy/..//../admin.%20;z",
            "/%u0061dmin",
            "/%25u0061dmin",
            "/x/%u002e%u002e/admin",
            "/x/%u002e./%u0061dmin%u002e;x",
            "/%EF%BD%81dmin",
            "/%uFF41dmin",
            "/x%EF%BC%8F..%EF%BC%8Fadmin",
            "/x/..%5c%2561dmin%20",
        ] {
            let readings = readings(path).unwrap_or_else(|| panic!("{path} is refused"));
            assert!(readings.folded.contains(&"/admin".to_owned()), "{path}: {readings:?}");
        }
    }

    #[test]
    fn encoding_alone_makes_no_other_path() {
        assert_eq!(usual("/%61%20b/caf%C3%A9.%2e"), "/a b/café..");
        for kept in ["/a%2fb", "/a%5cb", "/100%25", "/a%3Fb%23c%3b", "/a%00", "/a%0Ab", "/a%", "/a%2", "/a%zz"] {
            assert_eq!(usual(kept), kept);
        }
        assert_eq!(readings("/a%20b").map(|readings| readings.exact), Some(vec!["/a b".to_owned()]));
        let two = Some(vec!["/a%2Fb".to_owned(), "/a/b".to_owned()]);
        assert_eq!(readings("/a%2Fb").map(|readings| readings.exact), two, "one name with a slash in it, or two");
    }

    #[test]
    fn letters_meet_whatever_their_case() {
        for (one, other) in [("/ADMIN", "/admin"), ("/É", "/é"), ("/\u{17f}ecret", "/SECRET"), ("/\u{212a}ey", "/key")]
        {
            assert_eq!(fold(one), fold(other), "{one}");
        }
    }

    #[test]
    fn endless_encoding_is_hostile() {
        for path in ["/a%20b", "/%252561", "/100%25", "/%", "/a%u"] {
            assert!(readings(path).is_some(), "{path}");
        }
        for path in ["/%25252561", "/public/..%c0%afadmin", "/public/#/../../admin"] {
            assert_eq!(readings(path), None, "{path}");
        }
    }

    #[test]
    fn a_long_path_is_judged_and_a_long_path_in_many_disguises_is_refused() {
        let honest = format!("/Files/{}", "a%20b/".repeat(2300));
        assert!(readings(&honest).is_some_and(|readings| readings.exact.len() == 1));
        let matrix = format!("/Files/{}", "a;v=1/b%2Fc//".repeat(1100));
        assert!(readings(&matrix).is_some_and(|readings| readings.exact.len() == 8));
        let disguised = "/%2561;x//.\\..%2f%u0061%20.;".repeat(500);
        assert_eq!(readings(&disguised), None);
        assert!(readings(&disguised[..28]).is_some());
    }
}
