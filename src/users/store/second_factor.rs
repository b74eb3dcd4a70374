//! `two_factor` and `trusted_device`: second factors, pending and in use, and where none is asked for.

use serde::Deserialize;
use serde_json::json;

use crate::platform::d1::{Statement, StoreError, Stored};
use crate::platform::error;
use crate::platform::id::{Id, Millis, Session, User};
use crate::platform::secret::{Cell, SecondFactor, Secret, Token, TokenHash, TokenKind, TrustedDevice};
use crate::platform::sql::sql;
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
        concat!(
            "select json_object('id', f.id, 'method', f.method, 'secret_sealed', f.secret_sealed,
                    'is_verified', json(iif(f.verified_at is null, 'false', 'true')), 'last_used_step', f.last_used_step,
                    'failed_attempts', f.failed_attempts) as row from ",
            $source
        )
    };
}

/// The factors of the user whose session this is: the one in use, then the pending one.
#[must_use]
pub fn of_session<K: TokenKind>(context: &Context, hash: &TokenHash<K>) -> Statement {
    sql!(
        factor!(
            "session s join two_factor f on f.user_id = s.user_id
         where s.tenant_id = :tenant and s.token_hash = :hash order by f.verified_at is null"
        ),
        tenant = &context.tenant().id,
        hash
    )
}

/// The statement that counts an attempt before it is looked at, for the factors that `$whose` names, and answers them.
/// Past the limit no code is looked at until the last one that was is `LOCK` old: what is refused meanwhile does not
/// prolong the lock, or anybody could keep its owner out for good.
macro_rules! attempt {
    ($whose:literal) => {
        concat!(
            "update two_factor set
               failed_attempts = iif(failed_attempts >= :most and last_failed_at <= :unlocked, 1, failed_attempts + 1),
               last_failed_at = iif(failed_attempts >= :most and last_failed_at > :unlocked, last_failed_at, :now), updated_at = :now
             where ",
            $whose,
            " returning json_object('id', id, 'method', method, 'secret_sealed', secret_sealed,
                'is_verified', json(iif(verified_at is null, 'false', 'true')), 'last_used_step', last_used_step,
                'failed_attempts', failed_attempts) as row"
        )
    };
}

/// Counts an attempt of the user whom a waiting sign-in is about, and answers their factor in use.
#[must_use]
pub fn attempt_of_asked(context: &Context, hash: &TokenHash<SecondFactor>) -> Statement {
    sql!(
        attempt!(
            "verified_at is not null
         and user_id = (select user_id from verification
                        where tenant_id = :tenant and kind = 'second_factor' and token_hash = :hash and used_at is null
                          and expires_at > :now and attempts <= :most_attempts)"
        ),
        tenant = &context.tenant().id,
        hash,
        now = context.now,
        most = MOST_FAILURES,
        unlocked = context.now - LOCK,
        most_attempts = MOST_ATTEMPTS
    )
}

/// Counts an attempt of the user whose session this is, and answers their factors: the one in use and the pending one.
#[must_use]
pub fn attempt_of_session<K: TokenKind>(context: &Context, hash: &TokenHash<K>) -> Statement {
    sql!(
        attempt!(
            "user_id = (select user_id from session
                    where tenant_id = :tenant and token_hash = :hash and revoked_at is null and expires_at > :now)"
        ),
        tenant = &context.tenant().id,
        hash,
        now = context.now,
        most = MOST_FAILURES,
        unlocked = context.now - LOCK
    )
}

/// The ways in which the user of a waiting sign-in can go on; no row if nothing waits. Whoever has an app is mailed codes
/// only where the mailbox is not the first factor already, in person or through a password that was set by mail.
#[must_use]
pub fn asked(context: &Context, hash: &TokenHash<SecondFactor>) -> Statement {
    sql!(
        "select case when f.method = 'otp' then json_array('otp')
                     when u.email_verified = 0 or u.email like '%.invalid' or f.mailed_codes = 0
                       or v.identifier in ('magic-link', 'email-otp') then json_array('totp')
                     else json_array('totp', 'otp') end as row
         from verification v
         join two_factor f on f.user_id = v.user_id and f.verified_at is not null
         join user u on u.id = v.user_id
         where v.tenant_id = :tenant and v.kind = 'second_factor' and v.token_hash = :hash and v.used_at is null and v.expires_at > :now",
        tenant = &context.tenant().id,
        hash,
        now = context.now
    )
}

/// A password was set by mail: until its owner changes it, the mailbox is no second factor.
#[must_use]
pub fn no_mailed_codes(context: &Context, user: &Id<User>) -> Statement {
    sql!(
        "update two_factor set mailed_codes = 0, updated_at = :now where user_id = :user and method = 'totp'",
        user,
        now = context.now
    )
}

/// A password was changed by whoever knew the one before: with it, the mailbox is a second factor again.
#[must_use]
pub fn mailed_codes_again(context: &Context, user: &Id<User>, password: &str) -> Statement {
    sql!(
        "update two_factor set mailed_codes = 1, updated_at = :now
         where user_id = :user and exists (select 1 from account where user_id = :user and issuer_id is null and password_hash = :password)",
        user,
        password,
        now = context.now
    )
}

/// What waits for its second factor.
#[derive(Debug, Deserialize)]
pub struct WaitingSignIn {
    /// `verification.id`.
    pub id: String,
    /// Whose.
    pub user_id: Id<User>,
    payload_sealed: String,
    /// Codes tried, this one included.
    pub attempts: i64,
}

impl WaitingSignIn {
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
    sql!(
        "update verification set attempts = attempts + 1, updated_at = :now
         where tenant_id = :tenant and kind = 'second_factor' and token_hash = :hash and used_at is null and expires_at > :now
         returning json_object('id', id, 'user_id', user_id, 'payload_sealed', payload_sealed, 'attempts', attempts) as row",
        tenant = &context.tenant().id,
        hash,
        now = context.now
    )
}

/// The user whose sign-in waits.
#[must_use]
pub fn person(context: &Context, hash: &TokenHash<SecondFactor>) -> Statement {
    sql!(
        concat!(
        "select ",
        person_json!("u"),
        " as row from verification v join user u on u.id = v.user_id
         where v.tenant_id = :tenant and v.kind = 'second_factor' and v.token_hash = :hash and v.used_at is null and v.expires_at > :now"
    ),
        tenant = &context.tenant().id,
        hash,
        now = context.now
    )
}

/// Accepts a time step, if no later one was (RFC 6238, section 5.2): of many at once, one changes the row.
#[must_use]
pub fn accept_step(context: &Context, user: &Id<User>, factor: &str, step: i64) -> Statement {
    sql!(
        "update two_factor set last_used_step = :step, last_verified_at = :now, failed_attempts = 0, updated_at = :now
         where user_id = :user and id = :factor and verified_at is not null and last_used_step < :step
         returning json_quote(id) as row",
        user,
        factor,
        step,
        now = context.now
    )
}

/// Uses a backup code up: of many at once, one changes the row.
#[must_use]
pub fn accept_backup_code(context: &Context, user: &Id<User>, digests: &[String]) -> Statement {
    sql!(
        "update two_factor set
           backup_codes = (select json_group_array(value) from json_each(backup_codes)
                           where value not in (select value from json_each(:digests))),
           last_verified_at = :now, failed_attempts = 0, updated_at = :now
         where user_id = :user and verified_at is not null
           and exists (select 1 from json_each(backup_codes) where value in (select value from json_each(:digests)))
         returning json_quote(id) as row",
        user,
        digests = json!(digests).to_string(),
        now = context.now
    )
}

/// Notes a mailed code that was right.
#[must_use]
pub fn accept_mailed(context: &Context, user: &Id<User>) -> Statement {
    sql!(
        "update two_factor set last_verified_at = :now, failed_attempts = 0, updated_at = :now
         where user_id = :user and verified_at is not null",
        user,
        now = context.now
    )
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
        sql!("delete from two_factor where user_id = :user_id and verified_at is null", user_id = new.user_id),
        sql!(
            "insert into two_factor (id, user_id, method, secret_sealed, backup_codes, created_at, updated_at)
             values (:id, :user_id, :method, :sealed, :backup_codes, :now, :now)",
            id = new.id,
            user_id = new.user_id,
            method = if new.seed.is_some() { "totp" } else { "otp" },
            sealed,
            backup_codes = json!(new.backup_codes).to_string(),
            now = context.now
        ),
    ])
}

/// Puts a pending factor to use, with the step that proved it; the one in use before goes.
#[must_use]
pub fn verify(context: &Context, user: &Id<User>, factor: &str, step: i64) -> [Statement; 2] {
    [
        sql!(
            "delete from two_factor
             where user_id = :user and verified_at is not null
               and exists (select 1 from two_factor where id = :factor and user_id = :user and verified_at is null)",
            user,
            factor
        ),
        sql!(
            "update two_factor set verified_at = :now, last_used_step = :step, last_verified_at = :now, failed_attempts = 0, updated_at = :now
             where user_id = :user and id = :factor and verified_at is null
             returning json_quote(id) as row",
            user,
            factor,
            step,
            now = context.now
        ),
    ]
}

/// Replaces the backup codes of an authenticator: of the one in use, or of the pending one, with which they begin to hold.
#[must_use]
pub fn replace_backup_codes(context: &Context, user: &Id<User>, factor: &str, digests: &[String]) -> Statement {
    sql!(
        "update two_factor set backup_codes = :digests, updated_at = :now
         where user_id = :user and id = :factor and method = 'totp'
           and (verified_at is not null
                or not exists (select 1 from two_factor where user_id = :user and method = 'totp' and verified_at is not null))
         returning json_quote(id) as row",
        user,
        digests = json!(digests).to_string(),
        now = context.now,
        factor
    )
}

/// Takes a user's second factors away.
#[must_use]
pub fn disable(user: &Id<User>) -> Statement {
    sql!("delete from two_factor where user_id = :user", user)
}

/// Trusts a browser, if the session was opened.
///
/// # Errors
/// If the platform has no randomness.
pub fn trust(context: &Context, user: &Id<User>, token: &Token<TrustedDevice>) -> error::Result<Statement> {
    let client = context.client();
    Ok(sql!(
        "insert into trusted_device
              (id, user_id, token_hash, ip_address, user_agent, last_used_at, expires_at, created_at, updated_at)
            values (:id, :user, :hash, :ip, :user_agent, :now, :expires_at, :now, :now)",
        id = context.row_id()?,
        user,
        hash = &token.hash(),
        ip = &client.ip,
        user_agent = &client.user_agent,
        now = context.now,
        expires_at = context.now + context.config.trusted_device_seconds * 1000
    ))
}

/// Notes that a trusted device saved its owner the question.
pub fn used_device(
    context: &Context,
    hash: Option<&TokenHash<TrustedDevice>>,
    session: &Id<Session>,
) -> Option<Statement> {
    let hash = hash?;
    Some(sql!(
        "update trusted_device set last_used_at = :now, updated_at = :now
             where token_hash = :hash and revoked_at is null and exists (select 1 from session where id = :session)",
        hash,
        session,
        now = context.now
    ))
}

/// Trusts none of a user's browsers any more; with `if_password`, only if that is the hash of their password now.
#[must_use]
pub fn distrust(context: &Context, user: &Id<User>, if_password: Option<&str>) -> Statement {
    sql!(
        "update trusted_device set revoked_at = :now, updated_at = :now
         where user_id = :user and revoked_at is null
           and (:if_password is null
                or exists (select 1 from account where user_id = :user and issuer_id is null and password_hash = :if_password))",
        user,
        now = context.now,
        if_password
    )
}

/// How many browsers a user trusts.
#[must_use]
pub fn devices(context: &Context, user: &Id<User>) -> Statement {
    sql!(
        "select json_quote(count(*)) as row from trusted_device where user_id = :user and revoked_at is null and expires_at > :now",
        user,
        now = context.now
    )
}
