//! What one request has: context, hosts, limits, one-time values, outgoing requests, errors as answers.

pub mod asked;
pub mod context;
pub mod errors;
pub mod fetch;
pub mod hosts;
pub mod origins;
pub mod own_hosts;
pub mod password_hash;
pub mod post;
pub mod settings;
pub mod store;
pub mod write_later;
