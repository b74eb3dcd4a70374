//! The development mailbox: every mail that would have been sent.

use serde_json::{Value, json};

use crate::http::reply::Reply;
use crate::platform::error::{Error, Result};
use crate::platform::time::iso;
use crate::records;
use crate::records::store::outbox::{Mail, Queued};
use crate::server::pages;
use crate::session::call::Call;

/// `GET /dev/mailbox?to=…`: a page, or JSON for whoever asks for it. Not there at all outside development: mails open
/// accounts.
///
/// # Errors
/// 404 outside development; 503.
pub async fn show(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    if !context.config.development {
        return Err(Error::NotFound);
    }
    let to = call.request.param("to").map(|to| to.to_ascii_lowercase());
    let queued = records::store::outbox::newest(context.db()?, &context.tenant().id, to.as_deref()).await?;
    let mails: Vec<(Queued, Mail)> = queued
        .into_iter()
        .filter_map(|row| Some((row.mail(&context.config.keyring)?, row)))
        .map(|(mail, row)| (row, mail))
        .collect();
    if call.request.header("Accept").is_some_and(|accept| accept.contains("text/html")) {
        return Ok(Reply::page(200, pages::mailbox::page(&context.frame("Mailbox"), &mails)));
    }
    let body: Vec<Value> = mails
        .iter()
        .map(|(row, mail)| {
            json!({ "to": row.recipient, "at": iso(row.created_at), "subject": mail.subject, "text": mail.text, "html": mail.html })
        })
        .collect();
    Reply::json(200, &body)
}
