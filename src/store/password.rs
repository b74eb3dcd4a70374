//! A user's password, for whoever changes it.

use crate::context::Context;
use crate::id::{Id, User};
use crate::secret::{SessionToken, TokenHash};
use crate::store::database::{Statement, sql};

/// The password's hash, of the user whose session this is.
#[must_use]
pub fn of_session(context: &Context, hash: &TokenHash<SessionToken>) -> Statement {
    sql("select json_quote(a.password_hash) as row
         from session s join account a on a.user_id = s.user_id and a.issuer_id is null and a.is_active = 1
         where s.tenant_id = ?1 and s.token_hash = ?2")
    .bind(&context.tenant().id)
    .bind(hash)
}

/// Replaces a password, if it is still the one that was compared: of two changes at once, one holds.
#[must_use]
pub fn replace(context: &Context, user: &Id<User>, old_hash: &str, new_hash: &str) -> Statement {
    sql("update account set password_hash = ?4, password_changed_at = ?5, updated_at = ?5
         where (tenant_id is null or tenant_id = ?1) and user_id = ?2 and issuer_id is null and password_hash = ?3")
    .bind(&context.tenant().id)
    .bind(user)
    .bind(old_hash)
    .bind(new_hash)
    .bind(context.now)
}

/// A row of `audit_event`, if this hash is the user's now: whoever lost the race to change it changed nothing.
#[must_use]
pub fn record_change(context: &Context, id: &str, user: &Id<User>, hash: &str) -> Statement {
    let client = context.client();
    sql("insert into audit_event (id, tenant_id, user_id, subject, event, severity, ip_address, user_agent, request_id, created_at)
         select ?2, ?1, user_id, user_id, 'password.changed', 'medium', ?5, ?6, ?7, ?8
         from account where user_id = ?3 and issuer_id is null and password_hash = ?4")
    .bind(&context.tenant().id)
    .bind(id)
    .bind(user)
    .bind(hash)
    .bind(&client.ip)
    .bind(&client.user_agent)
    .bind(context.request_id())
    .bind(context.now)
}
