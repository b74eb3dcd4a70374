//! `outbox`: what is to be delivered, written in the batch that causes it and delivered after the answer, or by cron.

use serde::{Deserialize, Serialize};

use crate::platform::config::Limit;
use crate::platform::d1::{Database, Statement, Stored, sql};
use crate::platform::error;
use crate::platform::id::{Id, Millis, Tenant, User};
use crate::platform::secret::{Cell, Keyring};
use crate::request::context::Context;

/// A mail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mail {
    /// Subject.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

/// How something travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// By mail.
    Mail,
    /// To a phone, by the webhook for text messages.
    Webhook,
    /// A logout token, to a client (OpenID Connect Back-Channel Logout 1.0).
    Logout,
}

/// A row that waits, or has been delivered.
#[derive(Debug, Deserialize)]
pub struct Queued {
    /// Id.
    pub id: String,
    /// How it travels.
    pub kind: Kind,
    /// Address or number.
    pub recipient: String,
    payload_sealed: String,
    /// Deliveries tried, this one included.
    pub attempts: i64,
    /// When it was written.
    pub created_at: Millis,
}

impl Queued {
    /// The mail; `None` if it does not open, because the secret that sealed it is gone.
    #[must_use]
    pub fn mail(&self, keyring: &Keyring) -> Option<Mail> {
        let opened = keyring.open(cell(&self.id), &self.payload_sealed).ok()?;
        serde_json::from_slice(opened.expose()).ok()
    }
}

const fn cell(id: &str) -> Cell<'_> {
    Cell { table: "outbox", column: "payload_sealed", row: id }
}

/// A new row's id, and what it will hold.
///
/// # Errors
/// If the platform has no randomness.
fn sealed(context: &Context, mail: &Mail) -> error::Result<(String, String)> {
    let id = context.row_id()?;
    let payload = serde_json::to_vec(mail).unwrap_or_default();
    let sealed = context.config.keyring.seal(cell(&id), &payload, context.random()?);
    Ok((id, sealed))
}

/// Queues a mail. It is sealed: what it links to opens things.
///
/// # Errors
/// If the platform has no randomness.
pub fn queue(context: &Context, user: Option<&Id<User>>, recipient: &str, mail: &Mail) -> error::Result<Statement> {
    let (id, sealed) = sealed(context, mail)?;
    Ok(sql("insert into outbox (id, tenant_id, user_id, kind, recipient, payload_sealed, next_attempt_at, created_at, updated_at)
            values (?2, ?1, ?3, 'mail', ?4, ?5, ?6, ?6, ?6)")
    .bind(&context.tenant().id)
    .bind(&id)
    .bind(user)
    .bind(recipient)
    .bind(sealed)
    .bind(context.now))
}

/// Queues a mail to a user's own address; with `if_password`, only if that is the hash of their password now.
///
/// # Errors
/// If the platform has no randomness.
pub fn queue_to_user(
    context: &Context,
    user: &Id<User>,
    mail: &Mail,
    if_password: Option<&str>,
) -> error::Result<Statement> {
    let (id, sealed) = sealed(context, mail)?;
    Ok(sql("insert into outbox (id, tenant_id, user_id, kind, recipient, payload_sealed, next_attempt_at, created_at, updated_at)
            select ?2, ?1, id, 'mail', email, ?4, ?5, ?5, ?5 from user
            where (tenant_id is null or tenant_id = ?1) and id = ?3 and email not like '%.invalid'
              and (?6 is null or exists (select 1 from account where user_id = ?3 and issuer_id is null and password_hash = ?6))")
    .bind(&context.tenant().id)
    .bind(&id)
    .bind(user)
    .bind(sealed)
    .bind(context.now)
    .bind(if_password))
}

/// Queues a mail to a user's address, if it is theirs, unless the request just counted under `key` is over the limit.
///
/// # Errors
/// If the platform has no randomness.
pub fn queue_within(
    context: &Context,
    (user, email): (&Id<User>, &str),
    mail: &Mail,
    (key, limit): (&str, Limit),
) -> error::Result<Statement> {
    let (id, sealed) = sealed(context, mail)?;
    Ok(sql("insert into outbox (id, tenant_id, user_id, kind, recipient, payload_sealed, next_attempt_at, created_at, updated_at)
            select ?2, ?1, id, 'mail', email, ?4, ?5, ?5, ?5 from user
            where (tenant_id is null or tenant_id = ?1) and id = ?3 and email not like '%.invalid'
              and email = ?8 and (select count from rate_limit where key = ?6) <= ?7")
    .bind(&context.tenant().id)
    .bind(&id)
    .bind(user)
    .bind(sealed)
    .bind(context.now)
    .bind(key)
    .bind(limit.count)
    .bind(email))
}

/// Queues a mail to a user whose account the failure just counted has locked.
///
/// # Errors
/// If the platform has no randomness.
pub fn queue_if_locked(context: &Context, user: &Id<User>, mail: &Mail) -> error::Result<Statement> {
    let (id, sealed) = sealed(context, mail)?;
    Ok(sql("insert into outbox (id, tenant_id, user_id, kind, recipient, payload_sealed, next_attempt_at, created_at, updated_at)
            select ?2, ?1, id, 'mail', email, ?4, ?5, ?5, ?5 from user
            where (tenant_id is null or tenant_id = ?1) and id = ?3 and email not like '%.invalid'
              and locked_until > ?5 and last_failed_login_at = ?5 and failed_login_count % cast(?6 as integer) = 0")
    .bind(&context.tenant().id)
    .bind(&id)
    .bind(user)
    .bind(sealed)
    .bind(context.now)
    .bind(context.config.lockout_failures))
}

/// How often a delivery is tried: over some two days.
pub const MOST_ATTEMPTS: i64 = 12;

/// Claims what is due, for a minute and twice as long each time it fails: of two runs at once, each row is one's. Messages
/// wait where there is nothing to send them by. They are counted apart from what clients are told, so that many clients who
/// do not listen keep nobody's mail. Of what clients are told, a few a host are taken: a host that does not listen delays no
/// other, and many clients registered with one host's addresses make us no load on it.
///
/// # Errors
/// If D1 does not answer.
pub async fn claim(db: &Database, has_messages: bool, now: Millis) -> Stored<Vec<Queued>> {
    let statement = sql("update outbox set attempts = attempts + 1, next_attempt_at = ?1 + (60000 << min(attempts, 12)), updated_at = ?1
         where id in (select id from (select id from outbox
                                      where next_attempt_at <= ?1 and delivered_at is null and failed_at is null
                                        and ?2 and kind <> 'logout'
                                      order by next_attempt_at limit 20)
                      union all
                      select id from (select id, next_attempt_at,
                                             row_number() over (partition by lower(substr(recipient, 1, instr(
                                                                  replace(replace(substr(recipient, 9), '?', '/'), '#', '/') || '/', '/') + 7))
                                                                order by next_attempt_at) as place
                                      from outbox
                                      where next_attempt_at <= ?1 and delivered_at is null and failed_at is null
                                        and kind = 'logout')
                      where place <= 8
                      limit 60)
           and next_attempt_at <= ?1
         returning json_object('id', id, 'kind', kind, 'recipient', recipient, 'payload_sealed', payload_sealed, 'attempts', attempts,
                               'created_at', created_at) as row")
    .bind(now)
    .bind(has_messages);
    db.batch([statement]).await?.rows()
}

/// Whether clients wait to be told of the end of sessions. In the batch that ended them.
#[must_use]
pub fn has_logouts(now: Millis) -> Statement {
    sql("select json(iif(exists (select 1 from outbox
                                 where next_attempt_at <= ?1 and delivered_at is null and failed_at is null and kind = 'logout'),
                         'true', 'false')) as row")
    .bind(now)
}

/// Notes how a delivery ended. One that failed for the last time stays, for whoever looks into it.
#[must_use]
pub fn settle(id: &str, problem: Option<&str>, attempts: i64, now: Millis) -> Statement {
    let gives_up = problem.is_some() && attempts >= MOST_ATTEMPTS;
    sql("update outbox set last_error = ?2, delivered_at = iif(?2 is null, ?4, null), failed_at = iif(?3, ?4, null), updated_at = ?4
         where id = ?1")
    .bind(id)
    .bind(problem)
    .bind(gives_up)
    .bind(now)
}

/// The newest mails of a tenant, to one address or to all, for the development mailbox.
///
/// # Errors
/// If D1 does not answer.
pub async fn newest(db: &Database, tenant: &Id<Tenant>, to: Option<&str>) -> Stored<Vec<Queued>> {
    let statement = sql(
        "select json_object('id', id, 'kind', kind, 'recipient', recipient, 'payload_sealed', payload_sealed, 'attempts', attempts,
                                            'created_at', created_at) as row
         from outbox where tenant_id = ?1 and kind <> 'logout' and (?2 is null or recipient = ?2)
         order by created_at desc, id desc limit 100",
    )
    .bind(tenant)
    .bind(to);
    db.batch([statement]).await?.rows()
}

/// Queues a text message.
///
/// # Errors
/// If the platform has no randomness.
pub fn queue_sms(context: &Context, user: Option<&Id<User>>, number: &str, text: &str) -> error::Result<Statement> {
    let mail = Mail { subject: String::new(), text: text.to_owned(), html: String::new() };
    let (id, sealed) = sealed(context, &mail)?;
    Ok(sql("insert into outbox (id, tenant_id, user_id, kind, recipient, payload_sealed, next_attempt_at, created_at, updated_at)
            values (?2, ?1, ?3, 'webhook', ?4, ?5, ?6, ?6, ?6)")
    .bind(&context.tenant().id)
    .bind(&id)
    .bind(user)
    .bind(number)
    .bind(sealed)
    .bind(context.now))
}
