//! The pages of a forgotten password.

use maud::html;

use crate::http::page::Frame;

/// Asks for the address.
#[must_use]
pub fn forgot(frame: &Frame<'_>, problem: Option<&str>, email: &str) -> String {
    frame.around(&html! {
        @if let Some(problem) = problem { p class="problem" role="alert" { (problem) } }
        form method="post" action="/forgot-password" {
            label { "E-mail"
                input type="email" name="email" value=(email) autocomplete="username" required autofocus;
            }
            button type="submit" { "Send a link" }
        }
        p class="small" { a href="/login" { "Back to signing in" } }
    })
}

/// Says that a mail is on its way, if there is anybody to get one.
#[must_use]
pub fn sent(frame: &Frame<'_>, email: &str) -> String {
    frame.around(&html! {
        p { "If there is an account for " strong { (email) } ", a link to set a new password is on its way." }
        p class="small" { a href="/login" { "Back to signing in" } }
    })
}

/// Asks for the new password.
#[must_use]
pub fn choose(frame: &Frame<'_>, problem: Option<&str>, token: &str, shortest: usize) -> String {
    frame.around(&html! {
        @if let Some(problem) = problem { p class="problem" role="alert" { (problem) } }
        form method="post" action="/reset-password" {
            input type="hidden" name="token" value=(token);
            label { "New password"
                input type="password" name="newPassword" autocomplete="new-password" minlength=(shortest) required autofocus;
            }
            button type="submit" { "Set the password" }
        }
        p class="small" { "Does it not work? " a href="/forgot-password" { "Send a new link" } }
    })
}

/// Says that the link is not good any more.
#[must_use]
pub fn spent(frame: &Frame<'_>) -> String {
    frame.around(&html! {
        p { "It has been used already, it is too old, or a newer one was sent after it." }
        a class="button" href="/forgot-password" { "Send a new link" }
        p class="small" { a href="/login" { "Sign in" } }
    })
}

/// Says that it worked.
#[must_use]
pub fn done(frame: &Frame<'_>) -> String {
    frame.around(&html! {
        p { "Your password is set, and you were signed out everywhere." }
        a class="button" href="/login" { "Sign in" }
    })
}
