//! Endpoints of `admin`: each reads a request, calls one flow, and answers.

pub mod impersonation;
pub mod list_users;
pub mod status;
pub mod tenants;
pub mod user_sessions;
pub mod users;
