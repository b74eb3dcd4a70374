//! Tenants (organizations of the login protocol), their members, roles, groups, invitations and API keys.

pub mod caller;
pub mod deletion;
pub mod endpoints;
pub mod group_draft;
pub mod groups;
pub mod invitation_page;
pub mod invitations;
pub mod listing;
pub mod members;
pub mod organization;
pub mod pages;
pub mod roles;
pub mod store;
pub mod tenant;
