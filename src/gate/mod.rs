//! Websites that are protected: path rules, headers, proxy, forward-auth, and signing in to a website.

pub mod caching;
pub mod code;
pub mod endpoints;
pub mod forward_auth;
pub mod headers;
pub mod own_name;
pub mod proxy;
pub mod request;
pub mod reserved;
pub mod sign_in;
