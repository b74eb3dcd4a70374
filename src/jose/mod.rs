//! Signatures and keys: JWS, JWK sets, signing keys and their rotation (RFC 7515, 7517, 7518).

pub mod jwk;
pub mod jws;
pub mod key_set;
pub mod rotation;
pub mod signature;
pub mod store;
