//! OAuth 2.1 and OpenID Connect, PURE: what a client may ask, what is decided of it, and what we sign.

pub mod assertion_grant;
pub mod assurance;
pub mod authorization;
pub mod claims;
pub mod claims_request;
pub mod client;
pub mod client_authentication;
pub mod device;
pub mod dpop;
pub mod exchange;
pub mod jose;
pub mod jwk;
pub mod jws;
pub mod logout;
pub mod parameters;
pub mod problem;
pub mod redirect_uri;
pub mod registration;
pub mod request_object;
pub mod token;
