//! Requests, replies, fields, cookies, redirects, and the frame of a page.

pub mod client;
pub mod cookie;
pub mod email;
pub mod fields;
pub mod header_name;
pub mod incoming;
pub mod page;
pub mod phone;
pub mod redirect;
pub mod reply;
pub mod username;
pub mod visible;
