//! The pages of a change of address.

use maud::html;

use crate::http::page::Frame;
use crate::http::redirect::Target;

/// What is asked.
pub struct ChangeQuestion<'a> {
    /// The link's token.
    pub token: &'a str,
    /// The link's step.
    pub step: &'a str,
    /// Where to go afterwards.
    pub callback: Option<String>,
    /// The address now.
    pub old: &'a str,
    /// The address then.
    pub new: &'a str,
}

/// Asks whether to go on.
#[must_use]
pub fn page(frame: &Frame<'_>, asked: &ChangeQuestion<'_>) -> String {
    frame.around(&html! {
        p { "From " strong { (asked.old) } " to " strong { (asked.new) } "." }
        form method="post" action="/change-email" {
            input type="hidden" name="token" value=(asked.token);
            input type="hidden" name="step" value=(asked.step);
            @if let Some(callback) = &asked.callback { input type="hidden" name="callbackURL" value=(callback); }
            button type="submit" { "Yes, change it" }
        }
        p class="small" { "If you did not ask for this, close this page." }
    })
}

/// Asks for the sign-in that the last step needs: `back` leads here again. `old` is the address now, if the account has one.
#[must_use]
pub fn sign_in_first(frame: &Frame<'_>, old: Option<&str>, new: &str, back: &Target) -> String {
    let login = Target::own("/login").with_query("continue", back.as_str());
    let login = login.with_query("again", "true");
    let login = if let Some(old) = old { login.with_query("login_hint", old) } else { login };
    frame.around(&html! {
        p { "The address of " @if let Some(old) = old { "the account " strong { (old) } } @else { "an account" } " will be " strong { (new) } "." }
        p { "Is that your account? Open the link in the browser in which you asked for the change. Or sign in here." }
        a class="button" href=(login.as_str()) { "Sign in" @if let Some(old) = old { " as " (old) } }
        p class="small" { "If you did not ask for this, close this page: nothing changes." }
    })
}

/// Says that the new address has mail.
#[must_use]
pub fn sent(frame: &Frame<'_>, new: &str) -> String {
    frame.around(&html! {
        p { "A link is on its way to " strong { (new) } ". The address changes once it is followed." }
        a class="button plain" href="/account" { "Your account" }
    })
}

/// Says how it ended.
#[must_use]
pub fn done(frame: &Frame<'_>, is_done: bool, new: &str) -> String {
    frame.around(&html! {
        @if is_done {
            p { "Your e-mail address is " strong { (new) } " now." }
        } @else {
            p { "Your e-mail address stays as it is: the new one belongs to another account, or yours changed meanwhile." }
        }
        a class="button plain" href="/account" { "Your account" }
    })
}

/// Says that a link is spent.
#[must_use]
pub fn spent(frame: &Frame<'_>) -> String {
    frame.around(&html! {
        p { "It has been used already, or is too old. Your address is as your account shows it. To change it, ask for a new link." }
        a class="button plain" href="/account" { "Your account" }
    })
}
