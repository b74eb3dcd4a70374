//! Pages that say what went wrong, and what to do about it.

use maud::html;

use crate::http::page::Frame;
use crate::platform::problem::Code;

/// Where a page leads that says what went wrong.
#[derive(Clone, Copy)]
pub struct NextStep<'a> {
    /// The address.
    pub href: &'a str,
    /// What the button says.
    pub label: &'a str,
    /// The name of other software, said after that.
    pub name: Option<&'a str>,
}

impl<'a> NextStep<'a> {
    /// The first page of the host.
    pub const START: NextStep<'static> = NextStep::new("/", "Start again");

    /// A page of ours.
    #[must_use]
    pub const fn new(href: &'a str, label: &'a str) -> Self {
        Self { href, label, name: None }
    }
}

/// What went wrong.
pub struct ErrorText<'a> {
    /// In sentences for the user.
    pub text: &'a str,
    /// The protocol's own words, for those who look after the program that sent the user here.
    pub detail: Option<&'a str>,
    /// Where the user can go on.
    pub next: NextStep<'a>,
    /// The request's name, for the user to tell an administrator.
    pub request_id: &'a str,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame<'_>, told: &ErrorText<'_>) -> String {
    frame.around(&html! {
        p { (told.text) }
        a class="button plain" href=(told.next.href) rel="noreferrer" {
            (told.next.label)
            @if let Some(name) = told.next.name { " " (name) }
        }
        @if let Some(detail) = told.detail { p class="small" { code { (detail) } } }
        p class="small" { "Request " code { (told.request_id) } }
    })
}

/// The page of a host that nobody answers on. In development it names the auth host, which the developer may have been
/// looking for. It has no link to itself.
#[must_use]
pub fn unknown_host(frame: &Frame<'_>, host: &str, auth_origin: Option<&str>, request_id: &str) -> String {
    frame.around(&html! {
        p { "No website or organization answers at " strong { (host) } ". Please check the address." }
        @if let Some(origin) = auth_origin {
            p { "This server runs in development. Its auth host is AUTH_ORIGIN:" }
            a class="button plain" href=(origin) { (origin) }
        }
        p class="small" { "Request " code { (request_id) } }
    })
}

/// The page for somebody whose session at a website is over: what they sent was not passed on, and their browser still
/// has it.
#[must_use]
pub fn signed_out(frame: &Frame<'_>, is_sent: bool) -> String {
    frame.around(&html! {
        @if is_sent {
            p { "Your session is over, so what you sent was not passed on." }
            p { "Sign in in another tab. Then reload this page, and your browser sends it once more." }
            a class="button" href="/.doorward/sign-in" target="_blank" rel="noopener" { "Sign in in another tab" }
        } @else {
            p { "Your session is over." }
            a class="button" href="/.doorward/sign-in" { "Sign in" }
        }
    })
}

/// The page for somebody whom the rules keep out.
#[must_use]
pub fn forbidden(frame: &Frame<'_>, email: Option<&str>) -> String {
    frame.around(&html! {
        @if let Some(email) = email {
            p { "You are signed in as " strong { (email) } ", and this account may not see this page." }
            form method="post" action="/.doorward/sign-out" {
                button type="submit" { "Use another account" }
            }
        } @else {
            p { "Nobody may see this page." }
        }
        a class="button plain" href="/" { "Go to the start page" }
    })
}

/// Title and text for a status.
#[must_use]
pub const fn words_for_status(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => ("That did not work", "The request is damaged or too old. Please start again."),
        401 => ("Please sign in", "Your session is over."),
        403 => ("Not allowed", "You are not allowed to do that."),
        404 => ("Nothing here", "There is no page at this address."),
        429 => ("Slow down", "Too many requests. Please try again later."),
        502 => ("No answer", "The website behind this door does not answer. Please try again later."),
        503 => ("One moment", "The service is not available right now. Please try again in a moment."),
        _ => ("Something went wrong", "Something went wrong on our side. Please try again."),
    }
}

/// Title and text for an error of the protocol by which other software signs its users in here.
#[must_use]
pub const fn words_for_problem(code: Code) -> (&'static str, &'static str) {
    match code {
        Code::InvalidRequestUri => (
            "This sign-in has run out",
            "The application asked for this sign-in too long ago, or it was completed already. Go back to the application, and begin \
             again there.",
        ),
        Code::AccessDenied => (
            "Not allowed",
            "This question was for another user, or was answered with no. Go back to the application, and begin again there.",
        ),
        _ => (
            "That did not work",
            "The application that sent you here asked for something that it cannot have. Go back to it and try again. If it happens \
             again, tell those who run the application what stands below.",
        ),
    }
}

/// Title and text for the `error` that an upstream sign-in ended with.
#[must_use]
pub fn words_for_code(code: &str) -> (&'static str, &'static str) {
    match code {
        "access_denied" => ("Sign-in cancelled", "You did not allow the sign-in at the provider."),
        "state_mismatch" | "state_not_found" | "invalid_callback_request" => (
            "That did not work",
            "This sign-in was not begun in this browser, took too long, or was used already. Please start again.",
        ),
        "issuer_mismatch" => ("That did not work", "The answer came from another provider than the one you chose."),
        "account_not_linked" => (
            "This address is taken",
            "An account with this e-mail address exists already. Please sign in the way you did before.",
        ),
        "account_not_confirmed" => {
            ("Look into your mail", "We have mailed you a link. Once you follow it, this way of signing in works.")
        }
        "account_already_linked_to_different_user" => {
            ("Somebody else's account", "This account at the provider signs somebody else in.")
        }
        "not_signed_in" => {
            ("Please sign in", "You were not signed in any more when you came back. Please start again.")
        }
        "no_refresh_token" => {
            ("No refresh token", "The provider gave no refresh token. Its offline scopes or parameters may be wrong.")
        }
        "email_not_found" => (
            "No e-mail address",
            "The provider told us no e-mail address that we can use, and a new account needs one.",
        ),
        "domain_not_allowed" => ("Not allowed", "Accounts with your e-mail address may not sign in here this way."),
        "signup_disabled" => ("No account", "There is no account for you here, and new ones are not created."),
        "user_not_active" | "account_not_usable" => {
            ("Not allowed", "This account is switched off. Please ask an administrator.")
        }
        "tenant_unavailable" => ("Not available", "This organization is not available."),
        "provider_error"
        | "invalid_code"
        | "invalid_id_token"
        | "unable_to_get_user_info"
        | "no_code"
        | "provider_not_found" => {
            ("No luck with the provider", "The provider's answer could not be used. Please try again.")
        }
        _ => ("Something went wrong", "The sign-in did not work. Please try again."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let frame = Frame { title: "T", tenant: "<b>", stylesheet: "/style.css" };
        let page = forbidden(&frame, Some("<script>alert(1)</script>"));
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
    }
}
