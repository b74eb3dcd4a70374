//! Pages of `tenants`: HTML forms that work without JavaScript.

pub mod invitation;
