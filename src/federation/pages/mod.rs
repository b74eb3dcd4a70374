//! Pages of `federation`: HTML forms that work without JavaScript.

pub mod confirmation;
