//! Pages of `account`: HTML forms that work without JavaScript.

pub mod account;
pub mod change_email;
pub mod second_factor;
