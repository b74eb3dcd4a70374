//! Endpoints of `tenants`: each reads a request, calls one flow, and answers.

pub mod api_keys;
pub mod group_members;
pub mod groups;
pub mod invitation_page;
pub mod invitations;
pub mod members;
pub mod roles;
pub mod tenants;
