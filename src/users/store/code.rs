//! Short codes in `verification`: six digits that somebody was sent, tried a counted number of times.
//!
//! A code has too few digits for its hash to hide it, so what is kept is a digest keyed with a secret of ours.

use serde::Deserialize;
use serde_json::json;

use crate::platform::d1::{Answers, Statement, StoreError, Stored};
use crate::platform::error;
use crate::platform::id::{Id, Millis};
use crate::platform::secret::Purpose;
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::request::store::rate_limit::{trusted_device, trusts};
use crate::users::store::sign_in::{Counter, Watched};

/// How often a code is tried, right or wrong.
pub const MOST_ATTEMPTS: i64 = 3;

/// What a code is good for. One for signing in sets no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// Signing in by mail.
    SignIn,
    /// Proving an address.
    EmailProof,
    /// Setting a password, by mail.
    Reset,
    /// Proving a new address.
    ChangeEmail,
    /// Proving a phone number, and signing in by it.
    Phone,
    /// Setting a password, by phone.
    PhoneReset,
    /// A second factor.
    SecondFactor,
}

impl CodeKind {
    const fn name(self) -> &'static str {
        match self {
            Self::SignIn => "code_sign_in",
            Self::EmailProof => "code_email_proof",
            Self::Reset => "code_reset",
            Self::ChangeEmail => "code_change_email",
            Self::Phone => "code_phone",
            Self::PhoneReset => "code_phone_reset",
            Self::SecondFactor => "code_second_factor",
        }
    }
}

/// Ends the codes that were sent to somebody to sign in or to set a password with.
#[must_use]
pub fn forget(context: &Context, email: &str, phone: Option<&str>) -> Statement {
    sql!(
        "update verification set used_at = :now, updated_at = :now
         where tenant_id = :tenant and used_at is null and identifier in (:email, :phone)
           and kind in ('code_sign_in', 'code_reset', 'code_phone', 'code_phone_reset')",
        tenant = &context.tenant().id,
        email,
        phone,
        now = context.now
    )
}

/// A code of six digits, from random bytes: the remainder's bias is one in 2^44.
#[must_use]
pub fn digits(random: [u8; 8]) -> String {
    format!("{:06}", u64::from_le_bytes(random) % 1_000_000)
}

/// What a code is known by. People type it in groups, and editors and mail programs put in spaces and dashes of their own.
fn message(context: &Context, kind: CodeKind, identifier: &str, code: &str) -> Vec<u8> {
    let code: String = code.chars().filter(|c| c.is_alphanumeric()).collect();
    format!("{}\0{}\0{identifier}\0{code}", context.tenant().id, kind.name()).into_bytes()
}

/// Keeps a code in the place of those before it.
///
/// # Errors
/// If the platform has no randomness.
pub fn issue(context: &Context, kind: CodeKind, identifier: &str, code: &str) -> error::Result<[Statement; 2]> {
    let digest = context.config.keyring.sign(Purpose::Code, &message(context, kind, identifier, code));
    Ok([
        sql!(
            "update verification set used_at = :now, updated_at = :now
             where tenant_id = :tenant and kind = :name and identifier = :identifier and used_at is null",
            tenant = &context.tenant().id,
            name = kind.name(),
            identifier,
            now = context.now
        ),
        // The same six digits may have been sent before.
        sql!(
            "insert into verification (id, tenant_id, kind, token_hash, identifier, expires_at, created_at, updated_at)
             values (:id, :tenant, :name, :digest, :identifier, :expires_at, :now, :now)
             on conflict (kind, token_hash) do update set
               id = excluded.id, expires_at = excluded.expires_at, attempts = 0, used_at = null, used_by = null,
               created_at = excluded.created_at, updated_at = excluded.updated_at",
            tenant = &context.tenant().id,
            id = context.row_id()?,
            name = kind.name(),
            digest,
            identifier,
            expires_at = context.now + context.config.code_seconds * 1000,
            now = context.now
        ),
    ])
}

/// How a code fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was the right one, and is used up.
    Right,
    /// It was not.
    Wrong,
    /// There is none to be right.
    None,
    /// It was tried too often, right or wrong.
    TooManyAttempts,
    /// It came too late.
    Expired,
}

/// What became of the code that was tried.
#[derive(Deserialize)]
struct Tried {
    attempts: i64,
    expires_at: Millis,
}

/// Whether one of the counters is over its limit, for `where`: those of a trusted browser, if it is one.
macro_rules! over {
    ($counters:literal, $device:literal, $name:literal, $pool:literal, $now:literal) => {
        concat!(
            "exists (select 1 from (select ",
            trusts!($device, $name, $pool, $now),
            " as is_trusted), json_each(",
            $counters,
            ") c join rate_limit r on r.key = iif(is_trusted, c.value ->> '$.apart', c.value ->> '$.key')
                     where r.count > c.value ->> '$.most')"
        )
    };
}

/// Tries a code, and uses it up unless it is `kept`; every wrong one is counted. With `counters`, nothing is tried once
/// one of them is over its limit.
#[must_use]
pub fn redeem(
    context: &Context,
    kind: CodeKind,
    identifier: &str,
    code: &str,
    watched: Option<&Watched>,
    kept: bool,
) -> [Statement; 2] {
    let digests = context.config.keyring.digests(Purpose::Code, &message(context, kind, identifier, code));
    let counters = watched.map_or("[]", |watched| watched.counters.as_str());
    let (device, name) = (watched.and_then(|watched| watched.device.as_ref()), watched.map(|watched| &*watched.name));
    let pool = context.tenant().pool();
    [
        sql!(
            concat!(
            "update verification set used_at = iif(:kept, null, :now), updated_at = :now
             where tenant_id = :tenant and kind = :kind and identifier = :identifier
               and token_hash in (select value from json_each(:digests))
               and used_at is null and expires_at > :now and attempts < :most_attempts
               and not ",
            over!(":counters", ":device", ":name", ":pool", ":now"),
            " returning json_quote(id) as row"
        ),
            tenant = &context.tenant().id,
            kind = kind.name(),
            identifier,
            digests = json!(digests).to_string(),
            now = context.now,
            most_attempts = MOST_ATTEMPTS,
            counters,
            kept,
            device,
            name,
            pool
        ),
        // Whatever is left of that name now was not guessed. It goes once it was tried too often, or came too late.
        sql!(
            concat!(
            "update verification set
               attempts = attempts + 1, used_at = iif(attempts >= :most_attempts or expires_at <= :now, :now, null), updated_at = :now
             where tenant_id = :tenant and kind = :kind and identifier = :identifier and used_at is null
               and not (:kept and changes() = 1)
               and not ",
            over!(":counters", ":device", ":name", ":pool", ":now"),
            " returning json_object('attempts', attempts, 'expires_at', expires_at) as row"
        ),
            tenant = &context.tenant().id,
            kind = kind.name(),
            identifier,
            now = context.now,
            most_attempts = MOST_ATTEMPTS,
            counters,
            kept,
            device,
            name,
            pool
        ),
    ]
}

/// Whether [`redeem`], before it in the batch, found the code right and used it up.
macro_rules! was_right {
    () => {
        "exists (select 1 from verification
                 where tenant_id = :tenant and kind = :kind and identifier = :identifier
                   and token_hash in (select value from json_each(:digests))
                   and used_at = :now and attempts < :most_attempts)"
    };
}

/// Forgets what was counted before a code that was right, in the batch that found it so: who has it was sent it, and guessed at
/// nothing.
#[must_use]
pub fn forgive(
    context: &Context,
    kind: CodeKind,
    identifier: &str,
    code: &str,
    (forgotten, network): (&[&str], &Counter),
) -> [Statement; 2] {
    let digests = context.config.keyring.digests(Purpose::Code, &message(context, kind, identifier, code));
    let digests = json!(digests).to_string();
    [
        sql!(
            concat!("delete from rate_limit where key in (select value from json_each(:forgotten)) and ", was_right!()),
            tenant = &context.tenant().id,
            kind = kind.name(),
            identifier,
            digests = digests.as_str(),
            now = context.now,
            most_attempts = MOST_ATTEMPTS,
            forgotten = json!(forgotten).to_string()
        ),
        sql!(
            concat!(
                "update rate_limit set count = count - 1
                 where key = iif(",
                trusts!(":device", ":identifier", ":pool", ":now"),
                ", :trusted_key, :key) and count > 0 and window_started_at <= :now and ",
                was_right!()
            ),
            tenant = &context.tenant().id,
            kind = kind.name(),
            identifier,
            digests = digests.as_str(),
            now = context.now,
            most_attempts = MOST_ATTEMPTS,
            key = &network.key,
            trusted_key = &network.apart,
            device = trusted_device(context).as_ref(),
            pool = context.tenant().pool()
        ),
    ]
}

/// Reads what [`redeem`] answered.
///
/// # Errors
/// If the rows cannot be.
pub fn verdict(answers: &mut Answers, now: Millis) -> Stored<Verdict> {
    let right: Option<Id<()>> = answers.row()?;
    let tried: Option<Tried> = answers.row()?;
    Ok(match (right, tried) {
        (Some(_), _) => Verdict::Right,
        (None, None) => Verdict::None,
        (None, Some(tried)) if tried.expires_at <= now => Verdict::Expired,
        (None, Some(tried)) if tried.attempts > MOST_ATTEMPTS => Verdict::TooManyAttempts,
        (None, Some(_)) => Verdict::Wrong,
    })
}

/// Runs [`redeem`] alone.
///
/// # Errors
/// If D1 does not answer.
pub async fn try_alone(context: &Context, kind: CodeKind, identifier: &str, code: &str) -> Result<Verdict, StoreError> {
    let statements = redeem(context, kind, identifier, code, None, false);
    let mut answers = context.db()?.batch(statements).await?;
    verdict(&mut answers, context.now)
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn six_digits_leading_zeros_kept() {
        assert_eq!(digits([0; 8]), "000000");
        assert_eq!(digits(1_234_567u64.to_le_bytes()), "234567");
    }
}
