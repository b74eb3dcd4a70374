//! OAuth 2.1 and OpenID Connect, PURE: what we sign.

pub mod jose;
pub mod jws;
