//! Fixed windows, counted by one statement each: of a thousand parallel requests, each sees its own number.

use serde::Deserialize;

use crate::http::cookie::Cookie;
use crate::platform::config::{Config, Limit};
use crate::platform::d1::Statement;
use crate::platform::id::Millis;
use crate::platform::secret::{Purpose, SecondFactor, SessionToken, Token, TokenHash, TrustedDevice};
use crate::platform::sql::sql;
use crate::request::context::Context;

/// A window after a request was counted in it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Window {
    /// Requests in it, this one included.
    pub count: i64,
    /// Its end.
    pub expires_at: Millis,
}

impl Window {
    /// Seconds to wait, if the limit is passed.
    #[must_use]
    pub fn retry_after(&self, limit: Limit, now: Millis) -> Option<i64> {
        (self.count > limit.count).then(|| ((self.expires_at - now) + 999).max(1000) / 1000)
    }
}

/// The key of a counter. What it counts stands there as a keyed digest.
#[must_use]
pub fn key(config: &Config, purpose: &str, tenant: &str, whom: &str) -> String {
    let digest = config.keyring.sign(Purpose::RateLimit, format!("{tenant}\0{whom}").as_bytes());
    format!("{purpose}:{digest}")
}

/// The text that counts, for what comes from `$source`. A window that is over begins anew.
macro_rules! counting {
    ($source:literal) => {
        concat!(
            "insert into rate_limit (key, count, window_started_at, last_request_at, expires_at) ",
            $source,
            " on conflict (key) do update set
                count = iif(rate_limit.expires_at <= excluded.window_started_at, 1, rate_limit.count + 1),
                window_started_at = iif(rate_limit.expires_at <= excluded.window_started_at,
                                        excluded.window_started_at, rate_limit.window_started_at),
                expires_at = iif(rate_limit.expires_at <= excluded.window_started_at,
                                 excluded.expires_at, rate_limit.expires_at),
                last_request_at = excluded.last_request_at
              returning json_object('count', count, 'expires_at', expires_at) as row"
        )
    };
}

/// Counts a request and answers its [`Window`].
#[must_use]
pub fn count(key: &str, limit: Limit, now: Millis) -> Statement {
    sql!(counting!("values (:key, 1, :now, :now, :until)"), key, now, until = now + limit.seconds * 1000)
}

/// Whether a browser is one that the user called `$name` trusts, for `where`. It is who they were when they trusted it that
/// counts, by whichever of their names.
macro_rules! trusts {
    ($device:literal, $name:literal, $pool:literal, $now:literal) => {
        concat!(
            "exists (select 1 from trusted_device d join user u on u.id = d.user_id
                     where d.token_hash = ",
            $device,
            " and d.revoked_at is null and d.expires_at > ",
            $now,
            " and u.tenant_id is ",
            $pool,
            " and u.deleted_at is null and ",
            $name,
            " in (u.email, u.username, iif(u.phone_number_verified, u.phone_number, null)))"
        )
    };
}

pub(crate) use trusts;

/// The statement that counts under one key, or under another for a browser that is trusted.
macro_rules! counting_apart {
    ($condition:literal) => {
        concat!(
            "insert into rate_limit (key, count, window_started_at, last_request_at, expires_at)
             select iif(is_trusted, :trusted_key, :key), 1, :now, :now, :until from (select ",
            trusts!(":device", ":name", ":pool", ":now"),
            " as is_trusted) where ",
            $condition,
            " on conflict (key) do update set
                count = iif(rate_limit.expires_at <= excluded.window_started_at, 1, rate_limit.count + 1),
                window_started_at = iif(rate_limit.expires_at <= excluded.window_started_at,
                                        excluded.window_started_at, rate_limit.window_started_at),
                expires_at = iif(rate_limit.expires_at <= excluded.window_started_at,
                                 excluded.expires_at, rate_limit.expires_at),
                last_request_at = excluded.last_request_at
              returning json_object('count', count, 'expires_at', expires_at) as row"
        )
    };
}

/// What the browser shows that may be trusted.
#[must_use]
pub fn trusted_device(context: &Context) -> Option<TokenHash<TrustedDevice>> {
    let device: Option<Token<TrustedDevice>> =
        context.cookie(Cookie::TrustedDevice).and_then(|text| Token::parse(&text));
    device.map(|token| token.hash())
}

/// Counts a request about somebody called `name` under `keys`: the first, or the second if the browser is one that they trust.
#[must_use]
pub fn count_apart(context: &Context, name: &str, (key, trusted_key): (&str, &str), limit: Limit) -> Statement {
    sql!(
        counting_apart!("true"),
        key,
        trusted_key,
        until = context.now + limit.seconds * 1000,
        device = trusted_device(context).as_ref(),
        name,
        pool = context.tenant().pool(),
        now = context.now
    )
}

/// The same, if what the statement before it counted under `first` was within its limit; else no row. What an address is
/// refused is no guess: it must not use up the account's limit and shut its owner out.
#[must_use]
pub fn count_apart_within(
    context: &Context,
    name: &str,
    (key, trusted_key): (&str, &str),
    limit: Limit,
    (first, first_trusted, most): (&str, &str, i64),
) -> Statement {
    sql!(
        counting_apart!(
            "changes() = 1 and (select count from rate_limit where key = iif(is_trusted, :first_trusted, :first)) <= :most"
        ),
        key,
        trusted_key,
        until = context.now + limit.seconds * 1000,
        device = trusted_device(context).as_ref(),
        name,
        pool = context.tenant().pool(),
        first,
        first_trusted,
        most,
        now = context.now
    )
}

/// Gives back what was counted: what succeeded was no guess. Not if its window is over.
#[must_use]
pub fn give_back(key: &str, now: Millis) -> Statement {
    sql!(
        "update rate_limit set count = count - 1 where key = :key and count > 0 and window_started_at <= :now",
        key,
        now
    )
}

/// Counts a request in the name of a session's user, and answers their [`Window`]; no row without such a session.
#[must_use]
pub fn count_for_session(context: &Context, purpose: &str, hash: &TokenHash<SessionToken>, limit: Limit) -> Statement {
    sql!(
        counting!(
            "select :purpose || ':' || user_id, 1, :now, :now, :until from session
             where tenant_id = :tenant and token_hash = :hash and revoked_at is null and expires_at > :now"
        ),
        tenant = &context.tenant().id,
        hash,
        purpose,
        now = context.now,
        until = context.now + limit.seconds * 1000
    )
}

/// Counts a request in the name of the user whose sign-in waits for its second factor.
#[must_use]
pub fn count_for_asked(context: &Context, purpose: &str, hash: &TokenHash<SecondFactor>, limit: Limit) -> Statement {
    sql!(
        counting!(
            "select :purpose || ':' || user_id, 1, :now, :now, :until from verification
             where tenant_id = :tenant and kind = 'second_factor' and token_hash = :hash and used_at is null and expires_at > :now"
        ),
        tenant = &context.tenant().id,
        hash,
        purpose,
        now = context.now,
        until = context.now + limit.seconds * 1000
    )
}

/// Fails, and the whole batch with it, if what was just counted in it is more than the limit: for what is counted only if
/// all else of the batch may happen.
#[must_use]
pub fn is_within(key: &str, limit: Limit) -> Statement {
    sql!(
        "select json_extract('{}', iif((select count from rate_limit where key = :key) <= :count, '$', 'doorward:broken:rate_limit')) as row",
        key,
        count = limit.count
    )
}

/// Counts what anybody may write, by network, in the batch that writes it: what is one too many is not written, and neither is
/// its count. [`error::Error`](crate::platform::error::Error) says 429 of a batch that breaks so.
#[must_use]
pub fn hold(context: &Context, purpose: &str) -> [Statement; 2] {
    let (config, tenant) = (&context.config, context.tenant().id.as_str());
    let key = key(config, purpose, tenant, &context.client().network());
    [count(&key, config.limit_flow, context.now), is_within(&key, config.limit_flow)]
}

/// Forgets what was counted: a success is no guess.
#[must_use]
pub fn reset(key: &str) -> Statement {
    sql!("delete from rate_limit where key = :key", key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_whole_seconds_and_never_none() {
        let limit = Limit { count: 3, seconds: 10 };
        let window = |count| Window { count, expires_at: 10_001 };
        assert_eq!(window(3).retry_after(limit, 0), None);
        assert_eq!(window(4).retry_after(limit, 0), Some(11));
        assert_eq!(window(4).retry_after(limit, 10_001), Some(1));
    }
}
