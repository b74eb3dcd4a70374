//! Leases on access tokens: of many who find one expired at once, one refreshes it, and the others wait.

use serde::Deserialize;

use crate::platform::d1::{Statement, sql};
use crate::platform::id::{Account, Id, Millis};
use crate::request::context::Context;

/// The row that holds an access token.
#[derive(Clone, Copy)]
pub enum Holder<'a> {
    /// A user's account.
    Account(&'a Id<Account>),
    /// `system_account`, by id: its access tokens come of one refresh token.
    System(&'a str),
}

impl Holder<'_> {
    fn id(&self) -> &str {
        match self {
            Self::Account(id) => id.as_str(),
            Self::System(id) => id,
        }
    }
}

/// The statement for the table of a holder.
macro_rules! of {
    ($holder:expr, $before:literal, $after:literal) => {
        match $holder {
            Holder::Account(_) => sql(concat!($before, " account ", $after)),
            Holder::System(_) => sql(concat!($before, " system_account ", $after)),
        }
    };
}

/// Takes the lease, unless somebody has it; answers whether it was taken. It ends by itself: whoever took it may be gone.
#[must_use]
pub fn take(holder: Holder<'_>, by: &str, now: Millis, until: Millis) -> Statement {
    of!(
        holder,
        "update",
        "set leased_by = ?2, leased_until = ?4 where id = ?1 and (leased_until is null or leased_until <= ?3)
         returning json_quote(id) as row"
    )
    .bind(holder.id())
    .bind(by)
    .bind(now)
    .bind(until)
}

/// Gives the lease back after a failure, of which those who wait are told.
#[must_use]
pub fn fail(holder: Holder<'_>, by: &str, now: Millis) -> Statement {
    of!(
        holder,
        "update",
        "set leased_by = null, leased_until = null, refresh_failed_at = ?3 where id = ?1 and leased_by = ?2"
    )
    .bind(holder.id())
    .bind(by)
    .bind(now)
}

/// Gives the lease back: it is done, or there was nothing to do.
#[must_use]
pub fn release(holder: Holder<'_>, by: &str) -> Statement {
    of!(
        holder,
        "update",
        "set leased_by = null, leased_until = null, refresh_failed_at = null where id = ?1 and leased_by = ?2"
    )
    .bind(holder.id())
    .bind(by)
}

/// What whoever waits looks at.
#[derive(Clone, Debug, Deserialize)]
pub struct Standing {
    /// Until when somebody has the lease.
    pub leased_until: Option<Millis>,
    /// When a refresh last failed.
    pub refresh_failed_at: Option<Millis>,
}

/// Looks at a lease.
#[must_use]
pub fn look(holder: Holder<'_>) -> Statement {
    of!(
        holder,
        "select json_object('leased_until', leased_until, 'refresh_failed_at', refresh_failed_at) as row from",
        "where id = ?1"
    )
    .bind(holder.id())
}

/// Gives the lease back with the new token, which was sealed for the holder's column.
#[must_use]
pub fn settle_account(context: &Context, account: &Id<Account>, by: &str, new: &Settled<'_>) -> Statement {
    sql("update account set access_token_sealed = ?3, access_token_expires_at = ?4, scope = ?5, requested_scope = ?6,
                            id_token_sealed = coalesce(?7, id_token_sealed), leased_by = null, leased_until = null,
                            refresh_failed_at = null, updated_at = ?8
         where id = ?1 and leased_by = ?2")
    .bind(account)
    .bind(by)
    .bind(new.token_sealed)
    .bind(new.expires_at)
    .bind(new.scope)
    .bind(new.requested)
    .bind(new.id_token_sealed)
    .bind(context.now)
}

/// A new access token.
pub struct Settled<'a> {
    /// The token, sealed.
    pub token_sealed: &'a str,
    /// Its end.
    pub expires_at: Option<Millis>,
    /// The scopes granted.
    pub scope: &'a str,
    /// Those asked for.
    pub requested: &'a str,
    /// A new ID token, sealed.
    pub id_token_sealed: Option<&'a str>,
}

/// Keeps a new access token of a system account's.
#[must_use]
pub fn settle_system(context: &Context, row: &str, token_sealed: &str, expires_at: Option<Millis>) -> Statement {
    sql("update issuer_access_token set token_sealed = ?2, expires_at = ?3, updated_at = ?4 where id = ?1")
        .bind(row)
        .bind(token_sealed)
        .bind(expires_at)
        .bind(context.now)
}
