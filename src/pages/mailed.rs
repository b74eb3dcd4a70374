//! Pages that mailed links lead to: each says what its button does, and what came of it.

use maud::html;

use crate::pages::Frame;

/// The proof of an address.
pub struct Proof<'a> {
    /// The link's token.
    pub token: &'a str,
    /// Where to go afterwards.
    pub callback: Option<&'a str>,
    /// The address.
    pub email: &'a str,
    /// Whether the account was made in this browser, or is signed in to.
    pub is_own_browser: bool,
}

/// Asks whether an address is the reader's.
#[must_use]
pub fn ask_proof(frame: &Frame<'_>, asked: &Proof<'_>) -> String {
    frame.around(&html! {
        p { "An account was made with " strong { (asked.email) } "." }
        form method="post" action="/verify-email" {
            input type="hidden" name="token" value=(asked.token);
            @if let Some(callback) = asked.callback { input type="hidden" name="callbackURL" value=(callback); }
            button type="submit" { "Yes, this address is mine" }
        }
        @if !asked.is_own_browser {
            p class="small" {
                "You are not signed in to this account in this browser. So its password, and whatever else signs in to it, ends when \
                 you confirm, and you set a new password. To keep them, open the link in the browser where you made the account."
            }
        }
        p class="small" { "If you did not ask for this, close this page." }
    })
}

/// Asks somebody who is signed in to have a link mailed that proves their address.
#[must_use]
pub fn ask_for_mail(frame: &Frame<'_>, email: &str, target: &str) -> String {
    frame.around(&html! {
        p { "This website lets people in whose address is confirmed. You are signed in as " strong { (email) } "." }
        form method="post" action="/verify-email/send" {
            input type="hidden" name="continue" value=(target);
            button type="submit" { "Mail me a link" }
        }
        form method="post" action="/sign-out" { button class="plain" type="submit" { "Sign out" } }
    })
}

/// Says that the link is on its way.
#[must_use]
pub fn proof_sent(frame: &Frame<'_>, email: &str) -> String {
    frame.around(&html! {
        p { "A link is on its way to " strong { (email) } ". Open it in this browser, and you can go on." }
    })
}

/// Says that an address is proven.
#[must_use]
pub fn proven(frame: &Frame<'_>, email: &str, target: &str) -> String {
    frame.around(&html! {
        p { strong { (email) } " is confirmed." }
        a class="button" href=(target) { "Continue" }
    })
}

/// Says that a link proves nothing any more.
#[must_use]
pub fn spent_proof(frame: &Frame<'_>) -> String {
    frame.around(&html! {
        p { "This link is too old, or the address of the account is another by now. Sign in, and you can ask for a new one." }
        a class="button" href="/login" { "Sign in" }
    })
}

/// A link that signs in.
pub struct SignIn<'a> {
    /// The link's token.
    pub token: &'a str,
    /// The address that it was mailed to.
    pub email: &'a str,
    /// Where to go afterwards, by the names of the protocol.
    pub targets: &'a [(&'static str, &'a str)],
}

/// Asks whether to sign in.
#[must_use]
pub fn ask_sign_in(frame: &Frame<'_>, asked: &SignIn<'_>) -> String {
    frame.around(&html! {
        p { "As " strong { (asked.email) } "." }
        form method="post" action="/sign-in-link" {
            input type="hidden" name="token" value=(asked.token);
            @for (name, target) in asked.targets { input type="hidden" name=(name) value=(target); }
            button type="submit" { "Sign in" }
        }
        p class="small" { "If you did not ask for this, close this page." }
    })
}

/// Says that a link signs nobody in any more.
#[must_use]
pub fn spent_sign_in(frame: &Frame<'_>, target: &str) -> String {
    let target = form_urlencoded::byte_serialize(target.as_bytes()).collect::<String>();
    frame.around(&html! {
        p { "This link was used already, or is too old." }
        a class="button" href={ "/login?continue=" (target) } { "Send another" }
    })
}

/// Asks whether to delete the account.
#[must_use]
pub fn ask_deletion(frame: &Frame<'_>, token: &str, callback: Option<&str>, email: &str) -> String {
    frame.around(&html! {
        p { "The account of " strong { (email) } " and everything in it will be deleted. This cannot be undone." }
        form method="post" action="/delete-account" {
            input type="hidden" name="token" value=(token);
            @if let Some(callback) = callback { input type="hidden" name="callbackURL" value=(callback); }
            button type="submit" { "Delete my account" }
        }
        a class="button plain" href="/account" { "Keep it" }
    })
}

/// Says that the account is deleted.
#[must_use]
pub fn deleted(frame: &Frame<'_>) -> String {
    frame.around(&html! {
        p { "Your account was deleted, and you are signed out everywhere." }
        a class="button plain" href="/login" { "Sign in with another account" }
    })
}

/// Says that a link deletes nothing any more.
#[must_use]
pub fn spent_deletion(frame: &Frame<'_>, email: &str) -> String {
    frame.around(&html! {
        p { "This link was used already, is too old, or is for another account than " strong { (email) } "." }
        a class="button plain" href="/account" { "Back to my account" }
    })
}
