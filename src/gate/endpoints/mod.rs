//! Endpoints of `gate`: each reads a request, calls one flow, and answers.

pub mod forward_auth;
pub mod sign_in;
