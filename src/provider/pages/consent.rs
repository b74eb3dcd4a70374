//! Pages on the way back to a client.

use maud::html;
use url::Url;

use crate::http::page::Frame;
use crate::provider::claims::words;
use crate::provider::client::Client;

/// What is asked.
pub struct Question<'a> {
    /// By whom.
    pub client: &'a Client,
    /// For what.
    pub scopes: &'a [String],
    /// Who is signed in.
    pub email: &'a str,
    /// Where they go afterwards.
    pub redirect_uri: &'a str,
    /// Names the request.
    pub request_uri: &'a str,
}

/// Asks whether a client may know its reader.
#[must_use]
pub fn page(frame: &Frame<'_>, question: &Question<'_>) -> String {
    let client = question.client;
    let host = Url::parse(question.redirect_uri).ok().and_then(|url| url.host_str().map(str::to_owned));
    frame.around(&html! {
        @if let Some(icon) = &client.icon { p { img src=(icon) alt="" width="64"; } }
        p { strong { (client.name) } " wants to:" }
        ul {
            @for scope in question.scopes { li { (words(scope)) } }
        }
        form method="post" action="/consent" {
            input type="hidden" name="client_id" value=(client.client_id);
            input type="hidden" name="request_uri" value=(question.request_uri);
            button type="submit" name="decision" value="allow" { "Allow" }
            button type="submit" name="decision" value="deny" class="plain" { "Cancel" }
        }
        p class="small" {
            "You are signed in as " (question.email) "."
            @if let Some(host) = host { " You will be sent to " code { (host) } "." }
        }
        @if client.is_on_own_machine() {
            p class="problem" {
                "This application says that it runs on the device in front of you, and nobody can check who made it. "
                "Allow it only if you have started it yourself, just now."
            }
        }
        @if client.policy_uri.is_some() || client.tos_uri.is_some() {
            p class="small" {
                @if let Some(uri) = &client.policy_uri { a href=(uri) rel="noreferrer" { "Its privacy policy" } " " }
                @if let Some(uri) = &client.tos_uri { a href=(uri) rel="noreferrer" { "Its terms" } }
            }
        }
    })
}

/// Form Post Response Mode: a form that posts itself, and a button for browsers without scripts.
#[must_use]
pub fn form_post(frame: &Frame<'_>, action: &str, fields: &[(&str, &str)]) -> String {
    frame.around(&html! {
        form method="post" action=(action) data-submit {
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            button type="submit" { "Continue" }
        }
        script src="/form-post.js" type="module" {}
    })
}

/// The script of that page.
pub const FORM_POST: &str = "document.querySelector(\"form[data-submit]\").submit();\n";
