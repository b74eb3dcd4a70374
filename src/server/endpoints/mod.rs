//! Endpoints of `server`: each reads a request, calls one flow, and answers.

pub mod error;
pub mod health;
pub mod mailbox;
