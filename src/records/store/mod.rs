//! SQL of `records`, and the types of its answers.

pub mod audit;
pub mod notification;
pub mod outbox;
