//! What is written down and sent: audit, login history, notifications, the outbox and the texts of mails.

pub mod deliver;
pub mod mail;
pub mod store;
