//! Sealed values whose key is no longer the first of `SECRETS`: found, sealed again, and counted.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::platform::config::Config;
use crate::platform::d1::{Database, Statement, begin};
use crate::platform::error::Result;
use crate::platform::id::Millis;
use crate::platform::random::random;
use crate::platform::secret::Cell;
use crate::platform::sql::{numbered, sql};

/// The most values of a column that one run seals again.
const MOST: usize = 200;

/// A column of sealed values that last: how its values are found by their key, and how they are replaced.
struct Column {
    table: &'static str,
    name: &'static str,
    find: &'static str,
    replace: &'static str,
    is_leased: bool,
}

/// The values of a column that the key `:prefix` sealed.
macro_rules! find {
    ($table:literal, $column:literal) => {
        concat!(
            "select json_object('id', id, 'old', ",
            $column,
            ") as row from ",
            $table,
            " where ",
            $column,
            " is not null and substr(",
            $column,
            ", 1, 10) = :prefix limit 200"
        )
    };
}

/// Replaces the values of a column by those of `:changed`. One that a request has changed meanwhile stays as that left it.
macro_rules! replace {
    ($table:literal, $column:literal, $condition:literal) => {
        concat!(
            "update ",
            $table,
            " set ",
            $column,
            " = changed.new
             from (select value ->> '$.id' as id, value ->> '$.old' as old, value ->> '$.new' as new from json_each(:changed)) changed
             where ",
            $table,
            ".id = changed.id and ",
            $table,
            ".",
            $column,
            " = changed.old",
            $condition
        )
    };
}

/// A column of values that change only when their owner changes them.
macro_rules! column {
    ($table:literal, $column:literal, $find:expr, $replace:expr) => {
        Column {
            table: $table,
            name: $column,
            find: numbered!($find, &["prefix"]),
            replace: numbered!($replace, &["changed"]),
            is_leased: false,
        }
    };
}

/// A column of tokens that are refreshed under a lease: its holder seals the new one with the first key.
macro_rules! leased {
    ($table:literal, $column:literal, $find:expr, $replace:expr) => {
        Column {
            table: $table,
            name: $column,
            find: numbered!($find, &["prefix"]),
            replace: numbered!($replace, &["changed", "now"]),
            is_leased: true,
        }
    };
}

const COLUMNS: [Column; 9] = [
    column!(
        "two_factor",
        "secret_sealed",
        find!("two_factor", "secret_sealed"),
        replace!("two_factor", "secret_sealed", "")
    ),
    column!(
        "issuer",
        "client_secret_sealed",
        find!("issuer", "client_secret_sealed"),
        replace!("issuer", "client_secret_sealed", "")
    ),
    column!(
        "issuer",
        "client_key_sealed",
        find!("issuer", "client_key_sealed"),
        replace!("issuer", "client_key_sealed", "")
    ),
    leased!(
        "account",
        "access_token_sealed",
        find!("account", "access_token_sealed"),
        replace!("account", "access_token_sealed", " and coalesce(leased_until, 0) <= :now")
    ),
    leased!(
        "account",
        "id_token_sealed",
        find!("account", "id_token_sealed"),
        replace!("account", "id_token_sealed", " and coalesce(leased_until, 0) <= :now")
    ),
    column!(
        "issuer_refresh_token",
        "token_sealed",
        find!("issuer_refresh_token", "token_sealed"),
        replace!("issuer_refresh_token", "token_sealed", "")
    ),
    leased!(
        "system_account",
        "refresh_token_sealed",
        find!("system_account", "refresh_token_sealed"),
        replace!("system_account", "refresh_token_sealed", " and coalesce(leased_until, 0) <= :now")
    ),
    column!(
        "issuer_access_token",
        "token_sealed",
        find!("issuer_access_token", "token_sealed"),
        replace!("issuer_access_token", "token_sealed", "")
    ),
    column!(
        "signing_key",
        "private_key_sealed",
        find!("signing_key", "private_key_sealed"),
        replace!("signing_key", "private_key_sealed", "")
    ),
];

#[derive(Deserialize)]
struct SealedValue {
    id: String,
    old: String,
}

/// What still needs a key that is no longer the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct KeyNeeds {
    /// Sealed values that this run left: there were too many, or they do not open.
    #[serde(default)]
    pub sealed: usize,
    /// Mails and messages that wait to be sent.
    pub outbox: usize,
    /// Passwords hashed with a pepper of this key, which only a sign-in hashes anew; counted up to a thousand.
    pub passwords: usize,
    /// Sets of backup codes with digests by a key of `SECRETS`, whichever it is; counted up to a thousand.
    pub backup_codes: usize,
}

impl KeyNeeds {
    /// Whether nothing needs the key.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.sealed == 0 && self.outbox == 0 && self.passwords == 0 && self.backup_codes == 0
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            sealed: self.sealed + other.sealed,
            outbox: self.outbox + other.outbox,
            passwords: self.passwords + other.passwords,
            backup_codes: self.backup_codes + other.backup_codes,
        }
    }
}

impl std::ops::AddAssign for KeyNeeds {
    fn add_assign(&mut self, other: Self) {
        *self = self.plus(other);
    }
}

/// Counts what only time or its user can change: short-lived values, peppered passwords, backup codes.
fn count(key_id: &str) -> Statement {
    sql!(
        "select json_object(
           'outbox', (select count(*) from (select 1 from outbox where substr(payload_sealed, 1, 10) = '1.' || :key_id
                                              and delivered_at is null and failed_at is null limit 1000)),
           'passwords', (select count(*) from (select 1 from account
                                               where substr(password_hash, 2, 15) = 'doorward-pbkdf2'
                                                 and substr(password_hash, 29, 8) = :key_id limit 1000)),
           'backup_codes', (select count(*) from (select 1 from two_factor
                                                  where substr(backup_codes, 3, 2) <> 's:' and backup_codes <> '[]' limit 1000))) as row",
        key_id
    )
}

/// Seals the values of one former key again with the first one, up to a bound, and says what still needs the former.
///
/// # Errors
/// If D1 does not answer, or the platform has no randomness.
pub async fn seal_again(db: &Database, config: &Config, key_id: &str, now: Millis) -> Result<KeyNeeds> {
    let prefix = format!("1.{key_id}");
    let mut statements: Vec<Statement> =
        COLUMNS.iter().map(|column| begin(column.find).bind(prefix.as_str())).collect();
    statements.push(count(key_id));
    let mut answers = db.batch(statements).await?;
    let mut writes = Vec::new();
    let (mut left, mut asked) = (0, 0);
    for column in &COLUMNS {
        let found: Vec<SealedValue> = answers.rows()?;
        if found.len() >= MOST {
            left += 1;
        }
        let mut changed = Vec::new();
        for SealedValue { id, old } in found {
            let cell = Cell { table: column.table, column: column.name, row: &id };
            let Ok(opened) = config.keyring.open(cell, &old) else {
                left += 1;
                continue;
            };
            let new = config.keyring.seal(cell, opened.expose(), random()?);
            changed.push(json!({ "id": id, "old": old, "new": new }));
        }
        if changed.is_empty() {
            continue;
        }
        asked += changed.len();
        let write = begin(column.replace).bind(Value::from(changed).to_string());
        writes.push(if column.is_leased { write.bind(now) } else { write });
    }
    let mut needs: KeyNeeds = answers.row()?.unwrap_or_default();
    if !writes.is_empty() {
        let count = writes.len();
        let mut written = db.batch(writes).await?;
        let mut changed = 0;
        for _ in 0..count {
            changed += written.changes()?;
        }
        // A value under a lease, or changed meanwhile: the next run looks again.
        left += asked.saturating_sub(changed);
    }
    needs.sealed = left;
    Ok(needs)
}
