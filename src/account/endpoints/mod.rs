//! Endpoints of `account`: each reads a request, calls one flow, and answers.

pub mod change_email;
pub mod deletion;
pub mod notifications;
pub mod passkey_registration;
pub mod password;
pub mod profile;
pub mod proof;
pub mod reset;
pub mod second_factor_setup;
pub mod settings;
pub mod sign_up;
pub mod user;
pub mod username;
pub mod verification;
