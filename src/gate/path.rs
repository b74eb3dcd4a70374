//! Every path that an origin may make of the one that was sent.
//!
//! We forward the path as it came and cannot know how the origin reads it. Where servers differ, a rule that judged
//! one reading could be walked around by another: `/;/admin`, `/%61dmin`, `//admin`, `/x/..%2fadmin`, `/ADMIN`.
//! So each reading is judged, and the strictest wins.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The readings of `path`, the literal one first, without repeats.
#[must_use]
pub fn readings(path: &str) -> Vec<String> {
    let mut readings = vec![path.to_owned()];
    // The usual path has one reading, and is judged once.
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'/' | b'-' | b'_');
    if path.bytes().all(plain) && !path.contains("//") {
        return readings;
    }
    let mut add = |reading: String| {
        if !readings.contains(&reading) {
            readings.push(reading);
        }
    };
    let mut decoded = path.to_owned();
    // Decoded up to three times: proxies and frameworks in a row each take a layer off.
    for _ in 0..=3 {
        let slashed = decoded.replace('\\', "/");
        for source in [&decoded, &slashed] {
            // A decoded `?` or `#` ends the path for whoever decodes before parsing; a null byte for whatever passes
            // it to C.
            let cut = source.split(['?', '#', '\0']).next().unwrap_or_default();
            for text in [source.as_str(), cut] {
                for merge in [false, true] {
                    for segments in
                        [text.to_owned(), each_segment(text, without_parameters), each_segment(text, trimmed)]
                    {
                        let resolved = resolve(&segments, merge);
                        add(resolved.to_lowercase());
                        add(resolved);
                    }
                }
            }
        }
        let next: Cow<'_, str> = percent_decode_str(&decoded).decode_utf8_lossy();
        if next == decoded {
            break;
        }
        decoded = next.into_owned();
    }
    readings
}

/// Whether no honest client sends it: more layers of encoding than are judged, a fragment, or bytes that are no UTF-8,
/// such as the overlong `%c0%af` that some decoders read as a slash.
#[must_use]
pub fn is_hostile(path: &str) -> bool {
    let mut decoded = path.to_owned();
    for _ in 0..3 {
        let Ok(next) = percent_decode_str(&decoded).decode_utf8() else {
            return true;
        };
        decoded = next.into_owned();
    }
    let once_more = percent_decode_str(&decoded).decode_utf8_lossy();
    path.contains('#') || once_more != decoded
}

fn each_segment(path: &str, change: impl Fn(&str) -> &str) -> String {
    path.split('/').map(change).collect::<Vec<_>>().join("/")
}

/// Cuts `;parameters` off a segment (RFC 3986, section 3.3), as Java servers do.
fn without_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or_default()
}

/// Cuts trailing dots and blanks off a segment, as Windows does with file names, but leaves `.` and `..`.
fn trimmed(segment: &str) -> &str {
    let blank = |c: char| c.is_whitespace() || c.is_control();
    let kept = segment.trim_matches(blank);
    if kept.trim_end_matches('.').is_empty() { kept } else { kept.trim_end_matches(|c| c == '.' || blank(c)) }
}

/// Resolves `.` and `..` (RFC 3986, section 5.2.4); with `merge`, doubled slashes count as one.
fn resolve(path: &str, merge: bool) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let last = segments.len() - 1;
    for (at, segment) in segments.into_iter().enumerate() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if at == last {
                    kept.push("");
                }
            }
            "" if merge && at != last => (),
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_has_one_reading() {
        assert_eq!(readings("/"), ["/"]);
        assert_eq!(readings("/admin/users-1/x_y"), ["/admin/users-1/x_y"]);
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
        ] {
            assert!(readings(path).contains(&"/admin".to_owned()), "{path}: {:?}", readings(path));
        }
    }

    #[test]
    fn endless_encoding_is_hostile() {
        assert!(!is_hostile("/a%20b"));
        assert!(!is_hostile("/%252561"));
        assert!(is_hostile("/%25252561"));
        assert!(is_hostile("/public/..%c0%afadmin"));
        assert!(is_hostile("/public/#/../../admin"));
    }
}
