//! SQL of `server`, and the types of its answers.

pub mod sealed;
