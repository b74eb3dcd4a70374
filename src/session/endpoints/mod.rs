//! Endpoints of `session`: each reads a request, calls one flow, and answers.

pub mod multi_session;
pub mod sessions;
pub mod token;
