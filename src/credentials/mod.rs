//! Passwords, TOTP, backup codes and `WebAuthn`, without I/O.

pub mod backup_code;
pub mod password;
pub mod stored;
pub mod totp;
pub mod webauthn;
