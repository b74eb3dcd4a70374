//! `password_reset`: links that set a new password.

use crate::platform::d1::{Statement, sql};
use crate::platform::error;
use crate::platform::id::{Id, User};
use crate::platform::secret::{Reset, Token, TokenHash};
use crate::request::context::Context;

/// Keeps a new link and revokes those before it, which it names as its previous. Nothing is kept for a user who is not
/// active any more.
///
/// # Errors
/// If the platform has no randomness.
pub fn request(context: &Context, user: &Id<User>, email: &str, token: &Token<Reset>) -> error::Result<[Statement; 2]> {
    let (tenant, client, now) = (&context.tenant().id, context.client(), context.now);
    let id = context.row_id()?;
    Ok([
        sql("insert into password_reset
               (id, tenant_id, user_id, token_hash, email, expires_at, previous_id, ip_address, user_agent, created_at, updated_at)
             select ?2, ?1, id, ?4, ?5, ?6,
                    (select id from password_reset where user_id = ?3 order by created_at desc, id desc limit 1), ?7, ?8, ?9, ?9
             from user
             where (tenant_id is null or tenant_id = ?1) and id = ?3 and status = 'active'")
        .bind(tenant)
        .bind(&id)
        .bind(user)
        .bind(&token.hash())
        .bind(email)
        .bind(now + context.config.reset_seconds * 1000)
        .bind(&client.ip)
        .bind(&client.user_agent)
        .bind(now),
        revoke(context, user, Some(&id), "superseded"),
    ])
}

/// Revokes a user's open links, but one.
#[must_use]
pub fn revoke(context: &Context, user: &Id<User>, but: Option<&str>, reason: &str) -> Statement {
    sql("update password_reset set revoked_at = ?4, revocation_reason = ?3, updated_at = ?4
         where user_id = ?1 and revoked_at is null and use_count < max_uses and (?2 is null or id <> ?2)")
    .bind(user)
    .bind(but)
    .bind(reason)
    .bind(context.now)
}

/// The user whose link this is, if it is still good: looked at, not used.
#[must_use]
pub fn look(context: &Context, hash: &TokenHash<Reset>) -> Statement {
    sql("select json_quote(r.user_id) as row
         from password_reset r join user u on u.id = r.user_id
         where r.tenant_id = ?1 and r.token_hash = ?2 and r.revoked_at is null and r.use_count < r.max_uses
           and r.expires_at > ?3 and u.email = r.email and u.status = 'active'")
    .bind(&context.tenant().id)
    .bind(hash)
    .bind(context.now)
}

/// Uses a link: of any number of attempts, as many are counted as it has uses.
#[must_use]
pub fn take(context: &Context, hash: &TokenHash<Reset>) -> Statement {
    sql("update password_reset set use_count = use_count + 1, used_at = ?3, updated_at = ?3
         where tenant_id = ?1 and token_hash = ?2 and revoked_at is null and use_count < max_uses and expires_at > ?3
           and exists (select 1 from user u where u.id = user_id and u.email = password_reset.email and u.status = 'active')
         returning json_quote(user_id) as row")
    .bind(&context.tenant().id)
    .bind(hash)
    .bind(context.now)
}
