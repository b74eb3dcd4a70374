//! The pages of second factors.

use maud::html;

use crate::http::page::Frame;
use crate::http::redirect::Target;

/// What the page of a sign-in that waits shows.
pub struct ChallengePage<'a> {
    /// What went wrong the last time.
    pub problem: Option<&'a str>,
    /// What happened the last time.
    pub note: Option<&'a str>,
    /// The factors that the user has.
    pub methods: &'a [String],
    /// Whether a code was mailed.
    pub is_mailed: bool,
    /// Where to go afterwards.
    pub target: &'a str,
}

/// Asks for a code.
#[must_use]
pub fn challenge(frame: &Frame<'_>, challenge: &ChallengePage<'_>) -> String {
    let login = Target::own("/login").with_query("continue", challenge.target);
    let has = |method: &str| challenge.methods.iter().any(|one| one == method);
    frame.around(&html! {
        @if let Some(problem) = challenge.problem { p class="problem" role="alert" { (problem) } }
        @if let Some(note) = challenge.note { p role="status" { (note) } }
        form method="post" action="/second-factor" {
            input type="hidden" name="continue" value=(challenge.target);
            @if challenge.is_mailed { input type="hidden" name="mailed" value="true"; }
            label {
                @if has("totp") { "Code of your authenticator app, mailed code, or backup code" } @else { "Mailed code" }
                input type="text" name="code" autocomplete="one-time-code" inputmode="text" maxlength="40" required autofocus;
            }
            label class="check" {
                input type="checkbox" name="trustDevice" value="true";
                "Trust this browser"
            }
            button type="submit" { "Go on" }
        }
        @if has("otp") {
            form method="post" action="/second-factor/send" {
                input type="hidden" name="continue" value=(challenge.target);
                button type="submit" class="plain" { "Mail me a code" }
            }
        }
        p class="small" { a href=(login.as_str()) { "Start again" } }
    })
}
