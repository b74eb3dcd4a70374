//! Bounds and spelling of a user's names and pictures.
//!
//! PURE: no I/O, no clock, no randomness.

use crate::http::fields::Fields;
use crate::http::username;
use crate::http::username::NoUsername;
use crate::platform::error::Result;

/// The longest name, in characters.
pub const LONGEST_NAME: usize = 256;

/// The longest picture URL, in characters.
pub const LONGEST_IMAGE: usize = 2048;

/// A user name, and the name to show. What is shown need not be a user name; the other way round it mostly is.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// In lower case.
    pub username: Option<String>,
    /// As its owner writes it.
    pub display_username: Option<String>,
}

/// Reads `username` and `displayUsername`. A name to show alone is the user name too, if it can be one.
///
/// # Errors
/// 400 for what is no user name.
pub fn username_fields(fields: &mut Fields) -> Result<Names> {
    let name = fields.optional("username", username::LONGEST_READ);
    let shown = fields.optional_line("displayUsername", LONGEST_NAME);
    let username = match (&name, &shown) {
        (Some(name), _) => Some(username::normalise_username(name).map_err(NoUsername::when_chosen)?),
        (None, Some(shown)) => username::normalise_username(shown).ok(),
        (None, None) => None,
    };
    Ok(Names { username, display_username: shown.or(name) })
}
