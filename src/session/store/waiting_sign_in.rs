//! A sign-in that waits for its second factor.

use crate::platform::d1::{Statement, sql};
use crate::platform::error;
use crate::platform::id::Millis;
use crate::platform::secret::{Cell, SecondFactor, Token};
use crate::request::context::Context;
use crate::session::store::session::NewSession;

/// Keeps a sign-in waiting, if its session was not opened because the user has a second factor.
///
/// # Errors
/// If the platform has no randomness.
pub fn ask(
    context: &Context,
    new: &NewSession<'_>,
    token: &Token<SecondFactor>,
    payload: &[u8],
    until: Millis,
) -> error::Result<Statement> {
    let id = context.row_id()?;
    let cell = Cell { table: "verification", column: "payload_sealed", row: &id };
    let sealed = context.config.keyring.seal(cell, payload, context.random()?);
    Ok(sql("insert into verification (id, tenant_id, kind, token_hash, identifier, user_id, payload_sealed, expires_at, created_at, updated_at)
            select ?2, ?1, 'second_factor', ?3, ?11, ?4, ?5, ?6, ?7, ?7
            where not exists (select 1 from session where id = ?8)
              and exists (select 1 from two_factor where user_id = ?4 and verified_at is not null)
              and (?9 is null
                   or exists (select 1 from account where user_id = ?4 and issuer_id is null and password_hash = ?9))
              and (?10 is null or exists (select 1 from verification where id = ?10 and used_by = ?8))")
    .bind(&context.tenant().id)
    .bind(&id)
    .bind(&token.hash())
    .bind(new.user_id)
    .bind(sealed)
    .bind(until)
    .bind(context.now)
    .bind(new.id)
    .bind(new.while_password)
    .bind(new.claim)
    .bind(new.login_method))
}
