//! One's own account: sign-up, verification, reset, change of address, factors, profile, deletion; its pages.

pub mod change_email;
pub mod endpoints;
pub mod overview;
pub mod pages;
pub mod passkey_registration;
pub mod password;
pub mod reset;
pub mod second_factor_setup;
pub mod sign_up;
pub mod user;
pub mod verification;
