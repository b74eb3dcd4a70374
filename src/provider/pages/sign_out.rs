//! The question before a sign-out.

use maud::html;

use crate::http::page::Frame;

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

/// Signs its reader out at clients, each in a frame, and goes on.
#[must_use]
pub fn frames(frame: &Frame<'_>, uris: &[String], target: Option<&str>) -> String {
    frame.around(&html! {
        @for uri in uris { iframe src=(uri) hidden title="Sign out" {} }
        p { a class="button" href=(target.unwrap_or("/login")) data-next { "Continue" } }
        script src="/sign-out.js" type="module" {}
    })
}

/// The script of that page: on, once every frame has loaded, or after five seconds of waiting for it.
pub const FRAMES: &str = "\
const next = () => location.replace(document.querySelector(\"a[data-next]\").href);
if (document.readyState === \"complete\") next();
else addEventListener(\"load\", next);
setTimeout(next, 5000);
";

/// Says that it is done.
#[must_use]
pub fn done(frame: &Frame<'_>) -> String {
    frame.around(&html! { p { a href="/login" { "Sign in" } } })
}
