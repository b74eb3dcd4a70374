//! HTTP as the handlers see it: the request, its cookies, fields and origin, and the reply.

pub mod client;
pub mod cookie;
pub mod email;
pub mod fields;
pub mod incoming;
pub mod origin;
pub mod phone;
pub mod redirect;
pub mod reply;
pub mod trusted;
pub mod username;
pub mod visible;
