//! SQL of `tenants`, and the types of its answers.

pub mod group;
pub mod invitation;
pub mod jobs;
pub mod member;
pub mod role;
pub mod tenancy;
pub mod tenant;
