//! Who is signed in, for whoever comes to the auth host without a purpose.

use maud::html;

use crate::pages::Frame;
use crate::session::LiveSession;

/// The page.
#[must_use]
pub fn page(frame: &Frame<'_>, session: &LiveSession) -> String {
    frame.around(&html! {
        dl {
            dt { "Name" } dd { (session.user.name) }
            dt { "E-mail" } dd { (session.user.email) }
            @if !session.roles.is_empty() { dt { "Roles" } dd { (session.roles.join(", ")) } }
        }
        form method="post" action="/sign-out" {
            button type="submit" class="plain" { "Sign out" }
        }
    })
}
