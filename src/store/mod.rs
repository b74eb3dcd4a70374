//! All SQL and KV. Functions are shaped by use; nothing here decides anything.
//!
//! Every select answers one column, `row`, a JSON object in the shape of the Rust type that reads it: one string
//! crosses from JavaScript instead of a value a column.

pub mod access;
pub mod account;
pub mod api_key;
pub mod code;
pub mod database;
pub mod directory;
pub mod group;
pub mod invitation;
pub mod issuer;
pub mod jobs;
pub mod kv;
pub mod lease;
pub mod member;
pub mod notification;
pub mod oauth;
pub mod outbox;
pub mod passkey;
pub mod password;
pub mod password_reset;
pub mod people;
mod person;
pub mod rate_limit;
pub mod record;
pub mod role;
pub mod sealed;
pub mod second_factor;
pub mod session;
pub mod sign_in;
pub mod sign_up;
pub mod signing_key;
pub mod system_account;
pub mod tenancy;
pub mod tenant;
pub mod upstream;
pub mod user;
pub mod verification;
