//! Who may do what, PURE: permissions, what each action needs, and the security policy of a tenant.

pub mod action;
pub mod giving;
pub mod network;
pub mod permission;
pub mod policy;
