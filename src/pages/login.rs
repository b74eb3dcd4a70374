//! The login page.

use maud::html;

use crate::pages::Frame;
use crate::store::issuer::Button;

/// What the page shows.
pub struct Login<'a> {
    /// What went wrong the last time.
    pub problem: Option<&'a str>,
    /// The address typed the last time.
    pub email: &'a str,
    /// Where to go afterwards.
    pub target: &'a str,
    /// Issuers to sign in with.
    pub issuers: &'a [Button],
    /// Whether strangers may sign up.
    pub sign_up_open: bool,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame<'_>, login: &Login<'_>) -> String {
    let target = form_urlencoded::byte_serialize(login.target.as_bytes()).collect::<String>();
    frame.around(&html! {
        @if let Some(problem) = login.problem {
            p class="problem" role="alert" { (problem) }
        }
        form method="post" action="/login" {
            input type="hidden" name="continue" value=(login.target);
            label { "E-mail"
                input type="email" name="email" value=(login.email) autocomplete="username" required autofocus[login.email.is_empty()];
            }
            label { "Password"
                input type="password" name="password" autocomplete="current-password" required autofocus[!login.email.is_empty()];
            }
            label class="check" {
                input type="checkbox" name="rememberMe" value="true" checked;
                "Keep me signed in"
            }
            button type="submit" { "Sign in" }
        }
        p class="small" { a href="/forgot-password" { "Forgot your password?" } }
        @if !login.issuers.is_empty() {
            div class="or" { "or" }
            @for issuer in login.issuers {
                form method="post" action="/login/upstream" {
                    input type="hidden" name="continue" value=(login.target);
                    input type="hidden" name="provider" value=(issuer.name);
                    button type="submit" class="plain" {
                        @if let Some(image) = &issuer.image { img src=(image) alt=""; }
                        "Sign in with " (issuer.label)
                    }
                }
            }
        }
        @if login.sign_up_open {
            p class="small" { "No account yet? " a href={ "/sign-up?continue=" (target) } { "Create one" } }
        }
    })
}
