//! Credentials, PURE: the decision about a sign-in, and passwords.

pub mod password;
pub mod sign_in;
