//! `two_factor` and `trusted_device`: second factors, pending and in use, and where none is asked for.

use serde::Deserialize;
use serde_json::json;

use crate::platform::d1::{Statement, StoreError, Stored, sql};
use crate::platform::error;
use crate::platform::id::{Id, Millis, Session, User};
use crate::platform::secret::{Cell, SecondFactor, Secret, Token, TokenHash, TokenKind, TrustedDevice};
use crate::request::context::Context;
use crate::users::store::person::person_json;

/// The most codes tried for one sign-in, right or wrong.
pub const MOST_ATTEMPTS: i64 = 5;

/// Failures in a row, over all sign-ins, that lock the second factor …
pub const MOST_FAILURES: i64 = 10;

/// … for so many milliseconds.
pub const LOCK: Millis = 900_000;

/// A user's second factor.
#[derive(Debug, Deserialize)]
pub struct Factor {
    /// `two_factor.id`.
    pub id: String,
    /// `totp` or `otp`.
    pub method: String,
    secret_sealed: Option<String>,
    /// Whether it is in use, and no more pending.
    pub is_verified: bool,
    /// The last time step that was accepted.
    pub last_used_step: i64,
    /// Attempts since the last success, this one included.
    pub failed_attempts: i64,
}

impl Factor {
    /// The TOTP seed; none of a factor of mailed codes alone.
    ///
    /// # Errors
    /// If it does not open: a key is gone, or the row was tampered with.
    pub fn seed(&self, context: &Context) -> Stored<Option<Secret<Vec<u8>>>> {
        let Some(sealed) = &self.secret_sealed else {
            return Ok(None);
        };
        let opened = context.config.keyring.open(cell(&self.id), sealed);
        opened
            .map(Some)
            .map_err(|_| StoreError::Failed(format!("two_factor.secret_sealed of {} does not open", self.id)))
    }

    /// Whether too many codes were wrong, so that none is accepted for a while.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        self.failed_attempts > MOST_FAILURES
    }
}

const fn cell(id: &str) -> Cell<'_> {
    Cell { table: "two_factor", column: "secret_sealed", row: id }
}

/// The select of a [`Factor`], for what follows `from`.
macro_rules! factor {
    ($source:literal) => {
        sql(concat!(
            "select json_object('id', f.id, 'method', f.method, 'secret_sealed', f.secret_sealed,
                    'is_verified', json(iif(f.verified_at is null, 'false', 'true')), 'last_used_step', f.last_used_step,
                    'failed_attempts', f.failed_attempts) as row from ",
            $source
        ))
    };
}

/// The factors of the user whose session this is: the one in use, then the pending one.
#[must_use]
pub fn of_session<K: TokenKind>(context: &Context, hash: &TokenHash<K>) -> Statement {
    factor!(
        "session s join two_factor f on f.user_id = s.user_id
         where s.tenant_id = ?1 and s.token_hash = ?2 order by f.verified_at is null"
    )
    .bind(&context.tenant().id)
    .bind(hash)
}

/// The statement that counts an attempt before it is looked at, for the factors that `$whose` names, and answers them.
/// Past the limit no code is looked at until the last one that was is `LOCK` old: what is refused meanwhile does not
/// prolong the lock, or anybody could keep its owner out for good.
macro_rules! attempt {
    ($whose:literal) => {
        sql(concat!(
            "update two_factor set
               failed_attempts = iif(failed_attempts >= ?4 and last_failed_at <= ?5, 1, failed_attempts + 1),
               last_failed_at = iif(failed_attempts >= ?4 and last_failed_at > ?5, last_failed_at, ?3), updated_at = ?3
             where ",
            $whose,
            " returning json_object('id', id, 'method', method, 'secret_sealed', secret_sealed,
                'is_verified', json(iif(verified_at is null, 'false', 'true')), 'last_used_step', last_used_step,
                'failed_attempts', failed_attempts) as row"
        ))
    };
}

/// Counts an attempt of the user whom a waiting sign-in is about, and answers their factor in use.
#[must_use]
pub fn attempt_of_asked(context: &Context, hash: &TokenHash<SecondFactor>) -> Statement {
    attempt!(
        "verified_at is not null
         and user_id = (select user_id from verification
                        where tenant_id = ?1 and kind = 'second_factor' and token_hash = ?2 and used_at is null
                          and expires_at > ?3 and attempts <= ?6)"
    )
    .bind(&context.tenant().id)
    .bind(hash)
    .bind(context.now)
    .bind(MOST_FAILURES)
    .bind(context.now - LOCK)
    .bind(MOST_ATTEMPTS)
}

/// Counts an attempt of the user whose session this is, and answers their factors: the one in use and the pending one.
#[must_use]
pub fn attempt_of_session<K: TokenKind>(context: &Context, hash: &TokenHash<K>) -> Statement {
    attempt!(
        "user_id = (select user_id from session
                    where tenant_id = ?1 and token_hash = ?2 and revoked_at is null and expires_at > ?3)"
    )
    .bind(&context.tenant().id)
    .bind(hash)
    .bind(context.now)
    .bind(MOST_FAILURES)
    .bind(context.now - LOCK)
}

/// The ways in which the user of a waiting sign-in can go on; no row if nothing waits. Whoever has an app is mailed codes
/// only where the mailbox is not the first factor already, in person or through a password that was set by mail.
#[must_use]
pub fn asked(context: &Context, hash: &TokenHash<SecondFactor>) -> Statement {
    sql("select case when f.method = 'otp' then json_array('otp')
                     when u.email_verified = 0 or u.email like '%.invalid' or f.mailed_codes = 0
                       or v.identifier in ('magic-link', 'email-otp') then json_array('totp')
                     else json_array('totp', 'otp') end as row
         from verification v
         join two_factor f on f.user_id = v.user_id and f.verified_at is not null
         join user u on u.id = v.user_id
         where v.tenant_id = ?1 and v.kind = 'second_factor' and v.token_hash = ?2 and v.used_at is null and v.expires_at > ?3")
    .bind(&context.tenant().id)
    .bind(hash)
    .bind(context.now)
}

/// A password was set by mail: until its owner changes it, the mailbox is no second factor.
#[must_use]
pub fn no_mailed_codes(context: &Context, user: &Id<User>) -> Statement {
    sql("update two_factor set mailed_codes = 0, updated_at = ?2 where user_id = ?1 and method = 'totp'")
        .bind(user)
        .bind(context.now)
}

/// A password was changed by whoever knew the one before: with it, the mailbox is a second factor again.
#[must_use]
pub fn mailed_codes_again(context: &Context, user: &Id<User>, password: &str) -> Statement {
    sql("update two_factor set mailed_codes = 1, updated_at = ?3
         where user_id = ?1 and exists (select 1 from account where user_id = ?1 and issuer_id is null and password_hash = ?2)")
    .bind(user)
    .bind(password)
    .bind(context.now)
}

/// What waits for its second factor.
#[derive(Debug, Deserialize)]
pub struct Waiting {
    /// `verification.id`.
    pub id: String,
    /// Whose.
    pub user_id: Id<User>,
    payload_sealed: String,
    /// Codes tried, this one included.
    pub attempts: i64,
}

impl Waiting {
    /// The first factor.
    ///
    /// # Errors
    /// If it does not open.
    pub fn payload(&self, context: &Context) -> Stored<Secret<Vec<u8>>> {
        let cell = Cell { table: "verification", column: "payload_sealed", row: &self.id };
        let opened = context.config.keyring.open(cell, &self.payload_sealed);
        opened.map_err(|_| StoreError::Failed(format!("verification.payload_sealed of {} does not open", self.id)))
    }
}

/// Counts a code that is about to be tried, and answers what waits for it.
#[must_use]
pub fn attempt(context: &Context, hash: &TokenHash<SecondFactor>) -> Statement {
    sql("update verification set attempts = attempts + 1, updated_at = ?3
         where tenant_id = ?1 and kind = 'second_factor' and token_hash = ?2 and used_at is null and expires_at > ?3
         returning json_object('id', id, 'user_id', user_id, 'payload_sealed', payload_sealed, 'attempts', attempts) as row")
    .bind(&context.tenant().id)
    .bind(hash)
    .bind(context.now)
}

/// The user whose sign-in waits.
#[must_use]
pub fn person(context: &Context, hash: &TokenHash<SecondFactor>) -> Statement {
    sql(concat!(
        "select ",
        person_json!("u"),
        " as row from verification v join user u on u.id = v.user_id
         where v.tenant_id = ?1 and v.kind = 'second_factor' and v.token_hash = ?2 and v.used_at is null and v.expires_at > ?3"
    ))
    .bind(&context.tenant().id)
    .bind(hash)
    .bind(context.now)
}

/// Accepts a time step, if no later one was (RFC 6238, section 5.2): of many at once, one changes the row.
#[must_use]
pub fn accept_step(context: &Context, user: &Id<User>, factor: &str, step: i64) -> Statement {
    sql("update two_factor set last_used_step = ?3, last_verified_at = ?4, failed_attempts = 0, updated_at = ?4
         where user_id = ?1 and id = ?2 and verified_at is not null and last_used_step < ?3
         returning json_quote(id) as row")
    .bind(user)
    .bind(factor)
    .bind(step)
    .bind(context.now)
}

/// Uses a backup code up: of many at once, one changes the row.
#[must_use]
pub fn accept_backup_code(context: &Context, user: &Id<User>, digests: &[String]) -> Statement {
    sql("update two_factor set
           backup_codes = (select json_group_array(value) from json_each(backup_codes)
                           where value not in (select value from json_each(?2))),
           last_verified_at = ?3, failed_attempts = 0, updated_at = ?3
         where user_id = ?1 and verified_at is not null
           and exists (select 1 from json_each(backup_codes) where value in (select value from json_each(?2)))
         returning json_quote(id) as row")
    .bind(user)
    .bind(json!(digests).to_string())
    .bind(context.now)
}

/// Notes a mailed code that was right.
#[must_use]
pub fn accept_mailed(context: &Context, user: &Id<User>) -> Statement {
    sql("update two_factor set last_verified_at = ?2, failed_attempts = 0, updated_at = ?2
         where user_id = ?1 and verified_at is not null")
    .bind(user)
    .bind(context.now)
}

/// A factor to be kept.
pub struct NewFactor<'a> {
    /// Its id.
    pub id: &'a str,
    /// Whose.
    pub user_id: &'a Id<User>,
    /// The TOTP seed; none for mailed codes.
    pub seed: Option<&'a [u8]>,
    /// Keyed digests of the backup codes.
    pub backup_codes: &'a [String],
}

/// Keeps a pending factor in the place of an earlier pending one. The one in use stays in use.
///
/// # Errors
/// If the platform has no randomness.
pub fn begin(context: &Context, new: &NewFactor<'_>) -> error::Result<[Statement; 2]> {
    let sealed = match new.seed {
        Some(seed) => Some(context.config.keyring.seal(cell(new.id), seed, context.random()?)),
        None => None,
    };
    Ok([
        sql("delete from two_factor where user_id = ?1 and verified_at is null").bind(new.user_id),
        sql("insert into two_factor (id, user_id, method, secret_sealed, backup_codes, created_at, updated_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?6)")
        .bind(new.id)
        .bind(new.user_id)
        .bind(if new.seed.is_some() { "totp" } else { "otp" })
        .bind(sealed)
        .bind(json!(new.backup_codes).to_string())
        .bind(context.now),
    ])
}

/// Puts a pending factor to use, with the step that proved it; the one in use before goes.
#[must_use]
pub fn verify(context: &Context, user: &Id<User>, factor: &str, step: i64) -> [Statement; 2] {
    [
        sql("delete from two_factor
             where user_id = ?1 and verified_at is not null
               and exists (select 1 from two_factor where id = ?2 and user_id = ?1 and verified_at is null)")
        .bind(user)
        .bind(factor),
        sql("update two_factor set verified_at = ?4, last_used_step = ?3, last_verified_at = ?4, failed_attempts = 0, updated_at = ?4
             where user_id = ?1 and id = ?2 and verified_at is null
             returning json_quote(id) as row")
        .bind(user)
        .bind(factor)
        .bind(step)
        .bind(context.now),
    ]
}

/// Replaces the backup codes of an authenticator: of the one in use, or of the pending one, with which they begin to hold.
#[must_use]
pub fn replace_backup_codes(context: &Context, user: &Id<User>, factor: &str, digests: &[String]) -> Statement {
    sql("update two_factor set backup_codes = ?2, updated_at = ?3
         where user_id = ?1 and id = ?4 and method = 'totp'
           and (verified_at is not null
                or not exists (select 1 from two_factor where user_id = ?1 and method = 'totp' and verified_at is not null))
         returning json_quote(id) as row")
    .bind(user)
    .bind(json!(digests).to_string())
    .bind(context.now)
    .bind(factor)
}

/// Takes a user's second factors away.
#[must_use]
pub fn disable(user: &Id<User>) -> Statement {
    sql("delete from two_factor where user_id = ?1").bind(user)
}

/// Trusts a browser, if the session was opened.
///
/// # Errors
/// If the platform has no randomness.
pub fn trust(context: &Context, user: &Id<User>, token: &Token<TrustedDevice>) -> error::Result<Statement> {
    let client = context.client();
    Ok(sql("insert into trusted_device
              (id, user_id, token_hash, ip_address, user_agent, last_used_at, expires_at, created_at, updated_at)
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?6, ?6)")
    .bind(context.row_id()?)
    .bind(user)
    .bind(&token.hash())
    .bind(&client.ip)
    .bind(&client.user_agent)
    .bind(context.now)
    .bind(context.now + context.config.trusted_device_seconds * 1000))
}

/// Notes that a trusted device saved its owner the question.
pub fn used_device(
    context: &Context,
    hash: Option<&TokenHash<TrustedDevice>>,
    session: &Id<Session>,
) -> Option<Statement> {
    let hash = hash?;
    Some(
        sql("update trusted_device set last_used_at = ?3, updated_at = ?3
             where token_hash = ?1 and revoked_at is null and exists (select 1 from session where id = ?2)")
        .bind(hash)
        .bind(session)
        .bind(context.now),
    )
}

/// Trusts none of a user's browsers any more; with `if_password`, only if that is the hash of their password now.
#[must_use]
pub fn distrust(context: &Context, user: &Id<User>, if_password: Option<&str>) -> Statement {
    sql("update trusted_device set revoked_at = ?2, updated_at = ?2
         where user_id = ?1 and revoked_at is null
           and (?3 is null
                or exists (select 1 from account where user_id = ?1 and issuer_id is null and password_hash = ?3))")
    .bind(user)
    .bind(context.now)
    .bind(if_password)
}

/// How many browsers a user trusts.
#[must_use]
pub fn devices(context: &Context, user: &Id<User>) -> Statement {
    sql("select json_quote(count(*)) as row from trusted_device where user_id = ?1 and revoked_at is null and expires_at > ?2")
        .bind(user)
        .bind(context.now)
}
