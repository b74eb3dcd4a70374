//! Pages of a device that waits.

use maud::html;

use crate::http::page::Frame;
use crate::provider::claims::words;

/// Asks for the code.
#[must_use]
pub fn ask(frame: &Frame<'_>, problem: Option<&str>) -> String {
    frame.around(&html! {
        @if let Some(problem) = problem { p class="problem" role="alert" { (problem) } }
        form method="get" action="/device" {
            label { "The code that your device shows"
                input type="text" name="user_code" autocomplete="off" autocapitalize="characters" spellcheck="false"
                    placeholder="XXXX-XXXX" required autofocus;
            }
            button type="submit" { "Continue" }
        }
        p class="small" { a href="/account" { "Your account" } }
    })
}

/// Asks whether the device is the reader's. The code is shown once more: somebody else's link may have brought it here
/// (RFC 8628, section 5.4).
#[must_use]
pub fn confirm(frame: &Frame<'_>, code: &str, client: &str, scopes: &[String], email: &str) -> String {
    frame.around(&html! {
        p { "Does your device show the code " strong { (code) } "? If it does not, somebody else's is asking." }
        p { strong { (client) } " wants to:" }
        ul { @for scope in scopes { li { (words(scope)) } } }
        form method="post" action="/device" {
            input type="hidden" name="user_code" value=(code);
            button type="submit" name="decision" value="allow" { "It does: connect it" }
            button type="submit" name="decision" value="deny" class="plain" { "Cancel" }
        }
        p class="small" { "You are signed in as " (email) "." }
    })
}

/// Says what was done.
#[must_use]
pub fn done(frame: &Frame<'_>, agreed: bool) -> String {
    frame.around(&html! {
        @if agreed { p { "The device is connected. You can go back to it." } } @else { p { "The device was not connected." } }
        a class="button plain" href="/account" { "Your account" }
    })
}
