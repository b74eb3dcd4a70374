//! Pages of a link that is confirmed by mail.

use maud::html;

use crate::http::page::Frame;

/// Asks whether the account at the issuer is the reader's.
#[must_use]
pub fn page(frame: &Frame<'_>, token: &str, issuer: &str, identity: &str) -> String {
    frame.around(&html! {
        p { "Somebody signed in with " strong { (issuer) } " as " strong { (identity) } ". Once you confirm, that account signs in as you." }
        p { "If this was not you, close this page, and nothing happens." }
        form method="post" action="/confirm-account" {
            input type="hidden" name="token" value=(token);
            button type="submit" { "Yes, this account is mine" }
        }
    })
}

/// Says that it is done.
#[must_use]
pub fn done(frame: &Frame<'_>, issuer: &str) -> String {
    frame.around(&html! {
        p { "You can sign in with " (issuer) " now." }
        p { a href="/login" { "Sign in" } }
    })
}

/// Says that there is nothing to confirm any more.
#[must_use]
pub fn spent(frame: &Frame<'_>) -> String {
    frame.around(&html! {
        p { "It was used before, or it is too old. Sign in the same way once more, and another is mailed to you." }
        p { a href="/login" { "Sign in" } }
    })
}
