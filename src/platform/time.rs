//! Instants as text (RFC 3339).

use chrono::{DateTime, SecondsFormat};

use crate::platform::id::Millis;

/// ISO 8601 with milliseconds and `Z`, as the protocol writes times.
#[must_use]
pub fn iso(time: Millis) -> String {
    DateTime::from_timestamp_millis(time).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_protocol_does() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(4_102_444_800_123), "2100-01-01T00:00:00.123Z");
    }
}
