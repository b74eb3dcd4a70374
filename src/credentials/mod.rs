//! Credentials, PURE: the decision about a sign-in, passwords, second factors, passkeys.

pub mod backup_code;
pub mod password;
pub mod sign_in;
pub mod stored;
pub mod totp;
pub mod webauthn;
