//! `oauth_client`, `oauth_grant`, `oauth_token` and `oauth_consent`.

pub mod asserted;
pub mod client;
pub mod consent;
pub mod device;
pub mod grant;
pub mod logout;
pub mod token;
