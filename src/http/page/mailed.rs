//! Pages that mailed links lead to: each says what its button does, and what came of it.

use maud::html;

use crate::http::page::Frame;
use crate::http::redirect::Target;

/// The proof of an address.
pub struct ProofQuestion<'a> {
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
pub fn ask_proof(frame: &Frame<'_>, asked: &ProofQuestion<'_>) -> String {
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
pub fn proof_sent(frame: &Frame<'_>, email: &str, target: &str) -> String {
    frame.around(&html! {
        p { "A link is on its way to " strong { (email) } ". Open it in this browser, and you can go on." }
        a class="button plain" href=(target) { "I have opened the link: continue" }
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

/// The user who opens a link that proves nothing any more.
#[derive(Clone, Copy)]
pub struct ProofReader<'a> {
    /// Their address.
    pub email: &'a str,
    /// Whether it is confirmed.
    pub is_proven: bool,
}

/// Says that a link proves nothing any more, and offers another one. `reader` is the user who is signed in.
#[must_use]
pub fn spent_proof(frame: &Frame<'_>, reader: Option<ProofReader<'_>>, target: &str) -> String {
    frame.around(&html! {
        p { "It has been used already, it is too old, or the address of the account has been changed since." }
        @match reader {
            Some(ProofReader { email, is_proven: true }) => {
                p { "You are signed in as " strong { (email) } ", and this address is confirmed." }
                a class="button" href=(target) { "Continue" }
            }
            Some(ProofReader { email, is_proven: false }) => {
                p { "You are signed in as " strong { (email) } ", and this address is not confirmed yet." }
                form method="post" action="/verify-email/send" {
                    input type="hidden" name="continue" value=(target);
                    button type="submit" { "Mail me a new link" }
                }
            }
            None => {
                p { "Sign in. If your address is not confirmed yet, your account has a button that mails you a new link." }
                a class="button" href="/login" { "Sign in" }
            }
        }
    })
}

/// A link that signs in.
pub struct SignInQuestion<'a> {
    /// The link's token.
    pub token: &'a str,
    /// The address that it was mailed to.
    pub email: &'a str,
    /// Where to go afterwards, by the names of the protocol.
    pub targets: &'a [(&'static str, &'a str)],
}

/// Asks whether to sign in.
#[must_use]
pub fn ask_sign_in(frame: &Frame<'_>, asked: &SignInQuestion<'_>) -> String {
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

/// Says that a link signs nobody in any more. `signed_in` is the address that the browser is signed in with.
#[must_use]
pub fn spent_sign_in(frame: &Frame<'_>, target: &str, signed_in: Option<&str>) -> String {
    let login = Target::own("/login").with_query("continue", target);
    frame.around(&html! {
        p { "A sign-in link works once, and for a short time. This one has been used already, or is too old." }
        @if let Some(email) = signed_in {
            p { "You are signed in as " strong { (email) } " already." }
            a class="button" href=(target) { "Continue" }
        } @else {
            a class="button" href=(login.as_str()) { "Ask for a new link, or sign in another way" }
        }
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
        p { "It has been used already, it is too old, or it is for another account than " strong { (email) } "." }
        p { "The account of " strong { (email) } " is not deleted. To delete it, ask for a new link." }
        a class="button plain" href="/account" { "Back to my account" }
    })
}
