//! The page that creates an account.

use maud::html;

use crate::http::page::Frame;

/// What the page shows.
pub struct SignUp<'a> {
    /// What went wrong the last time.
    pub problem: Option<&'a str>,
    /// The name typed the last time.
    pub name: &'a str,
    /// The address typed the last time.
    pub email: &'a str,
    /// Where to go afterwards.
    pub target: &'a str,
    /// The shortest password, in characters.
    pub shortest: usize,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame<'_>, sign_up: &SignUp<'_>) -> String {
    let target = form_urlencoded::byte_serialize(sign_up.target.as_bytes()).collect::<String>();
    frame.around(&html! {
        @if let Some(problem) = sign_up.problem {
            p class="problem" role="alert" { (problem) }
        }
        form method="post" action="/sign-up" {
            input type="hidden" name="continue" value=(sign_up.target);
            label { "Name"
                input type="text" name="name" value=(sign_up.name) autocomplete="name" maxlength="256" required autofocus;
            }
            label { "E-mail"
                input type="email" name="email" value=(sign_up.email) autocomplete="username" required;
            }
            label { "Password"
                input type="password" name="password" autocomplete="new-password" minlength=(sign_up.shortest) required;
            }
            button type="submit" { "Create account" }
        }
        p class="small" { "Have an account? " a href={ "/login?continue=" (target) } { "Sign in" } }
        script src="/fragment.js" type="module" {}
    })
}
