//! OAuth 2.1 and OpenID Connect, PURE: what we sign.

pub mod authorization;
pub mod claims;
pub mod client;
pub mod client_authentication;
pub mod device;
pub mod jose;
pub mod jws;
pub mod parameters;
pub mod problem;
pub mod redirect_uri;
pub mod registration;
pub mod token;
