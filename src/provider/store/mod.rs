//! SQL of `provider`, and the types of its answers.

pub mod asserted;
pub mod client;
pub mod consent;
pub mod device;
pub mod grant;
pub mod logout;
pub mod token;
