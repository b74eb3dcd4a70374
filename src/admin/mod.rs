//! Users of a pool, looked after by administrators.

pub mod administrator;
pub mod endpoints;
pub mod store;
pub mod users;
