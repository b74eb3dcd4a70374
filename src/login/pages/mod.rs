//! Pages of `login`: HTML forms that work without JavaScript.

pub mod login;
pub mod reset;
pub mod second_factor;
pub mod sign_up;
