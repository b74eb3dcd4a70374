//! Doorward as client of upstream issuers: signing in by them, linked accounts, system accounts.

pub mod callback;
pub mod client_auth;
pub mod discover;
pub mod discovery;
pub mod endpoints;
pub mod flow;
pub mod id_token;
pub mod issuer_draft;
pub mod issuers;
pub mod linking;
pub mod mapping;
pub mod pages;
pub mod preset;
pub mod profile;
pub mod request;
pub mod service;
pub mod store;
