//! The clock.

use crate::platform::id::Millis;

/// The clock. Read once a request; see [`Context::now`](crate::request::context::Context::now).
#[must_use]
pub fn read_clock() -> Millis {
    #[expect(clippy::disallowed_methods, reason = "the one reading a request")]
    Millis::try_from(worker::Date::now().as_millis()).unwrap_or(0)
}
