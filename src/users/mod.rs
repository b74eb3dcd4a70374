//! The rows of a user and what they prove: lookup, lock-out, codes, passwords, passkeys, second-factor state.

pub mod addressee;
pub mod fields;
pub mod limits;
pub mod lockout;
pub mod passkey_ceremony;
pub mod person;
pub mod profile;
pub mod sign_in_decision;
pub mod store;
