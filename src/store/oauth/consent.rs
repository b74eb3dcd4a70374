//! `oauth_consent`: what a user agreed to, once a client.

use serde_json::json;

use crate::context::Context;
use crate::id::{Id, OauthClient, User};
use crate::store::database::{Statement, sql};

/// The scopes that a user has agreed to.
#[must_use]
pub fn given(context: &Context, client: &Id<OauthClient>, user: &Id<User>) -> Statement {
    sql("select scopes as row from oauth_consent
         where tenant_id = ?1 and client_id = ?2 and user_id = ?3 and consent_given = 1")
    .bind(&context.tenant().id)
    .bind(client)
    .bind(user)
}

/// Notes that a user agrees to these scopes as well.
///
/// # Errors
/// If the platform has no randomness.
pub fn give(
    context: &Context,
    client: &Id<OauthClient>,
    user: &Id<User>,
    scopes: &[String],
) -> crate::error::Result<Statement> {
    Ok(sql(
        "insert into oauth_consent (id, tenant_id, client_id, user_id, scopes, consent_given, created_at, updated_at)
            values (?2, ?1, ?3, ?4, ?5, 1, ?6, ?6)
            on conflict (tenant_id, client_id, user_id) do update set
              scopes = (select json_group_array(distinct value) from
                          (select value from json_each(oauth_consent.scopes) where oauth_consent.consent_given = 1
                           union select value from json_each(excluded.scopes))),
              consent_given = 1, updated_at = excluded.updated_at",
    )
    .bind(&context.tenant().id)
    .bind(context.row_id()?)
    .bind(client)
    .bind(user)
    .bind(json!(scopes).to_string())
    .bind(context.now))
}
