//! What somebody may do, decided without I/O: permissions, security policies, path rules.

pub mod action;
pub mod giving;
pub mod network;
pub mod path;
pub mod path_rules;
pub mod permission;
pub mod policy;
