//! `verification`: one-time values, each used up by one conditional statement.

use serde::Deserialize;

use crate::platform::config::Limit;
use crate::platform::d1::{Statement, StoreError, Stored};
use crate::platform::error;
use crate::platform::id::{Id, Millis, Session, Tenant, User};
use crate::platform::secret::{Cell, Secret, Token, TokenHash, TokenKind};
use crate::platform::sql::sql;
use crate::request::context::Context;

/// A used-up value.
#[derive(Debug, Deserialize)]
pub struct Used {
    /// `verification.id`.
    pub id: String,
    /// What the value was bound to.
    pub identifier: Option<String>,
    payload_sealed: Option<String>,
}

/// Keeps a one-time value. The payload is sealed: it holds other secrets, such as code verifiers.
///
/// # Errors
/// If the platform has no randomness.
pub fn keep<K: TokenKind>(
    context: &Context,
    tenant: &Id<Tenant>,
    token: &Token<K>,
    identifier: &str,
    payload: &[u8],
    expires_at: Millis,
) -> error::Result<Statement> {
    let id = context.row_id()?;
    let sealed = context.config.keyring.seal(cell(&id), payload, context.random()?);
    Ok(sql!(
        "insert into verification (id, tenant_id, kind, token_hash, identifier, payload_sealed, expires_at, created_at, updated_at)
            values (:id, :tenant, :kind, :hash, :identifier, :sealed, :expires_at, :now, :now)",
        tenant,
        id = &id,
        kind = K::NAME,
        hash = &token.hash(),
        identifier,
        sealed,
        expires_at,
        now = context.now
    ))
}

/// [`keep`] without a payload, unless it is kept already.
///
/// # Errors
/// If the platform has no randomness.
pub fn keep_unless<K: TokenKind>(
    context: &Context,
    tenant: &Id<Tenant>,
    token: &Token<K>,
    identifier: &str,
    expires_at: Millis,
) -> error::Result<Statement> {
    Ok(sql!(
        "insert into verification (id, tenant_id, kind, token_hash, identifier, expires_at, created_at, updated_at)
            values (:id, :tenant, :kind, :hash, :identifier, :expires_at, :now, :now) on conflict do nothing",
        tenant,
        id = context.row_id()?,
        kind = K::NAME,
        hash = &token.hash(),
        identifier,
        expires_at,
        now = context.now
    ))
}

/// Notes that something was used that is good once and is not ours to make: the second time conflicts.
#[must_use]
pub fn note(
    context: &Context,
    kind: &'static str,
    hash: &str,
    about: &str,
    (now, until): (Millis, Millis),
    id: String,
) -> Statement {
    sql!(
        "insert into verification (id, tenant_id, kind, token_hash, identifier, used_at, expires_at, created_at, updated_at)
         values (:id, :tenant, :kind, :hash, :about, :now, :until, :now, :now)",
        tenant = &context.tenant().id,
        id,
        kind,
        hash,
        about,
        until,
        now
    )
}

/// Whether something of a kind is there.
#[must_use]
pub fn is_kept(context: &Context, kind: &'static str, hash: &str) -> Statement {
    sql!(
        "select json(iif(exists (select 1 from verification where tenant_id = :tenant and kind = :kind and token_hash = :hash),
                         'true', 'false')) as row",
        tenant = &context.tenant().id,
        kind,
        hash
    )
}

/// [`keep`], unless the request just counted under `key` is over the limit: what anybody may ask for must not fill the
/// table.
///
/// # Errors
/// As [`keep`].
pub fn keep_within<K: TokenKind>(
    context: &Context,
    token: &Token<K>,
    identifier: &str,
    payload: &[u8],
    expires_at: Millis,
    (key, limit): (&str, Limit),
) -> error::Result<Statement> {
    let id = context.row_id()?;
    let sealed = context.config.keyring.seal(cell(&id), payload, context.random()?);
    Ok(sql!(
        "insert into verification (id, tenant_id, kind, token_hash, identifier, payload_sealed, expires_at, created_at, updated_at)
            select :id, :tenant, :kind, :hash, :identifier, :sealed, :expires_at, :now, :now where (select count from rate_limit where key = :key) <= :count",
        tenant = &context.tenant().id,
        id = &id,
        kind = K::NAME,
        hash = &token.hash(),
        identifier,
        sealed,
        expires_at,
        now = context.now,
        key,
        count = limit.count
    ))
}

/// Uses a value up, if it is bound to what it has to be: of any number of attempts, one is answered.
#[must_use]
pub fn take<K: TokenKind>(context: &Context, hash: &TokenHash<K>, bound_to: Option<&str>) -> Statement {
    sql!(
        "update verification set used_at = :now, updated_at = :now
         where tenant_id = :tenant and kind = :kind and token_hash = :hash and (:bound_to is null or identifier = :bound_to)
           and used_at is null and expires_at > :now
         returning json_object('id', id, 'identifier', identifier, 'payload_sealed', payload_sealed) as row",
        tenant = &context.tenant().id,
        kind = K::NAME,
        hash,
        bound_to,
        now = context.now
    )
}

/// The values that a user began and did not use, for `where`: each way to them has an index. The owner's id stands in
/// `identifier` for links, and in front of the new address for a code.
macro_rules! begun_by {
    ($user:literal) => {
        concat!(
            "used_at is null and id in (
               select id from verification where user_id = ",
            $user,
            " union all select id from verification
                        where kind in ('change_email_confirm', 'change_email_proof', 'delete_user', 'account_confirmation') and identifier = ",
            $user,
            " union all select id from verification
                        where kind = 'code_change_email' and identifier > ",
            $user,
            " || ' ' and identifier < ",
            $user,
            " || '!')"
        )
    };
}

pub(crate) use begun_by;

/// Ends what a user began and did not end: sign-ins that wait, changes of address, deletions. Whoever began them may have
/// known what is now another.
#[must_use]
pub fn forget(context: &Context, user: &Id<User>) -> Statement {
    sql!(
        concat!("update verification set used_at = :now, updated_at = :now where ", begun_by!(":user")),
        user,
        now = context.now
    )
}

/// A value that the session to be opened uses up.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    /// `verification.id`.
    pub id: &'a str,
    /// Whether only if the statement before it changed one row.
    pub if_changed: bool,
}

/// Uses a value up in the name of a session: of many in parallel, one's name stands there, and only that one opens.
#[must_use]
pub fn claim(context: &Context, claim: Claim<'_>, session: &Id<Session>) -> Statement {
    sql!(
        "update verification set used_at = :now, used_by = :session, updated_at = :now
         where tenant_id = :tenant and id = :id and used_at is null and expires_at > :now and (not :if_changed or changes() = 1)",
        tenant = &context.tenant().id,
        id = claim.id,
        session,
        now = context.now,
        if_changed = claim.if_changed
    )
}

/// Reads a value that is still good and bound to what it has to be, and leaves it so.
#[must_use]
pub fn peek<K: TokenKind>(context: &Context, hash: &TokenHash<K>, bound_to: Option<&str>) -> Statement {
    sql!(
        "select json_object('id', id, 'identifier', identifier, 'payload_sealed', payload_sealed) as row
         from verification
         where tenant_id = :tenant and kind = :kind and token_hash = :hash and (:bound_to is null or identifier = :bound_to)
           and used_at is null and expires_at > :now",
        tenant = &context.tenant().id,
        kind = K::NAME,
        hash,
        bound_to,
        now = context.now
    )
}

/// Reads a value whatever has become of it, and leaves it so: it opens nothing, and says what it was for.
#[must_use]
pub fn find<K: TokenKind>(context: &Context, hash: &TokenHash<K>) -> Statement {
    sql!(
        "select json_object('id', id, 'identifier', identifier, 'payload_sealed', payload_sealed) as row
         from verification where tenant_id = :tenant and kind = :kind and token_hash = :hash",
        tenant = &context.tenant().id,
        kind = K::NAME,
        hash
    )
}

/// A link that proves an address, and how its user stands.
#[derive(Debug, Deserialize)]
pub struct Proof {
    /// The link.
    #[serde(flatten)]
    pub used: Used,
    /// `user.email`.
    pub email: String,
    /// `user.email_verified`.
    pub is_proven: bool,
    /// Whether they have a password.
    pub has_password: bool,
}

/// Reads a link that proves an address: it does the same each time until it expires, and looking changes nothing.
#[must_use]
pub fn look<K: TokenKind>(context: &Context, hash: &TokenHash<K>) -> Statement {
    sql!(
        "select json_object('id', v.id, 'identifier', v.identifier, 'payload_sealed', v.payload_sealed, 'email', u.email,
                            'is_proven', json(iif(u.email_verified, 'true', 'false')),
                            'has_password', json(iif(exists (select 1 from account a where a.user_id = u.id
                                                             and a.password_hash is not null), 'true', 'false'))) as row
         from verification v join user u on u.id = v.identifier
         where v.tenant_id = :tenant and v.kind = :kind and v.token_hash = :hash and v.expires_at > :now
           and (u.tenant_id is null or u.tenant_id = :tenant) and u.deleted_at is null",
        tenant = &context.tenant().id,
        kind = K::NAME,
        hash,
        now = context.now
    )
}

impl Used {
    /// The payload.
    ///
    /// # Errors
    /// If it does not open: a key is gone, or the row was tampered with.
    pub fn payload(&self, context: &Context) -> Stored<Secret<Vec<u8>>> {
        let sealed = self.payload_sealed.as_deref().unwrap_or_default();
        context
            .config
            .keyring
            .open(cell(&self.id), sealed)
            .map_err(|_| StoreError::Failed(format!("verification.payload_sealed of {} does not open", self.id)))
    }
}

const fn cell(id: &str) -> Cell<'_> {
    Cell { table: "verification", column: "payload_sealed", row: id }
}
