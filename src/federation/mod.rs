//! We as a client of an upstream issuer, PURE: discovery, the authorization request, its callback, the ID token, and
//! whom it makes of the visitor.
//!
//! What comes from outside advances only by type: an [`callback::UnverifiedCallback`] becomes a
//! [`callback::AuthorizationCode`], which alone can be exchanged, and only an [`id_token::IdToken`] names anybody.

pub mod callback;
pub mod discovery;
pub mod id_token;
pub mod linking;
pub mod profile;
pub mod request;
