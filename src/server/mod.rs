//! The table of routes with every fact of a route, dispatch, the origin check, CORS, security headers, and cron.

pub mod cron;
pub mod endpoints;
pub mod guard;
pub mod pages;
pub mod reseal;
pub mod routes;
pub mod serve;
pub mod store;
