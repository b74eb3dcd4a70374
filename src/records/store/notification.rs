//! `notification`: what users are told where they are signed in; and of `audit_event`, what they did.

use serde::Deserialize;
use serde_json::Value;

use crate::platform::d1::Statement;
use crate::platform::error;
use crate::platform::id::{Id, Millis, Tenant, User};
use crate::platform::secret::{SessionToken, TokenHash};
use crate::platform::sql::sql;
use crate::request::context::Context;

/// Something that a user is to be told.
pub struct News<'a> {
    /// In which tenant.
    pub tenant: &'a Id<Tenant>,
    /// What happened, as an audit event is called.
    pub kind: &'a str,
    /// The same in words.
    pub message: &'a str,
    /// More about it.
    pub details: &'a Value,
}

/// Tells a user.
///
/// # Errors
/// If the platform has no randomness.
pub fn tell(context: &Context, user: &Id<User>, news: &News<'_>) -> error::Result<Statement> {
    Ok(sql!(
        "insert into notification (id, tenant_id, user_id, kind, message, details, created_at, updated_at)
            select :id, :tenant, id, :kind, :message, :details, :now, :now from user where id = :user and deleted_at is null",
        tenant = news.tenant,
        id = context.row_id()?,
        user,
        kind = news.kind,
        message = news.message,
        details = news.details.to_string(),
        now = context.now
    ))
}

/// Tells whoever has an address in the pool that was asked, if anybody has.
///
/// # Errors
/// As [`tell`].
pub fn tell_email(context: &Context, email: &str, news: &News<'_>) -> error::Result<Statement> {
    Ok(sql!(
        "insert into notification (id, tenant_id, user_id, kind, message, details, created_at, updated_at)
            select :id, :tenant, u.id, :kind, :message, :details, :now, :now from user u
            where u.id in (select id from user where tenant_id is null and :pool is null and email = :email and deleted_at is null
                           union all
                           select id from user where tenant_id = :pool and tenant_id is not null and email = :email and deleted_at is null)",
        tenant = news.tenant,
        id = context.row_id()?,
        email,
        kind = news.kind,
        message = news.message,
        details = news.details.to_string(),
        now = context.now,
        pool = context.tenant().pool()
    ))
}

/// A notification.
#[derive(Clone, Debug, Deserialize)]
pub struct NotificationRecord {
    /// Id.
    pub id: String,
    /// In which tenant.
    pub tenant_id: Id<Tenant>,
    /// What happened.
    pub kind: String,
    /// In words.
    pub message: String,
    /// More about it.
    pub details: Value,
    /// When it was read.
    pub read_at: Option<Millis>,
    /// When it was written.
    pub created_at: Millis,
}

/// A page of what a session's user was told, the newest first; with `unread`, what they have not read.
#[must_use]
pub fn list(
    tenant: &Id<Tenant>,
    hash: &TokenHash<SessionToken>,
    unread: bool,
    (limit, offset): (i64, i64),
) -> Statement {
    sql!(
        "select json_object('id', n.id, 'tenant_id', n.tenant_id, 'kind', n.kind, 'message', n.message,
                            'details', json(n.details), 'read_at', n.read_at, 'created_at', n.created_at) as row
         from notification n
         where n.user_id = (select user_id from session where tenant_id = :tenant and token_hash = :hash)
           and (not :unread or n.read_at is null)
         order by n.created_at desc, n.id desc limit :limit offset :offset",
        tenant,
        hash,
        unread,
        limit,
        offset
    )
}

/// How many of them are unread.
#[must_use]
pub fn unread(tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>) -> Statement {
    sql!(
        "select json_quote(count(*)) as row from notification
         where user_id = (select user_id from session where tenant_id = :tenant and token_hash = :hash) and read_at is null",
        tenant,
        hash
    )
}

/// Notes that a user read one of their notifications, or with none all of them.
#[must_use]
pub fn read(context: &Context, user: &Id<User>, id: Option<&str>) -> Statement {
    sql!(
        "update notification set read_at = :now, updated_at = :now
         where user_id = :user and read_at is null and (:id is null or id = :id)",
        user,
        id,
        now = context.now
    )
}

/// Deletes one of a user's notifications.
#[must_use]
pub fn delete(user: &Id<User>, id: &str) -> Statement {
    sql!("delete from notification where user_id = :user and id = :id", user, id)
}

/// Something that somebody did.
#[derive(Clone, Debug, Deserialize)]
pub struct RecordedDeed {
    /// Id.
    pub id: String,
    /// What.
    pub action: String,
    /// More about it.
    pub details: Value,
    /// To whom, where that was somebody else.
    pub subject: Option<String>,
    /// From which address.
    pub ip_address: Option<String>,
    /// In which browser.
    pub user_agent: Option<String>,
    /// When.
    pub created_at: Millis,
}

/// A page of what a session's user did, the newest first: what the audit says of them as who did it. What somebody else
/// did to them is not theirs to read.
#[must_use]
pub fn deeds(tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>, (limit, offset): (i64, i64)) -> Statement {
    sql!(
        "select json_object('id', a.id, 'action', a.event, 'details', json(a.details), 'subject', a.subject,
                            'ip_address', a.ip_address, 'user_agent', a.user_agent, 'created_at', a.created_at) as row
         from audit_event a
         where a.id in (
           select id from (select id from audit_event
                           where actor_id = (select user_id from session where tenant_id = :tenant and token_hash = :hash)
                           order by created_at desc, id desc limit :limit + :offset)
           union all
           select id from (select id from audit_event
                           where user_id = (select user_id from session where tenant_id = :tenant and token_hash = :hash) and actor_id is null
                           order by created_at desc, id desc limit :limit + :offset))
         order by a.created_at desc, a.id desc limit :limit offset :offset",
        tenant,
        hash,
        limit,
        offset
    )
}
