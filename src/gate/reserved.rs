//! The paths that a protected host keeps for itself.
//!
//! PURE: no I/O, no clock, no randomness.

/// What a protected host reserves.
pub const RESERVED: &str = "/.doorward/";

/// Whether a protected host's path is one of those.
#[must_use]
pub fn is_reserved(path: &str) -> bool {
    path.starts_with(RESERVED) || path == RESERVED.trim_end_matches('/')
}
