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

/// Asks whether to sign out, as a client wishes.
#[must_use]
pub fn confirm(frame: &Frame<'_>, client: Option<&str>, email: &str, query: &str) -> String {
    frame.around(&html! {
        p { (client.unwrap_or("An application")) " asks to sign you out. You are signed in as " strong { (email) } "." }
        form method="post" action="/oauth2/end_session/confirm" {
            input type="hidden" name="query" value=(query);
            button type="submit" { "Sign out everywhere" }
        }
        p class="small" { a href="/account" { "Stay signed in" } }
    })
}

/// Says that it is done.
#[must_use]
pub fn done(frame: &Frame<'_>) -> String {
    frame.around(&html! { p { a href="/login" { "Sign in" } } })
}
