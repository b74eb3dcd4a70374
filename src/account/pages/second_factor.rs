//! The page on which a user sets up, renews and removes a second factor.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};
use qrcodegen::{QrCode, QrCodeEcc};

use crate::http::page::Frame;
use crate::http::redirect::Target;

/// A QR code (ISO/IEC 18004) as one path of SVG, with the four blank modules around it that readers want.
#[must_use]
pub fn qr(text: &str) -> Markup {
    // What is too long for any QR code is typed instead.
    let Ok(code) = QrCode::encode_text(text, QrCodeEcc::Medium) else {
        return html! {};
    };
    let mut path = String::new();
    for y in 0..code.size() {
        for x in 0..code.size() {
            if code.get_module(x, y) {
                // Writing into a string fails never.
                let _ = write!(path, "M{} {}h1v1h-1z", x + 4, y + 4);
            }
        }
    }
    let size = code.size() + 8;
    PreEscaped(format!(
        "<svg class=\"qr\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {size} {size}\" role=\"img\" \
         aria-label=\"QR code\" shape-rendering=\"crispEdges\"><rect width=\"{size}\" height=\"{size}\" fill=\"#fff\"/>\
         <path fill=\"#000\" d=\"{path}\"/></svg>"
    ))
}

/// Where the second factor stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FactorState {
    /// None.
    Off,
    /// An authenticator app.
    Totp,
    /// Mailed codes alone.
    Mailed,
}

/// Where it goes on afterwards, for whoever was led here from elsewhere.
fn continuing(back: Option<&str>) -> Markup {
    html! {
        @if let Some(back) = back { input type="hidden" name="continue" value=(back); }
    }
}

/// The settings of two-step sign-in.
pub struct FactorSettings<'a> {
    /// What went wrong the last time.
    pub problem: Option<&'a str>,
    /// Where the second factor stands.
    pub standing: FactorState,
    /// Whether the user has a password.
    pub has_password: bool,
    /// Where it goes on afterwards; the user was led here then, since their organization asks for a second factor.
    pub back: Option<&'a str>,
    /// Whether the user may do nothing else before.
    pub must_enrol: bool,
    /// Whether passkeys are a way in: signing in with one counts as two factors.
    pub passkeys_are_open: bool,
}

/// The page.
#[must_use]
pub fn settings(frame: &Frame<'_>, settings: &FactorSettings<'_>) -> String {
    let FactorSettings { problem, standing, has_password, back, must_enrol, passkeys_are_open } = *settings;
    let is_required = standing == FactorState::Off && (must_enrol || back.is_some());
    let password = html! {
        @if has_password {
            label { "Your password"
                input type="password" name="password" autocomplete="current-password" required;
            }
        }
    };
    frame.around(&html! {
        @if let Some(problem) = problem { p class="problem" role="alert" { (problem) } }
        p class="problem" role="alert" data-problem hidden {}
        @if is_required {
            p { strong { "Your organization asks for two-step sign-in." } " Set it up here, and then you can go on." }
        }
        @match standing {
            FactorState::Off => p { "After your password, a code of an authenticator app is asked for." },
            FactorState::Totp => p { "It is on, with an authenticator app." },
            FactorState::Mailed => p { "It is on, with mailed codes. An authenticator app is safer." },
        }
        form method="post" action="/account/second-factor" {
            (continuing(back))
            (password)
            @if standing != FactorState::Totp {
                button type="submit" name="action" value="begin" { "Set up an authenticator app" }
            }
            @if standing == FactorState::Totp {
                button type="submit" name="action" value="codes" class="plain" { "New backup codes" }
            }
            @if standing != FactorState::Off {
                button type="submit" name="action" value="disable" class="plain" { "Switch it off" }
            }
        }
        @if is_required && passkeys_are_open { (passkey(back)) }
        @if must_enrol {
            form method="post" action="/sign-out" { button type="submit" class="plain" { "Sign out" } }
        } @else {
            p class="small" { a href="/account" { "Back" } }
        }
        script src="/passkey.js" type="module" {}
    })
}

/// A passkey in the place of an authenticator app. The session that it is added in was opened without it, so that its user
/// signs in once more.
fn passkey(back: Option<&str>) -> Markup {
    let next = Target::own("/login").with_query("continue", back.unwrap_or("/account"));
    html! {
        form data-register data-passkey data-next=(next.as_str()) hidden {
            div class="or" { "or" }
            p { "A passkey counts as two steps. Once you have added one, sign in once more, with the passkey." }
            label { "A name for the passkey"
                input type="text" name="name" maxlength="100" placeholder="My laptop";
            }
            button type="submit" class="plain" { "Add a passkey" }
        }
    }
}

/// Shows a seed and backup codes, once, and asks for the code that proves the seed.
#[must_use]
pub fn begun(frame: &Frame<'_>, (uri, seed): (&str, &str), codes: &[String], back: Option<&str>) -> String {
    frame.around(&html! {
        p { "Read this with your authenticator app, or type the key." }
        (qr(uri))
        p { code { (seed) } }
        (backup_codes(codes))
        form method="post" action="/account/second-factor/verify" {
            (continuing(back))
            label { "The code that the app shows"
                input type="text" name="code" autocomplete="one-time-code" inputmode="numeric" maxlength="10" required;
            }
            button type="submit" { "Switch it on" }
        }
    })
}

/// Asks again for the code that proves the seed.
#[must_use]
pub fn verify(frame: &Frame<'_>, problem: &str, back: Option<&str>) -> String {
    frame.around(&html! {
        p class="problem" role="alert" { (problem) }
        form method="post" action="/account/second-factor/verify" {
            (continuing(back))
            label { "The code that the app shows"
                input type="text" name="code" autocomplete="one-time-code" inputmode="numeric" maxlength="10" required autofocus;
            }
            button type="submit" { "Switch it on" }
        }
        p class="small" { a href="/account/second-factor" { "Start again" } }
    })
}

fn backup_codes(codes: &[String]) -> Markup {
    html! {
        p { "Each of these backup codes lets you in once without the app. Keep them where the app is not." }
        ul class="codes" { @for code in codes { li { code { (code) } } } }
    }
}

/// Shows new backup codes, once.
#[must_use]
pub fn new_codes(frame: &Frame<'_>, codes: &[String]) -> String {
    frame.around(&html! {
        (backup_codes(codes))
        a class="button plain" href="/account" { "I have kept them" }
    })
}

#[cfg(test)]
mod tests {
    use super::qr;

    #[test]
    fn a_qr_code_is_one_path_on_white() {
        let svg = qr("otpauth://totp/A:b?secret=JBSWY3DPEHPK3PXP").into_string();
        assert!(svg.starts_with("<svg") && svg.matches("<path").count() == 1 && svg.contains("M4 4h1v1h-1z"));
        assert!(qr(&"x".repeat(5000)).into_string().is_empty());
    }
}
