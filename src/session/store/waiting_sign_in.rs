//! A sign-in that waits for its second factor.

use crate::platform::d1::Statement;
use crate::platform::error;
use crate::platform::id::Millis;
use crate::platform::secret::{Cell, SecondFactor, Token};
use crate::platform::sql::sql;
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
    Ok(sql!(
        "insert into verification (id, tenant_id, kind, token_hash, identifier, user_id, payload_sealed, expires_at, created_at, updated_at)
            select :id, :tenant, 'second_factor', :hash, :login_method, :user_id, :sealed, :until, :now, :now
            where not exists (select 1 from session where id = :new_id)
              and exists (select 1 from two_factor where user_id = :user_id and verified_at is not null)
              and (:while_password is null
                   or exists (select 1 from account where user_id = :user_id and issuer_id is null and password_hash = :while_password))
              and (:claim is null or exists (select 1 from verification where id = :claim and used_by = :new_id))",
        tenant = &context.tenant().id,
        id = &id,
        hash = &token.hash(),
        user_id = new.user_id,
        sealed,
        until,
        now = context.now,
        new_id = new.id,
        while_password = new.while_password,
        claim = new.claim,
        login_method = new.login_method
    ))
}
