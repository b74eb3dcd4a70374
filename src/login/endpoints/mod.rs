//! Endpoints of `login`: each reads a request, calls one flow, and answers.

pub mod anonymous;
pub mod email_otp;
pub mod magic_link;
pub mod one_time;
pub mod pages;
pub mod passkey;
pub mod phone;
pub mod second_factor;
pub mod sign_in;
