//! Endpoints of `provider`: each reads a request, calls one flow, and answers.

pub mod authorize;
pub mod clients;
pub mod consent;
pub mod consents;
pub mod device;
pub mod device_client;
pub mod end_session;
pub mod introspection;
pub mod metadata;
pub mod par;
pub mod registration;
pub mod token;
pub mod userinfo;
