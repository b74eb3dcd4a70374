//! SQL of `request`, and the types of its answers.

pub mod directory;
pub mod rate_limit;
pub mod verification;
