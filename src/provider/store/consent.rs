//! `oauth_consent`: what a user agreed to, once a client.

use serde::Deserialize;
use serde_json::json;

use crate::platform::d1::Statement;
use crate::platform::error;
use crate::platform::id::{Id, Millis, OauthClient, User};
use crate::platform::sql::sql;
use crate::request::context::Context;

/// The scopes that a user has agreed to.
#[must_use]
pub fn given(context: &Context, client: &Id<OauthClient>, user: &Id<User>) -> Statement {
    sql!(
        "select scopes as row from oauth_consent
         where tenant_id = :tenant and client_id = :client and user_id = :user and consent_given = 1",
        tenant = &context.tenant().id,
        client,
        user
    )
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
) -> error::Result<Statement> {
    Ok(sql!(
        "insert into oauth_consent (id, tenant_id, client_id, user_id, scopes, consent_given, created_at, updated_at)
            values (:id, :tenant, :client, :user, :scopes, 1, :now, :now)
            on conflict (tenant_id, client_id, user_id) do update set
              scopes = (select json_group_array(distinct value) from
                          (select value from json_each(oauth_consent.scopes) where oauth_consent.consent_given = 1
                           union select value from json_each(excluded.scopes))),
              consent_given = 1, updated_at = excluded.updated_at",
        tenant = &context.tenant().id,
        id = context.row_id()?,
        client,
        user,
        scopes = json!(scopes).to_string(),
        now = context.now
    ))
}

/// What a user agreed to, as they see it.
#[derive(Debug, Deserialize)]
pub struct ListedConsent {
    /// Id.
    pub id: String,
    /// `client_id`.
    pub client_id: String,
    /// What the client is called.
    pub client_name: String,
    /// Scopes.
    pub scopes: Vec<String>,
    /// First time.
    pub created_at: Millis,
    /// Last change.
    pub updated_at: Millis,
}

/// What a user agreed to, the newest first.
#[must_use]
pub fn of_user(context: &Context, user: &Id<User>) -> Statement {
    sql!(
        "select json_object('id', o.id, 'client_id', c.client_id, 'client_name', c.name, 'scopes', json(o.scopes),
                            'created_at', o.created_at, 'updated_at', o.updated_at) as row
         from oauth_consent o join oauth_client c on c.id = o.client_id
         where o.tenant_id = :tenant and o.user_id = :user and o.consent_given = 1 order by o.updated_at desc limit 200",
        tenant = &context.tenant().id,
        user
    )
}

/// Takes it back.
#[must_use]
pub fn withdraw(context: &Context, user: &Id<User>, id: &str) -> Statement {
    sql!(
        "update oauth_consent set consent_given = 0, scopes = '[]', updated_at = :now
         where tenant_id = :tenant and user_id = :user and id = :id and consent_given = 1",
        tenant = &context.tenant().id,
        user,
        id,
        now = context.now
    )
}
