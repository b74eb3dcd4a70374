//! Who is asking: sessions opened, confirmed and ended, their copies in cookie and KV, and API keys that stand for one.

pub mod api_key;
pub mod authenticate;
pub mod call;
pub mod cookies;
pub mod endpoints;
pub mod impersonation;
pub mod live_session;
pub mod multi_session;
pub mod open;
pub mod policy;
pub mod proof;
pub mod protocol;
pub mod sessions;
pub mod store;
pub mod token;
