//! `oauth_client`.

use serde::Deserialize;
use serde_json::json;

use crate::context::Context;
use crate::id::{Id, Millis, OauthClient, User};
use crate::oauth::client::NewClient;
use crate::secret::{ClientSecret, TokenHash};
use crate::store::database::{Statement, sql};

/// An enabled client of the tenant's, or everybody's, by its `client_id`.
#[must_use]
pub fn by_client_id(context: &Context, client_id: &str) -> Statement {
    sql("select json_object(
           'id', id, 'client_id', client_id,
           'secret_hashes', json((select json_group_array(value)
              from json_each(json_array(iif(coalesce(secret_expires_at, ?3 + 1) > ?3, secret_hash, null),
                                        iif(previous_secret_expires_at > ?3, previous_secret_hash, null)))
              where value is not null)),
           'name', name, 'is_native', json(iif(type = 'native', 'true', 'false')),
           'auth_method', token_endpoint_auth_method, 'redirect_uris', json(redirect_uris), 'post_logout_redirect_uris', json(post_logout_redirect_uris),
           'grant_types', json(grant_types), 'scopes', json(scopes), 'jwks', json(jwks), 'jwks_uri', jwks_uri,
           'is_pairwise', json(iif(subject_type = 'pairwise', 'true', 'false')),
           'has_jwt_access_tokens', json(iif(access_token_format = 'jwt', 'true', 'false')),
           'skips_consent', json(iif(skip_consent, 'true', 'false')),
           'icon', icon, 'policy_uri', policy_uri, 'tos_uri', tos_uri) as row
         from oauth_client
         where client_id = ?2 and disabled = 0 and (tenant_id is null or tenant_id = ?1)")
    .bind(&context.tenant().id)
    .bind(client_id)
    .bind(context.now)
}

/// Registers a client of the tenant's.
#[must_use]
pub fn create(
    context: &Context,
    id: &Id<OauthClient>,
    client_id: &str,
    secret_hash: Option<&str>,
    new: &NewClient,
    by: Option<&Id<User>>,
) -> Statement {
    let [uri, icon, policy_uri, tos_uri] = &new.uris;
    sql("insert into oauth_client
           (id, tenant_id, client_id, secret_hash, secret_expires_at, name, type, token_endpoint_auth_method, redirect_uris,
            grant_types, scopes, jwks, jwks_uri, subject_type, access_token_format, skip_consent, icon, uri, policy_uri, tos_uri,
            contacts, user_id, created_at, updated_at, post_logout_redirect_uris)
         values (?2, ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?23, ?24)")
    .bind(&context.tenant().id)
    .bind(id)
    .bind(client_id)
    .bind(secret_hash)
    .bind(new.secret_expires_at)
    .bind(&new.name)
    .bind(if new.is_native { "native" } else { "web" })
    .bind(new.auth_method.as_str())
    .bind(json!(new.redirect_uris).to_string())
    .bind(json!(new.grant_types).to_string())
    .bind(json!(new.scopes).to_string())
    .bind(new.jwks.as_ref().map(ToString::to_string))
    .bind(new.jwks_uri.as_ref())
    .bind(if new.is_pairwise { "pairwise" } else { "public" })
    .bind(if new.has_jwt_access_tokens { "jwt" } else { "opaque" })
    .bind(new.skips_consent)
    .bind(icon.as_ref())
    .bind(uri.as_ref())
    .bind(policy_uri.as_ref())
    .bind(tos_uri.as_ref())
    .bind(json!(new.contacts).to_string())
    .bind(by)
    .bind(context.now)
    .bind(json!(new.post_logout_redirect_uris).to_string())
}

/// A client, as administrators see it.
#[derive(Debug, Deserialize)]
pub struct Listed {
    /// `client_id`.
    pub client_id: String,
    /// Name.
    pub name: String,
    /// How it authenticates.
    pub auth_method: String,
    /// Where its users are sent back.
    pub redirect_uris: Vec<String>,
    /// What it may ask for.
    pub grant_types: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Whether it is switched off.
    pub disabled: bool,
    /// Whether its users are not asked.
    pub skips_consent: bool,
    /// Who registered it.
    pub user_id: Option<String>,
    /// Registration.
    pub created_at: Millis,
    /// Last change.
    pub updated_at: Millis,
}

/// The select of a [`Listed`], for what follows `from`.
macro_rules! listed {
    ($source:literal) => {
        sql(concat!(
            "select json_object('client_id', client_id, 'name', name, 'auth_method', token_endpoint_auth_method,
                    'redirect_uris', json(redirect_uris), 'grant_types', json(grant_types), 'scopes', json(scopes),
                    'disabled', json(iif(disabled, 'true', 'false')), 'skips_consent', json(iif(skip_consent, 'true', 'false')),
                    'user_id', user_id, 'created_at', created_at, 'updated_at', updated_at) as row from oauth_client where ",
            $source
        ))
    };
}

/// The tenant's clients, the newest first.
#[must_use]
pub fn of_tenant(context: &Context) -> Statement {
    listed!("tenant_id = ?1 order by created_at desc limit 200").bind(&context.tenant().id)
}

/// A client of the tenant's.
#[must_use]
pub fn one(context: &Context, client_id: &str) -> Statement {
    listed!("tenant_id = ?1 and client_id = ?2").bind(&context.tenant().id).bind(client_id)
}

/// Gives a client another secret; the one before is good until a time.
#[must_use]
pub fn rotate_secret(context: &Context, client_id: &str, hash: &TokenHash<ClientSecret>, until: Millis) -> Statement {
    sql("update oauth_client set previous_secret_hash = secret_hash, previous_secret_expires_at = ?4, secret_hash = ?3,
                                 secret_expires_at = null, updated_at = ?5
         where tenant_id = ?1 and client_id = ?2 and secret_hash is not null")
    .bind(&context.tenant().id)
    .bind(client_id)
    .bind(hash)
    .bind(until)
    .bind(context.now)
}

/// Switches a client off or on.
#[must_use]
pub fn disable(context: &Context, client_id: &str, disabled: bool) -> Statement {
    sql("update oauth_client set disabled = ?3, updated_at = ?4 where tenant_id = ?1 and client_id = ?2")
        .bind(&context.tenant().id)
        .bind(client_id)
        .bind(disabled)
        .bind(context.now)
}

/// Deletes a client.
#[must_use]
pub fn delete(context: &Context, client_id: &str) -> Statement {
    sql("delete from oauth_client where tenant_id = ?1 and client_id = ?2").bind(&context.tenant().id).bind(client_id)
}
