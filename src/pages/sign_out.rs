//! The question before a sign-out.

use maud::html;

use crate::pages::Frame;

/// The page: `action` is where its form goes.
#[must_use]
pub fn page(frame: &Frame<'_>, website: &str, action: &str) -> String {
    frame.around(&html! {
        p { "This signs you out of " (website) " and of every other website that you signed in to with the same account." }
        form method="post" action=(action) {
            button type="submit" { "Sign out" }
        }
        a class="button plain" href="/" { "Stay signed in" }
    })
}
