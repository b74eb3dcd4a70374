//! Who is signed in, for whoever comes to the auth host without a purpose; and how they sign in.

use maud::html;

use crate::http::page::Frame;
use crate::provider::claims::words;
use crate::provider::store::consent::ListedConsent as Consent;
use crate::session::live_session::LiveSession;
use crate::users::store::passkey::ListedPasskey;

/// What the page shows.
pub struct AccountPage<'a> {
    /// The session.
    pub session: &'a LiveSession,
    /// Whether the user has still to confirm the address.
    pub asks_proof: bool,
    /// The user's passkeys.
    pub passkeys: &'a [ListedPasskey],
    /// Whether passkeys are a way in.
    pub passkeys_are_open: bool,
    /// How many browsers are asked for no second factor.
    pub trusted_devices: i64,
    /// The clients that may know the user.
    pub consents: &'a [Consent],
}

/// The page.
#[must_use]
pub fn page(frame: &Frame<'_>, account: &AccountPage<'_>) -> String {
    let user = &account.session.user;
    frame.around(&html! {
        p class="problem" role="alert" data-problem hidden {}
        dl {
            dt { "Name" } dd { (user.name) }
            dt { "E-mail" } dd { (user.email) }
            @if let Some(username) = &user.display_username { dt { "User name" } dd { (username) } }
            @if let Some(number) = &user.phone_number { dt { "Phone" } dd { (number) } }
            @if !account.session.roles.is_empty() { dt { "Roles" } dd { (account.session.roles.join(", ")) } }
            dt { "Two-step" } dd {
                @if user.two_factor_enabled { "on" } @else { "off" }
                " (" a href="/account/second-factor" { "change" } ")"
            }
        }
        @if account.asks_proof {
            form method="post" action="/verify-email/send" {
                p { "Your address is not confirmed yet." }
                button type="submit" class="plain" { "Mail me a link to confirm it" }
            }
        }
        @if account.trusted_devices > 0 {
            form method="post" action="/account/devices/forget" {
                button type="submit" class="plain" { "Forget trusted browsers (" (account.trusted_devices) ")" }
            }
        }
        @if account.passkeys_are_open {
            @for passkey in account.passkeys {
                form method="post" action="/account/passkey/delete" class="line" {
                    input type="hidden" name="id" value=(passkey.id.as_str());
                    span { (passkey.name.as_deref().unwrap_or("Passkey")) }
                    button type="submit" class="plain" { "Remove" }
                }
            }
            form data-register data-passkey hidden {
                label { "A name for a new passkey"
                    input type="text" name="name" maxlength="100" placeholder="My laptop";
                }
                button type="submit" class="plain" { "Add a passkey" }
            }
        }
        @if !account.consents.is_empty() {
            h2 { "Applications" }
            @for consent in account.consents {
                form method="post" action="/account/consents/withdraw" class="line" {
                    input type="hidden" name="id" value=(consent.id);
                    span {
                        (consent.client_name)
                        @for scope in &consent.scopes { br; small { (words(scope)) } }
                    }
                    button type="submit" class="plain" { "Withdraw" }
                }
            }
        }
        form method="post" action="/sign-out" {
            button type="submit" class="plain" { "Sign out" }
        }
        script src="/passkey.js" type="module" {}
    })
}
