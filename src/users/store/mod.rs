//! SQL of `users`, and the types of its answers.

pub mod code;
pub mod passkey;
pub mod password;
pub mod password_reset;
pub mod person;
pub mod second_factor;
pub mod sign_in;
pub mod sign_up;
pub mod user;
