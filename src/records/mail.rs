//! Mails: the same words as text and as HTML.
//!
//! PURE: no I/O, no clock, no randomness.

use maud::{DOCTYPE, html};

use crate::http::visible::quoted;
use crate::records::store::outbox::Mail;

/// What a mail says.
pub struct Letter<'a> {
    /// Subject, and heading.
    pub subject: &'a str,
    /// Paragraphs before the link.
    pub before: &'a [&'a str],
    /// What the link says, and where it leads.
    pub link: Option<(&'a str, &'a str)>,
    /// Paragraphs after it.
    pub after: &'a [&'a str],
}

/// Writes a mail in a tenant's name.
#[must_use]
pub fn write(tenant: &str, letter: &Letter<'_>) -> Mail {
    let mut text: Vec<String> = letter.before.iter().map(|&line| line.to_owned()).collect();
    if let Some((_, url)) = letter.link {
        text.push(url.to_owned());
    }
    text.extend(letter.after.iter().map(|&line| line.to_owned()));
    text.push(format!("-- \n{tenant}"));
    let html = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { (letter.subject) } }
            body style="font:16px/1.5 sans-serif;color:#1b1f24;max-width:32rem;margin:2rem auto;padding:0 1rem" {
                p style="color:#57606a" { (tenant) }
                h1 style="font-size:1.3rem" { (letter.subject) }
                @for line in letter.before { p { (line) } }
                @if let Some((label, url)) = letter.link {
                    p { a href=(url) style="display:inline-block;padding:.6rem 1rem;border-radius:8px;background:#0b57d0;color:#fff;text-decoration:none" { (label) } }
                }
                @for line in letter.after { p style="color:#57606a" { (line) } }
            }
        }
    };
    Mail { subject: letter.subject.to_owned(), text: text.join("\n\n"), html: html.into_string() }
}

/// Somebody, hopefully its owner, forgot the password.
#[must_use]
pub fn reset(tenant: &str, url: &str, minutes: i64) -> Mail {
    let lasts = format!("The link works once, within {minutes} minutes.");
    write(
        tenant,
        &Letter {
            subject: "Set a new password",
            before: &["Somebody, hopefully you, asked to set a new password for your account."],
            link: Some(("Set a new password", url)),
            after: &[&lasts, "If it was not you, do nothing: your password stays as it is."],
        },
    )
}

/// The address is to be proven.
#[must_use]
pub fn verification(tenant: &str, url: &str, minutes: i64) -> Mail {
    let lasts = format!("The link works within {minutes} minutes.");
    write(
        tenant,
        &Letter {
            subject: "Confirm your e-mail address",
            before: &["Please confirm that this is your e-mail address, in the browser where you made the account."],
            link: Some(("Confirm", url)),
            after: &[&lasts, "If you did not ask for this, do nothing."],
        },
    )
}

/// Somebody guessed.
#[must_use]
pub fn locked(tenant: &str, origin: &str) -> Mail {
    let url = format!("{origin}/forgot-password");
    write(
        tenant,
        &Letter {
            subject: "Too many wrong passwords",
            before: &[
                "Somebody tried wrong passwords for your account, so it accepts none for a while.",
                "You get in at once by setting a new password, or by a sign-in link.",
            ],
            link: Some(("Set a new password", &url)),
            after: &["If it was you, just wait a little."],
        },
    )
}

/// A sign-up with an address that has an account already.
#[must_use]
pub fn already_registered(tenant: &str, origin: &str) -> Mail {
    let url = format!("{origin}/login");
    write(
        tenant,
        &Letter {
            subject: "You have an account already",
            before: &[
                "Somebody, hopefully you, tried to create an account with your e-mail address. There is one already.",
            ],
            link: Some(("Sign in", &url)),
            after: &["If you forgot the password, set a new one from there. If it was not you, do nothing."],
        },
    )
}

/// Somebody is asked to join an organization, in the name of the tenant whose host it was asked on.
#[must_use]
pub fn invitation(tenant: &str, organization: &str, inviter: &str, (url, days): (&str, i64)) -> Mail {
    // Both names may be written by strangers, and the reader may be a stranger too: they are quoted, and stand nowhere else.
    let asks = format!("{} invites you to {}.", quoted(inviter), quoted(organization));
    let lasts = format!("The link works once, within {days} days, for this address alone.");
    write(
        tenant,
        &Letter {
            subject: "You are invited",
            before: &[&asks],
            link: Some(("See the invitation", url)),
            after: &[&lasts, "If you do not know what this is about, do nothing."],
        },
    )
}

/// A link that signs in.
#[must_use]
pub fn magic_link(tenant: &str, url: &str, minutes: i64) -> Mail {
    let lasts = format!("The link works once, within {minutes} minutes.");
    write(
        tenant,
        &Letter {
            subject: "Your sign-in link",
            before: &["Follow this link to sign in."],
            link: Some(("Sign in", url)),
            after: &[&lasts, "If you did not ask for it, do nothing, and give it to nobody."],
        },
    )
}

/// A code of six digits.
#[must_use]
pub fn code(tenant: &str, purpose: &str, code: &str, minutes: i64) -> Mail {
    let subject = format!("{code} is your code");
    let what = format!("Your code {purpose}: {code}");
    let lasts = format!("It works once, within {minutes} minutes. Tell it to nobody who asks for it.");
    write(tenant, &Letter { subject: &subject, before: &[&what], link: None, after: &[&lasts] })
}

/// The old address agrees to a new one.
#[must_use]
pub fn change_confirmation(tenant: &str, new: &str, url: &str) -> Mail {
    let asks = format!("Somebody, hopefully you, wants to change the e-mail address of your account to {new}.");
    write(
        tenant,
        &Letter {
            subject: "Change your e-mail address?",
            before: &[&asks],
            link: Some(("Review the change", url)),
            after: &["If it was not you, do nothing, and set a new password: somebody is signed in as you."],
        },
    )
}

/// The new address is to be proven.
#[must_use]
pub fn change_proof(tenant: &str, url: &str) -> Mail {
    write(
        tenant,
        &Letter {
            subject: "Confirm your new e-mail address",
            before: &["Please confirm that this is your new e-mail address."],
            link: Some(("Confirm", url)),
            after: &["If you did not ask for this, do nothing."],
        },
    )
}

/// An upstream account wants to sign its owner in.
#[must_use]
pub fn account_confirmation(tenant: &str, issuer: &str, identity: &str, url: &str) -> Mail {
    let says = format!(
        "Somebody signed in with {issuer} as {identity}. Confirm that this account is yours, and it signs you in from now on."
    );
    write(
        tenant,
        &Letter {
            subject: "Is this account yours?",
            before: &[&says],
            link: Some(("Look at it", url)),
            after: &["If it was not you, do nothing."],
        },
    )
}

/// The address is another now.
#[must_use]
pub fn email_changed(tenant: &str, new: &str) -> Mail {
    let says = format!("The e-mail address of your account is {new} from now on.");
    write(
        tenant,
        &Letter {
            subject: "Your e-mail address was changed",
            before: &[&says],
            link: None,
            after: &["If it was not you, tell an administrator at once."],
        },
    )
}

/// A link that deletes the account.
#[must_use]
pub fn deletion(tenant: &str, url: &str) -> Mail {
    write(
        tenant,
        &Letter {
            subject: "Delete your account?",
            before: &["Somebody, hopefully you, asked to delete your account and everything in it."],
            link: Some(("Delete my account", url)),
            after: &["It works only in a browser where you are signed in. If it was not you, do nothing."],
        },
    )
}

/// Something about how to sign in was changed.
#[must_use]
pub fn security_notice(tenant: &str, subject: &str, what: &str) -> Mail {
    write(
        tenant,
        &Letter {
            subject,
            before: &[what],
            link: None,
            after: &["If it was not you, set a new password at once and tell an administrator."],
        },
    )
}

/// The password is another now.
#[must_use]
pub fn password_changed(tenant: &str) -> Mail {
    write(
        tenant,
        &Letter {
            subject: "Your password was changed",
            before: &["The password of your account was changed, and every session was signed out."],
            link: None,
            after: &["If it was not you, set a new password at once and tell an administrator."],
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_says_the_same_twice_and_escapes_once() {
        let mail = reset("<b>Acme</b>", "https://auth.example/r?a=1&b=2", 60);
        assert!(mail.text.contains("https://auth.example/r?a=1&b=2") && mail.text.ends_with("-- \n<b>Acme</b>"));
        assert!(mail.html.contains("https://auth.example/r?a=1&amp;b=2") && !mail.html.contains("<b>Acme"));
        assert!(mail.text.contains("within 60 minutes") && mail.html.contains("within 60 minutes"));
    }
}
