//! The login page.

use maud::html;

use crate::federation::store::issuer::Button;
use crate::http::page::Frame;
use crate::platform::config::WaysIn;

/// What the page shows.
pub struct Login<'a> {
    /// What went wrong the last time.
    pub problem: Option<&'a str>,
    /// Whether its reader was just signed out.
    pub is_signed_out: bool,
    /// The website that they were signed out at, as an origin.
    pub website: Option<&'a str>,
    /// The address typed the last time.
    pub email: &'a str,
    /// Where to go afterwards.
    pub target: &'a str,
    /// Issuers to sign in with.
    pub issuers: &'a [Button],
    /// Whether strangers may sign up.
    pub sign_up_open: bool,
    /// The ways in.
    pub ways_in: WaysIn,
    /// Whether its reader is to prove anew who they are.
    pub again: bool,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame<'_>, login: &Login<'_>) -> String {
    let target = form_urlencoded::byte_serialize(login.target.as_bytes()).collect::<String>();
    frame.around(&html! {
        @if let Some(problem) = login.problem {
            p class="problem" role="alert" { (problem) }
        }
        p class="problem" role="alert" data-problem hidden {}
        @if login.is_signed_out {
            p role="status" {
                "You are signed out."
                @if let Some(website) = login.website { " " a href={ (website) "/" } { "Back to " (website) } }
            }
        }
        @if login.ways_in.password || login.ways_in.magic_link {
            form method="post" action="/login" {
                input type="hidden" name="continue" value=(login.target);
                label { @if login.ways_in.password { "E-mail or user name" } @else { "E-mail" }
                    input type="text" name="email" value=(login.email) autocomplete="username webauthn" autocapitalize="none"
                        spellcheck="false" required autofocus[login.email.is_empty()];
                }
                @if login.ways_in.password {
                    label { "Password"
                        input type="password" name="password" autocomplete="current-password" autofocus[!login.email.is_empty()];
                    }
                    label class="check" {
                        input type="checkbox" name="rememberMe" value="true" checked;
                        "Keep me signed in"
                    }
                    button type="submit" { "Sign in" }
                }
                @if login.ways_in.magic_link {
                    button type="submit" class="plain" formaction="/login/link" { "Mail me a sign-in link" }
                }
            }
        }
        // Before the script of passkeys, which reads where its button leads.
        script src="/fragment.js" type="module" {}
        @if login.ways_in.passkey {
            div data-passkey hidden {
                button type="button" class="plain" data-sign-in=(login.target) { "Sign in with a passkey" }
            }
            script src="/passkey.js" type="module" {}
        }
        @if login.ways_in.password {
            p class="small" { a href="/forgot-password" { "Forgot your password?" } }
        }
        @if !login.issuers.is_empty() {
            div class="or" { "or" }
            @for issuer in login.issuers {
                form method="post" action="/login/upstream" {
                    input type="hidden" name="continue" value=(login.target);
                    input type="hidden" name="provider" value=(issuer.name);
                    @if login.again { input type="hidden" name="again" value="true"; }
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

/// Says that a mail is on its way, if there is anybody to get one.
#[must_use]
pub fn sent(frame: &Frame<'_>, email: &str) -> String {
    frame.around(&html! {
        p { "If there is an account for " strong { (email) } ", or one can be made, a mail is on its way. Follow the link in it." }
        p class="small" { a href="/login" { "Back to signing in" } }
    })
}
