//! Delivers what waits in the outbox: after the answer that caused it, and by cron with growing patience.

use std::rc::Rc;

use futures_util::future::join_all;
use serde_json::json;
use worker::Env;
use worker::email::SendEmailBuilder;

use crate::platform::config::Config;
use crate::platform::d1::{Database, Stored};
use crate::platform::id::Millis;
use crate::platform::log::note;
use crate::records::store;
use crate::records::store::outbox::{Mail, MessageKind, Queued};
use crate::request::context::{Context, SendLogout};
use crate::request::post;
use crate::request::post::Body;

/// The `send_email` binding that mails go by where there is no webhook.
const BINDING: &str = "MAIL";

/// Delivers what is due.
///
/// # Errors
/// If D1 does not answer. What a service says is noted in the row, and tried again.
pub async fn deliver_due(
    (env, db): (&Env, &Database),
    config: &Config,
    send_logout: SendLogout,
    now: Millis,
) -> Stored<()> {
    // In development, without anything to send by, messages wait in the mailbox to be read there.
    let sends = config.mail_webhook.is_some() || config.sms_webhook.is_some() || env.send_email(BINDING).is_ok();
    let claimed = store::outbox::claim(db, sends || !config.development, now).await?;
    // At once: one that lets us wait makes nobody else wait.
    let settled = join_all(claimed.iter().map(async |queued| {
        let sent = match queued.kind {
            MessageKind::Logout => send_logout(env, db, config, &queued.id, now).await,
            MessageKind::Mail | MessageKind::Webhook => send_mail(env, config, queued).await,
        };
        let problem = sent.err();
        if let Some(problem) = &problem {
            note("outbox", &format!("{}: attempt {}: {problem}", queued.id, queued.attempts));
        }
        store::outbox::settle(&queued.id, problem.as_deref(), queued.attempts, now)
    }));
    let settled = settled.await;
    if !settled.is_empty() {
        db.batch(settled).await?;
    }
    Ok(())
}

/// Delivers after this request's answer.
pub fn deliver_later(context: &Context) {
    let (env, config, now): (Env, Rc<Config>, Millis) = (context.env.clone(), context.config.clone(), context.now);
    let (binding, send_logout) = (context.binding().to_owned(), context.send_logout);
    context.after(async move {
        let delivered = match Database::open(&env, &binding) {
            Ok(db) => deliver_due((&env, &db), &config, send_logout, now).await,
            Err(error) => Err(error),
        };
        if let Err(error) = delivered {
            note("outbox", &format!("{error:?}"));
        }
    });
}

async fn send_mail(env: &Env, config: &Config, queued: &Queued) -> Result<(), String> {
    let mail = queued.mail(&config.keyring).ok_or("it does not open with any of SECRETS")?;
    let Mail { subject, text, html } = &mail;
    if queued.kind == MessageKind::Webhook {
        let url = config.sms_webhook.as_ref().ok_or("SMS_WEBHOOK is not set")?;
        let body = json!({ "id": queued.id, "to": queued.recipient, "text": text });
        return post::post_to_service(url, config.sms_token.as_ref(), &queued.id, Body::Json(body)).await;
    }
    if let Some(url) = &config.mail_webhook {
        let body = json!({ "id": queued.id, "from": config.mail_from, "to": queued.recipient, "subject": subject, "text": text, "html": html });
        return post::post_to_service(url, config.mail_token.as_ref(), &queued.id, Body::Json(body)).await;
    }
    let binding = env.send_email(BINDING).map_err(|_| "neither MAIL_WEBHOOK nor a send_email binding MAIL is set")?;
    let message = SendEmailBuilder::new(&config.mail_from, &queued.recipient, subject);
    message.set_text(text);
    message.set_html(html);
    binding.send_with_builder(&message).await.map(|_| ()).map_err(|error| format!("{error:?}"))
}
