//! A user as sessions carry them.
//!
//! PURE: no I/O, no clock, no randomness.

use serde::{Deserialize, Serialize};

use crate::platform::id::{Id, Millis, User};

/// The user of a session, as far as a client is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the protocol's own fields")]
pub struct Person {
    /// Id.
    pub id: Id<User>,
    /// Display name.
    pub name: String,
    /// Lower-case address.
    pub email: String,
    /// Whether the address was proven.
    pub email_verified: bool,
    /// Picture URL.
    pub image: Option<String>,
    /// Lower-case user name.
    pub username: Option<String>,
    /// The user name as its owner writes it.
    pub display_username: Option<String>,
    /// Phone number.
    pub phone_number: Option<String>,
    /// Whether the number was proven.
    pub phone_number_verified: bool,
    /// Whether a second factor is asked for.
    pub two_factor_enabled: bool,
    /// Whether this is a guest without credentials.
    pub is_anonymous: bool,
    /// Creation.
    pub created_at: Millis,
    /// Last change.
    pub updated_at: Millis,
}

/// Whether a user with this status may be signed in. A suspension ends by itself when it has a time.
#[must_use]
pub fn user_is_active(status: &str, suspended_until: Option<Millis>, now: Millis) -> bool {
    match status {
        "active" => true,
        "suspended" => suspended_until.is_some_and(|until| until <= now),
        _ => false,
    }
}
