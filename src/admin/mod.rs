//! Users of a pool, looked after by administrators.

pub mod administrator;
pub mod endpoints;
pub mod impersonation;
pub mod password;
pub mod store;
pub mod user_changes;
pub mod users;
