//! Hosted pages: plain HTML forms that work without JavaScript.

pub mod error;
pub mod mailed;

use maud::{DOCTYPE, Markup, html};

/// The stylesheet of every page.
pub const STYLESHEET: &str = include_str!("style.css");

/// Where the stylesheet is on every host, also where nobody is known to answer.
pub const STYLESHEET_ANYWHERE: &str = "/.doorward/style.css";

/// The script of the pages that ask for passkeys.
pub const PASSKEY_SCRIPT: &str = include_str!("passkey.js");

/// The script of the pages that a website's visitor signs in on.
pub const FRAGMENT_SCRIPT: &str = include_str!("fragment.js");

/// A door, ajar.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='3' fill='%230b57d0'/%3E%3Cpath d='M5 3h6v10H5z' fill='none' stroke='%23fff'/%3E%3Cpath d='M5 3l4 1.5v8L5 13z' fill='%23fff'/%3E%3C/svg%3E";

/// What stands around a page.
pub struct Frame<'a> {
    /// Title.
    pub title: &'a str,
    /// Whose pages these are.
    pub tenant: &'a str,
    /// Where the stylesheet is on this host.
    pub stylesheet: &'static str,
}

impl Frame<'_> {
    /// The page around `content`.
    #[must_use]
    pub fn around(&self, content: &Markup) -> String {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (self.title) @if !self.tenant.is_empty() { " · " (self.tenant) } }
                    link rel="icon" href=(ICON);
                    link rel="stylesheet" href=(self.stylesheet);
                }
                body {
                    main {
                        @if !self.tenant.is_empty() { p class="tenant" { (self.tenant) } }
                        h1 { (self.title) }
                        (content)
                    }
                }
            }
        }
        .into_string()
    }
}
