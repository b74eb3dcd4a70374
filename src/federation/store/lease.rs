//! Leases on access tokens: of many who find one expired at once, one refreshes it, and the others wait.

use serde::Deserialize;

use crate::platform::d1::Statement;
use crate::platform::id::{Account, Id, Millis};
use crate::platform::sql::sql;
use crate::request::context::Context;

/// The row that holds an access token.
#[derive(Clone, Copy)]
pub enum LeaseHolder<'a> {
    /// A user's account.
    Account(&'a Id<Account>),
    /// `system_account`, by id: its access tokens come of one refresh token.
    System(&'a str),
}

impl LeaseHolder<'_> {
    fn id(&self) -> &str {
        match self {
            Self::Account(id) => id.as_str(),
            Self::System(id) => id,
        }
    }
}

/// The statement for the table of a holder.
macro_rules! of {
    ($holder:ident, $before:literal, $after:literal $(, $name:ident)*) => {
        sql!(
            match $holder {
                LeaseHolder::Account(_) => concat!($before, " account ", $after),
                LeaseHolder::System(_) => concat!($before, " system_account ", $after),
            }
            $(, $name)*,
            id = $holder.id()
        )
    };
}

/// Takes the lease, unless somebody has it; answers whether it was taken. It ends by itself: whoever took it may be gone.
#[must_use]
pub fn take(holder: LeaseHolder<'_>, by: &str, now: Millis, until: Millis) -> Statement {
    of!(
        holder,
        "update",
        "set leased_by = :by, leased_until = :until where id = :id and (leased_until is null or leased_until <= :now)
         returning json_quote(id) as row",
        by,
        now,
        until
    )
}

/// Gives the lease back after a failure, of which those who wait are told.
#[must_use]
pub fn fail(holder: LeaseHolder<'_>, by: &str, now: Millis) -> Statement {
    of!(
        holder,
        "update",
        "set leased_by = null, leased_until = null, refresh_failed_at = :now where id = :id and leased_by = :by",
        by,
        now
    )
}

/// Gives the lease back: it is done, or there was nothing to do.
#[must_use]
pub fn release(holder: LeaseHolder<'_>, by: &str) -> Statement {
    of!(
        holder,
        "update",
        "set leased_by = null, leased_until = null, refresh_failed_at = null where id = :id and leased_by = :by",
        by
    )
}

/// What whoever waits looks at.
#[derive(Clone, Debug, Deserialize)]
pub struct LeaseState {
    /// Until when somebody has the lease.
    pub leased_until: Option<Millis>,
    /// When a refresh last failed.
    pub refresh_failed_at: Option<Millis>,
}

/// Looks at a lease.
#[must_use]
pub fn look(holder: LeaseHolder<'_>) -> Statement {
    of!(
        holder,
        "select json_object('leased_until', leased_until, 'refresh_failed_at', refresh_failed_at) as row from",
        "where id = :id"
    )
}

/// Gives the lease back with the new token, which was sealed for the holder's column.
#[must_use]
pub fn settle_account(context: &Context, account: &Id<Account>, by: &str, new: &Settled<'_>) -> Statement {
    sql!(
        "update account set access_token_sealed = :token_sealed, access_token_expires_at = :expires_at, scope = :scope, requested_scope = :requested,
                            id_token_sealed = coalesce(:id_token_sealed, id_token_sealed), leased_by = null, leased_until = null,
                            refresh_failed_at = null, updated_at = :now
         where id = :account and leased_by = :by",
        account,
        by,
        token_sealed = new.token_sealed,
        expires_at = new.expires_at,
        scope = new.scope,
        requested = new.requested,
        id_token_sealed = new.id_token_sealed,
        now = context.now
    )
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
    sql!(
        "update issuer_access_token set token_sealed = :token_sealed, expires_at = :expires_at, updated_at = :now where id = :id",
        id = row,
        token_sealed,
        expires_at,
        now = context.now
    )
}
