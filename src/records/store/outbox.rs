//! `outbox`: what is to be delivered, written in the batch that causes it and delivered after the answer, or by cron.

use serde::{Deserialize, Serialize};

use crate::platform::config::Limit;
use crate::platform::d1::{Database, Statement, Stored};
use crate::platform::error;
use crate::platform::id::{Id, Millis, Tenant, User};
use crate::platform::secret::{Cell, Keyring};
use crate::platform::sql::sql;
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
pub enum MessageKind {
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
    pub kind: MessageKind,
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
    Ok(sql!(
        "insert into outbox (id, tenant_id, user_id, kind, recipient, payload_sealed, next_attempt_at, created_at, updated_at)
            values (:id, :tenant, :user, 'mail', :recipient, :sealed, :now, :now, :now)",
        tenant = &context.tenant().id,
        id = &id,
        user,
        recipient,
        sealed,
        now = context.now
    ))
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
    Ok(sql!(
        "insert into outbox (id, tenant_id, user_id, kind, recipient, payload_sealed, next_attempt_at, created_at, updated_at)
            select :id, :tenant, id, 'mail', email, :sealed, :now, :now, :now from user
            where (tenant_id is null or tenant_id = :tenant) and id = :user and email not like '%.invalid'
              and (:if_password is null or exists (select 1 from account where user_id = :user and issuer_id is null and password_hash = :if_password))",
        tenant = &context.tenant().id,
        id = &id,
        user,
        sealed,
        now = context.now,
        if_password
    ))
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
    Ok(sql!(
        "insert into outbox (id, tenant_id, user_id, kind, recipient, payload_sealed, next_attempt_at, created_at, updated_at)
            select :id, :tenant, id, 'mail', email, :sealed, :now, :now, :now from user
            where (tenant_id is null or tenant_id = :tenant) and id = :user and email not like '%.invalid'
              and email = :email and (select count from rate_limit where key = :key) <= :count",
        tenant = &context.tenant().id,
        id = &id,
        user,
        sealed,
        now = context.now,
        key,
        count = limit.count,
        email
    ))
}

/// Queues a mail to a user whose account the failure just counted has locked.
///
/// # Errors
/// If the platform has no randomness.
pub fn queue_if_locked(context: &Context, user: &Id<User>, mail: &Mail) -> error::Result<Statement> {
    let (id, sealed) = sealed(context, mail)?;
    Ok(sql!(
        "insert into outbox (id, tenant_id, user_id, kind, recipient, payload_sealed, next_attempt_at, created_at, updated_at)
            select :id, :tenant, id, 'mail', email, :sealed, :now, :now, :now from user
            where (tenant_id is null or tenant_id = :tenant) and id = :user and email not like '%.invalid'
              and locked_until > :now and last_failed_login_at = :now and failed_login_count % cast(:lockout_failures as integer) = 0",
        tenant = &context.tenant().id,
        id = &id,
        user,
        sealed,
        now = context.now,
        lockout_failures = context.config.lockout_failures
    ))
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
    let statement = sql!(
        "update outbox set attempts = attempts + 1, next_attempt_at = :now + (60000 << min(attempts, 12)), updated_at = :now
         where id in (select id from (select id from outbox
                                      where next_attempt_at <= :now and delivered_at is null and failed_at is null
                                        and :has_messages and kind <> 'logout'
                                      order by next_attempt_at limit 20)
                      union all
                      select id from (select id, next_attempt_at,
                                             row_number() over (partition by lower(substr(recipient, 1, instr(
                                                                  replace(replace(substr(recipient, 9), '?', '/'), '#', '/') || '/', '/') + 7))
                                                                order by next_attempt_at) as place
                                      from outbox
                                      where next_attempt_at <= :now and delivered_at is null and failed_at is null
                                        and kind = 'logout')
                      where place <= 8
                      limit 60)
           and next_attempt_at <= :now
         returning json_object('id', id, 'kind', kind, 'recipient', recipient, 'payload_sealed', payload_sealed, 'attempts', attempts,
                               'created_at', created_at) as row",
        now,
        has_messages
    );
    db.batch([statement]).await?.rows()
}

/// Whether clients wait to be told of the end of sessions. In the batch that ended them.
#[must_use]
pub fn has_logouts(now: Millis) -> Statement {
    sql!(
        "select json(iif(exists (select 1 from outbox
                                 where next_attempt_at <= :now and delivered_at is null and failed_at is null and kind = 'logout'),
                         'true', 'false')) as row",
        now
    )
}

/// Notes how a delivery ended. One that failed for the last time stays, for whoever looks into it.
#[must_use]
pub fn settle(id: &str, problem: Option<&str>, attempts: i64, now: Millis) -> Statement {
    let gives_up = problem.is_some() && attempts >= MOST_ATTEMPTS;
    sql!(
        "update outbox set last_error = :problem, delivered_at = iif(:problem is null, :now, null), failed_at = iif(:gives_up, :now, null), updated_at = :now
         where id = :id",
        id,
        problem,
        gives_up,
        now
    )
}

/// The newest mails of a tenant, to one address or to all, for the development mailbox.
///
/// # Errors
/// If D1 does not answer.
pub async fn newest(db: &Database, tenant: &Id<Tenant>, to: Option<&str>) -> Stored<Vec<Queued>> {
    let statement = sql!(
        "select json_object('id', id, 'kind', kind, 'recipient', recipient, 'payload_sealed', payload_sealed, 'attempts', attempts,
                                            'created_at', created_at) as row
         from outbox where tenant_id = :tenant and kind <> 'logout' and (:to is null or recipient = :to)
         order by created_at desc, id desc limit 100",
        tenant,
        to
    );
    db.batch([statement]).await?.rows()
}

/// Queues a text message.
///
/// # Errors
/// If the platform has no randomness.
pub fn queue_sms(context: &Context, user: Option<&Id<User>>, number: &str, text: &str) -> error::Result<Statement> {
    let mail = Mail { subject: String::new(), text: text.to_owned(), html: String::new() };
    let (id, sealed) = sealed(context, &mail)?;
    Ok(sql!(
        "insert into outbox (id, tenant_id, user_id, kind, recipient, payload_sealed, next_attempt_at, created_at, updated_at)
            values (:id, :tenant, :user, 'webhook', :number, :sealed, :now, :now, :now)",
        tenant = &context.tenant().id,
        id = &id,
        user,
        number,
        sealed,
        now = context.now
    ))
}
