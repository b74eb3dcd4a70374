//! `password_reset`: links that set a new password.

use crate::platform::d1::Statement;
use crate::platform::error;
use crate::platform::id::{Id, User};
use crate::platform::secret::{Reset, Token, TokenHash};
use crate::platform::sql::sql;
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
        sql!(
            "insert into password_reset
               (id, tenant_id, user_id, token_hash, email, expires_at, previous_id, ip_address, user_agent, created_at, updated_at)
             select :id, :tenant, id, :hash, :email, :expires_at,
                    (select id from password_reset where user_id = :user order by created_at desc, id desc limit 1), :ip, :user_agent, :now, :now
             from user
             where (tenant_id is null or tenant_id = :tenant) and id = :user and status = 'active'",
            tenant,
            id = &id,
            user,
            hash = &token.hash(),
            email,
            expires_at = now + context.config.reset_seconds * 1000,
            ip = &client.ip,
            user_agent = &client.user_agent,
            now
        ),
        revoke(context, user, Some(&id), "superseded"),
    ])
}

/// Revokes a user's open links, but one.
#[must_use]
pub fn revoke(context: &Context, user: &Id<User>, but: Option<&str>, reason: &str) -> Statement {
    sql!(
        "update password_reset set revoked_at = :now, revocation_reason = :reason, updated_at = :now
         where user_id = :user and revoked_at is null and use_count < max_uses and (:but is null or id <> :but)",
        user,
        but,
        reason,
        now = context.now
    )
}

/// The user whose link this is, if it is still good: looked at, not used.
#[must_use]
pub fn look(context: &Context, hash: &TokenHash<Reset>) -> Statement {
    sql!(
        "select json_quote(r.user_id) as row
         from password_reset r join user u on u.id = r.user_id
         where r.tenant_id = :tenant and r.token_hash = :hash and r.revoked_at is null and r.use_count < r.max_uses
           and r.expires_at > :now and u.email = r.email and u.status = 'active'",
        tenant = &context.tenant().id,
        hash,
        now = context.now
    )
}

/// Uses a link: of any number of attempts, as many are counted as it has uses.
#[must_use]
pub fn take(context: &Context, hash: &TokenHash<Reset>) -> Statement {
    sql!(
        "update password_reset set use_count = use_count + 1, used_at = :now, updated_at = :now
         where tenant_id = :tenant and token_hash = :hash and revoked_at is null and use_count < max_uses and expires_at > :now
           and exists (select 1 from user u where u.id = user_id and u.email = password_reset.email and u.status = 'active')
         returning json_quote(user_id) as row",
        tenant = &context.tenant().id,
        hash,
        now = context.now
    )
}
