//! The page of an invitation.

use maud::html;

use crate::http::page::Frame;
use crate::http::redirect::Target;

/// What is shown of an invitation.
pub struct Shown<'a> {
    /// What the link carries.
    pub token: &'a str,
    /// The organization.
    pub organization: &'a str,
    /// Who invited, if they are still there.
    pub inviter: Option<&'a str>,
    /// Whom.
    pub email: &'a str,
    /// Roles that they are given.
    pub roles: &'a str,
}

/// Asks the user who is signed in by the address whether they join, and anybody else to sign in by it. `signed_in` is the address
/// that the browser is signed in with.
#[must_use]
pub fn page(frame: &Frame<'_>, shown: &Shown<'_>, signed_in: Option<&str>) -> String {
    let back = Target::own("/invitation").with_query("token", shown.token);
    let login = Target::own("/login").with_query("continue", back.as_str());
    // The page of sign-in would send a user who is signed in back here at once.
    let other = login.with_query("again", "true").with_query("login_hint", shown.email);
    let sign_up = Target::own("/sign-up").with_query("continue", back.as_str());
    frame.around(&html! {
        p {
            @if let Some(inviter) = shown.inviter { strong { (inviter) } " invites you" } @else { "You are invited" }
            " to join " strong { (shown.organization) } " as " strong { (shown.roles) } "."
        }
        @match signed_in {
            Some(email) if email == shown.email => {
                form method="post" action="/invitation" {
                    input type="hidden" name="token" value=(shown.token);
                    button type="submit" name="decision" value="accept" { "Join" }
                    button class="plain" type="submit" name="decision" value="reject" { "No, thank you" }
                }
            }
            Some(email) => {
                p { "The invitation is for " strong { (shown.email) } ", and you are signed in as " strong { (email) } "." }
                a class="button" href=(other.as_str()) { "Sign in as " (shown.email) }
                p class="small" { "No account with that address yet? " a href=(sign_up.as_str()) { "Create one" } }
                p class="small" { a href="/account" { "Stay signed in as " (email) } }
            }
            None => {
                p { "The invitation is for " strong { (shown.email) } "." }
                p { a href=(login.as_str()) { "Sign in" } " or " a href=(sign_up.as_str()) { "create an account" } " with that address." }
            }
        }
    })
}

/// Says what came of it.
#[must_use]
pub fn done(frame: &Frame<'_>, organization: &str, joined: bool) -> String {
    frame.around(&html! {
        @if joined { p { "You are a member of " strong { (organization) } " now." } } @else { p { "You turned the invitation down." } }
        p { a href="/account" { "Your account" } }
    })
}

/// Says that its reader has accepted it already: they may come by a link that was mailed before they did.
#[must_use]
pub fn accepted(frame: &Frame<'_>, organization: &str) -> String {
    frame.around(&html! {
        p { "You have accepted the invitation to " strong { (organization) } " already. There is nothing left to do." }
        a class="button" href="/account" { "Your account" }
    })
}

/// Says that there is nothing to answer any more.
#[must_use]
pub fn spent(frame: &Frame<'_>, is_signed_in: bool) -> String {
    frame.around(&html! {
        p { "This invitation was answered or taken back, or it is too old." }
        p { "If you have accepted it, you are a member. If you have not, ask the person who invited you for another one." }
        @if is_signed_in {
            a class="button plain" href="/account" { "Your account" }
        } @else {
            a class="button plain" href="/login" { "Sign in" }
        }
    })
}
