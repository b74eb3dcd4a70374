//! SQL of `session`, and the types of its answers.

pub mod api_key;
pub mod deed;
pub mod kv;
pub mod organization;
pub mod permission;
pub mod session;
pub mod waiting_sign_in;
