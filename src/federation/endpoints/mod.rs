//! Endpoints of `federation`: each reads a request, calls one flow, and answers.

pub mod accounts;
pub mod callback;
pub mod confirmation;
pub mod issuers;
pub mod service_token;
pub mod social;
pub mod system_account;
