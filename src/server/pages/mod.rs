//! Pages of `server`: HTML forms that work without JavaScript.

pub mod mailbox;
