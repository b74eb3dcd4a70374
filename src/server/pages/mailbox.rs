//! The development mailbox.

use maud::html;

use crate::http::page::Frame;
use crate::platform::time::iso;
use crate::records::store::outbox::{Mail, Queued};

/// The mails, newest first. Their text is shown as text; links are followed by hand.
#[must_use]
pub fn page(frame: &Frame<'_>, mails: &[(Queued, Mail)]) -> String {
    frame.around(&html! {
        @if mails.is_empty() { p { "No mail yet." } }
        @for (queued, mail) in mails {
            p class="small" { (iso(queued.created_at)) " to " strong { (queued.recipient) } }
            p { strong { (mail.subject) } }
            @for line in mail.text.split("\n\n") {
                @if line.starts_with("https://") || line.starts_with("http://") {
                    p { a href=(line) { (line) } }
                } @else {
                    p { (line) }
                }
            }
        }
    })
}
