//! `verification`: one-time values, each used up by one conditional statement.

use serde::Deserialize;

use crate::platform::config::Limit;
use crate::platform::d1::{Statement, StoreError, Stored, sql};
use crate::platform::error;
use crate::platform::id::{Id, Millis, Session, Tenant, User};
use crate::platform::secret::{Cell, Secret, Token, TokenHash, TokenKind};
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
    Ok(sql("insert into verification (id, tenant_id, kind, token_hash, identifier, payload_sealed, expires_at, created_at, updated_at)
            values (?2, ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?8)")
    .bind(tenant)
    .bind(&id)
    .bind(K::NAME)
    .bind(&token.hash())
    .bind(identifier)
    .bind(sealed)
    .bind(expires_at)
    .bind(context.now))
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
    Ok(sql("insert into verification (id, tenant_id, kind, token_hash, identifier, expires_at, created_at, updated_at)
            values (?2, ?1, ?3, ?4, ?5, ?6, ?7, ?7) on conflict do nothing")
    .bind(tenant)
    .bind(context.row_id()?)
    .bind(K::NAME)
    .bind(&token.hash())
    .bind(identifier)
    .bind(expires_at)
    .bind(context.now))
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
    sql("insert into verification (id, tenant_id, kind, token_hash, identifier, used_at, expires_at, created_at, updated_at)
         values (?2, ?1, ?3, ?4, ?5, ?7, ?6, ?7, ?7)")
    .bind(&context.tenant().id)
    .bind(id)
    .bind(kind)
    .bind(hash)
    .bind(about)
    .bind(until)
    .bind(now)
}

/// Whether something of a kind is there.
#[must_use]
pub fn is_kept(context: &Context, kind: &'static str, hash: &str) -> Statement {
    sql("select json(iif(exists (select 1 from verification where tenant_id = ?1 and kind = ?2 and token_hash = ?3),
                         'true', 'false')) as row")
    .bind(&context.tenant().id)
    .bind(kind)
    .bind(hash)
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
    Ok(sql("insert into verification (id, tenant_id, kind, token_hash, identifier, payload_sealed, expires_at, created_at, updated_at)
            select ?2, ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?8 where (select count from rate_limit where key = ?9) <= ?10")
    .bind(&context.tenant().id)
    .bind(&id)
    .bind(K::NAME)
    .bind(&token.hash())
    .bind(identifier)
    .bind(sealed)
    .bind(expires_at)
    .bind(context.now)
    .bind(key)
    .bind(limit.count))
}

/// Uses a value up, if it is bound to what it has to be: of any number of attempts, one is answered.
#[must_use]
pub fn take<K: TokenKind>(context: &Context, hash: &TokenHash<K>, bound_to: Option<&str>) -> Statement {
    sql("update verification set used_at = ?5, updated_at = ?5
         where tenant_id = ?1 and kind = ?2 and token_hash = ?3 and (?4 is null or identifier = ?4)
           and used_at is null and expires_at > ?5
         returning json_object('id', id, 'identifier', identifier, 'payload_sealed', payload_sealed) as row")
    .bind(&context.tenant().id)
    .bind(K::NAME)
    .bind(hash)
    .bind(bound_to)
    .bind(context.now)
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
    sql(concat!("update verification set used_at = ?2, updated_at = ?2 where ", begun_by!("?1")))
        .bind(user)
        .bind(context.now)
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
    sql("update verification set used_at = ?4, used_by = ?3, updated_at = ?4
         where tenant_id = ?1 and id = ?2 and used_at is null and expires_at > ?4 and (not ?5 or changes() = 1)")
    .bind(&context.tenant().id)
    .bind(claim.id)
    .bind(session)
    .bind(context.now)
    .bind(claim.if_changed)
}

/// Reads a value that is still good and bound to what it has to be, and leaves it so.
#[must_use]
pub fn peek<K: TokenKind>(context: &Context, hash: &TokenHash<K>, bound_to: Option<&str>) -> Statement {
    sql("select json_object('id', id, 'identifier', identifier, 'payload_sealed', payload_sealed) as row
         from verification
         where tenant_id = ?1 and kind = ?2 and token_hash = ?3 and (?4 is null or identifier = ?4)
           and used_at is null and expires_at > ?5")
    .bind(&context.tenant().id)
    .bind(K::NAME)
    .bind(hash)
    .bind(bound_to)
    .bind(context.now)
}

/// Reads a value whatever has become of it, and leaves it so: it opens nothing, and says what it was for.
#[must_use]
pub fn find<K: TokenKind>(context: &Context, hash: &TokenHash<K>) -> Statement {
    sql("select json_object('id', id, 'identifier', identifier, 'payload_sealed', payload_sealed) as row
         from verification where tenant_id = ?1 and kind = ?2 and token_hash = ?3")
    .bind(&context.tenant().id)
    .bind(K::NAME)
    .bind(hash)
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
    sql("select json_object('id', v.id, 'identifier', v.identifier, 'payload_sealed', v.payload_sealed, 'email', u.email,
                            'is_proven', json(iif(u.email_verified, 'true', 'false')),
                            'has_password', json(iif(exists (select 1 from account a where a.user_id = u.id
                                                             and a.password_hash is not null), 'true', 'false'))) as row
         from verification v join user u on u.id = v.identifier
         where v.tenant_id = ?1 and v.kind = ?2 and v.token_hash = ?3 and v.expires_at > ?4
           and (u.tenant_id is null or u.tenant_id = ?1) and u.deleted_at is null")
    .bind(&context.tenant().id)
    .bind(K::NAME)
    .bind(hash)
    .bind(context.now)
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
