//! The log: one line of JSON for each entry.

use worker::{console_error, console_log};

use crate::platform::error::{Error, Level};

/// Logs an error as one line of JSON.
pub fn log(request_id: &str, path: &str, error: &Error) {
    let level = error.level();
    let line = serde_json::json!({
        "level": if level == Level::Error { "error" } else { "info" },
        "request": request_id,
        "path": without_tokens(path),
        "error": error.to_string(),
    });
    match level {
        Level::Error => console_error!("{line}"),
        Level::Info => console_log!("{line}"),
    }
}

/// A path whose long segments are left out: a mailed link's last one is a token, and a log is read by many.
fn without_tokens(path: &str) -> String {
    const LONGEST_WORD: usize = 40;
    path.split('/')
        .map(|segment| if segment.len() > LONGEST_WORD { "…" } else { segment })
        .collect::<Vec<_>>()
        .join("/")
}

/// Logs something that was survived, as one line of JSON.
pub fn note(request_id: &str, text: &str) {
    console_error!("{}", serde_json::json!({ "level": "warning", "request": request_id, "note": text }));
}

#[cfg(test)]
mod tests {
    use super::without_tokens;

    #[test]
    fn a_token_in_a_path_is_not_logged() {
        let path = format!("/api/auth/reset-password/{}", "A".repeat(43));
        assert_eq!(without_tokens(&path), "/api/auth/reset-password/…");
        assert_eq!(without_tokens("/api/auth/revoke-other-sessions"), "/api/auth/revoke-other-sessions");
    }
}
