//! A user's password, for whoever changes it.

use serde::Deserialize;

use crate::platform::d1::Statement;
use crate::platform::id::{Account, Id, Millis, User};
use crate::platform::secret::{SessionToken, TokenHash};
use crate::platform::sql::sql;
use crate::request::context::Context;

/// A user's password, and whether they are locked.
#[derive(Deserialize)]
pub struct Current {
    /// PHC string.
    pub password_hash: String,
    /// `user.locked_until`.
    pub locked_until: Option<Millis>,
}

/// The password of the user whose session this is.
#[must_use]
pub fn of_session(context: &Context, hash: &TokenHash<SessionToken>) -> Statement {
    sql!(
        "select json_object('password_hash', a.password_hash, 'locked_until', u.locked_until) as row
         from session s
         join user u on u.id = s.user_id
         join account a on a.user_id = s.user_id and a.issuer_id is null and a.is_active = 1
         where s.tenant_id = :tenant and s.token_hash = :hash",
        tenant = &context.tenant().id,
        hash
    )
}

/// Replaces a password, if it is still the one that was compared: of two changes at once, one holds.
#[must_use]
pub fn replace(context: &Context, user: &Id<User>, old_hash: &str, new_hash: &str) -> Statement {
    sql!(
        "update account set password_hash = :new_hash, password_changed_at = :now, updated_at = :now
         where (tenant_id is null or tenant_id = :tenant) and user_id = :user and issuer_id is null and password_hash = :old_hash",
        tenant = &context.tenant().id,
        user,
        old_hash,
        new_hash,
        now = context.now
    )
}

/// Hashes a password anew that was hashed elsewhere: the password is the same, so nothing else changes.
#[must_use]
pub fn upgrade(context: &Context, user: &Id<User>, old_hash: &str, new_hash: &str) -> Statement {
    sql!(
        "update account set password_hash = :new_hash, updated_at = :now
         where (tenant_id is null or tenant_id = :tenant) and user_id = :user and issuer_id is null and password_hash = :old_hash",
        tenant = &context.tenant().id,
        user,
        old_hash,
        new_hash,
        now = context.now
    )
}

/// Sets a password by proof of the address: replaces the one there is, or gives the user one.
#[must_use]
pub fn set(context: &Context, id: &Id<Account>, user: &Id<User>, hash: &str) -> Statement {
    sql!(
        "insert into account (id, tenant_id, user_id, subject, password_hash, password_changed_at, confirmed_at, created_at, updated_at)
         select :id, u.tenant_id, u.id, u.id, :hash, :now, :now, :now, :now from user u
         where (u.tenant_id is null or u.tenant_id = :tenant) and u.id = :user
         on conflict (user_id) where issuer_id is null do update set
           password_hash = excluded.password_hash, password_changed_at = excluded.password_changed_at,
           updated_at = excluded.updated_at",
        tenant = &context.tenant().id,
        id,
        user,
        hash,
        now = context.now
    )
}

/// A row of `audit_event`, if this hash is the user's now: whoever lost the race to change it changed nothing.
#[must_use]
pub fn record_change(context: &Context, id: &str, user: &Id<User>, hash: &str) -> Statement {
    let client = context.client();
    sql!(
        "insert into audit_event (id, tenant_id, user_id, subject, event, severity, ip_address, user_agent, request_id, created_at)
         select :id, :tenant, user_id, user_id, 'password.changed', 'medium', :ip, :user_agent, :request_id, :now
         from account where user_id = :user and issuer_id is null and password_hash = :hash",
        tenant = &context.tenant().id,
        id,
        user,
        hash,
        ip = &client.ip,
        user_agent = &client.user_agent,
        request_id = context.request_id(),
        now = context.now
    )
}
