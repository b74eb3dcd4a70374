//! SQL of `federation`, and the types of its answers.

pub mod account;
pub mod issuer;
pub mod lease;
pub mod system_account;
pub mod upstream;
