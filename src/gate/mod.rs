//! The gate, PURE: which rule a request falls under, whether a session satisfies it, and what the origin is told.

pub mod caching;
pub mod headers;
pub mod own_name;
pub mod path;
pub mod request;
pub mod rules;
