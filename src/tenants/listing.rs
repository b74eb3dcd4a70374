//! Reading the bounds, filters and order of a list from a query.
//!
//! PURE: no I/O, no clock, no randomness.

use crate::http::incoming::Incoming;
use crate::platform::error::{Error, Result};
use crate::platform::id::Millis;

/// The longest text that is searched for, in characters.
pub const LONGEST_SEARCH: usize = 256;

/// Where an operator looks for a text.
#[must_use]
pub fn match_place(operator: &str) -> Option<Where> {
    match operator {
        "contains" => Some(Where::Contains),
        "starts_with" => Some(Where::Begins),
        "ends_with" => Some(Where::Ends),
        _ => None,
    }
}

/// A time of the query.
///
/// # Errors
/// 400.
pub fn time_parameter(text: &str) -> Result<Millis> {
    let parsed = chrono::DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis());
    parsed.or_else(|_| text.parse::<Millis>()).map_err(|_| invalid_parameter("filterValue", "a time"))
}

/// The operators of filters.
pub const OPERATORS: &str =
    "one of eq, ne, lt, lte, gt, gte, in, not_in, contains, starts_with, ends_with, as the field has it";

/// A whole number of the query within bounds, or what holds without one.
///
/// # Errors
/// 400 for anything else.
pub fn bounded_parameter(request: &Incoming, name: &str, otherwise: i64, (least, most): (i64, i64)) -> Result<i64> {
    let Some(text) = request.param(name).filter(|text| !text.is_empty()) else {
        return Ok(otherwise);
    };
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        Error::Validation(format!("[query.{name}] Invalid input: expected int between {least} and {most}"))
    })
}

/// A parameter that is not what it must be.
#[must_use]
pub fn invalid_parameter(name: &str, expected: &str) -> Error {
    Error::Validation(format!("[query.{name}] Invalid option: expected {expected}"))
}

/// Where a text is looked for. Not by `like`, whose patterns D1 bounds to 50 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Anywhere.
    Contains,
    /// At the beginning.
    Begins,
    /// At the end.
    Ends,
}

impl Where {
    /// As the statements know it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contains => "contains",
            Self::Begins => "begins",
            Self::Ends => "ends",
        }
    }
}
