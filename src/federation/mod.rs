//! We as a client of an upstream issuer, PURE: kinds of service, discovery, the authorization request, its callback, client
//! authentication, the ID token, field mapping, and whom it makes of the visitor.
//!
//! What comes from outside advances only by type: an [`callback::UnverifiedCallback`] becomes a
//! [`callback::AuthorizationCode`], which alone can be exchanged, and only an [`id_token::IdToken`] names anybody.

pub mod callback;
pub mod client_auth;
pub mod discovery;
pub mod id_token;
pub mod linking;
pub mod mapping;
pub mod own;
pub mod preset;
pub mod profile;
pub mod request;
pub mod service;
