//! Ways in: password, passkey, link, code, phone, guest, and the second factor after them; their pages.

pub mod email_otp;
pub mod endpoints;
pub mod guest;
pub mod hosted_pages;
pub mod magic_link;
pub mod one_time_token;
pub mod pages;
pub mod passkey;
pub mod second_factor;
pub mod sign_in;
pub mod sign_in_or_up;
