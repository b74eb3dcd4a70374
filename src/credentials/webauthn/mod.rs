//! Passkeys, PURE: the relying party's side of Web Authentication Level 3 (<https://www.w3.org/TR/webauthn-3/>),
//! sections 7.1 and 7.2. Clauses are cited by their number there.
//!
//! What is asked of the browser is attestation conveyance "none" (section 5.4.7): which make of authenticator it is
//! decides nothing here, so no trust anchors are kept and no certificates are read.

mod attestation;
mod authentication;
mod authenticator_data;
mod cbor;
mod client_data;
mod error;
pub mod expectation;
mod key;
mod registration;

pub use authentication::{Assertion, StoredCredential, UnverifiedAuthenticationResponse, verify_authentication};
pub use error::WebauthnError;
pub use key::Algorithm;
pub use registration::{NewCredential, UnverifiedRegistrationResponse, verify_registration};

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod hostile_authentications;

#[cfg(test)]
mod hostile_keys;

#[cfg(test)]
mod hostile_registrations;

#[cfg(test)]
mod mutation;
