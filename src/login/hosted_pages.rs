//! The script and style of the hosted pages.
//!
//! PURE: no I/O, no clock, no randomness.

use crate::http::page::STYLESHEET;
use crate::http::reply::Reply;

/// The stylesheet.
#[must_use]
pub fn style() -> Reply {
    Reply::text(200, "text/css; charset=utf-8", STYLESHEET.to_owned()).with("cache-control", "public, max-age=3600")
}
