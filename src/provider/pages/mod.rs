//! Pages of `provider`: HTML forms that work without JavaScript.

pub mod consent;
pub mod device;
pub mod sign_out;
