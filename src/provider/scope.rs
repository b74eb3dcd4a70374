//! Scopes with a meaning of their own.

/// What begins a resource that was agreed to.
pub const RESOURCE: &str = "resource:";

/// The scope that asks for tokens that outlive the session (OpenID Connect Core 1.0, section 11).
pub const OFFLINE: &str = "offline_access";

/// The scopes that we give a meaning, and the words that a user is asked with.
pub const SCOPES: [(&str, &str); 9] = [
    ("openid", "Know who you are"),
    ("profile", "See your name and picture"),
    ("email", "See your e-mail address"),
    ("phone", "See your phone number"),
    ("address", "See your postal address"),
    ("offline_access", "Stay signed in while you are away"),
    ("roles", "See your roles"),
    ("groups", "See which groups you are in"),
    ("org", "See which organization you signed in to"),
];
