//! `oauth_client`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::platform::d1::{Statement, sql};
use crate::platform::id::{Id, Millis, OauthClient, User};
use crate::platform::secret::{ClientSecret, RegistrationToken, TokenHash};
use crate::provider::client::NewClient;
use crate::request::context::Context;

/// An enabled client of the tenant's, or everybody's, by its `client_id`. A user's own is good for as long as they are.
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
           'icon', icon, 'client_uri', uri, 'policy_uri', policy_uri, 'tos_uri', tos_uri,
           'backchannel_logout_uri', backchannel_logout_uri, 'frontchannel_logout_uri', frontchannel_logout_uri, 'details', json(details),
           'document_read_at', document_read_at,
           'issuer', ?4,
           'is_vouched_for', json(iif(user_id is null and registration_token_hash is null and document_read_at is null, 'true', 'false')),
           'known_resources', (select json_group_array(value) from (
              select r.details ->> '$.resource' as value from oauth_client r
              where r.tenant_id = ?1 and r.details ->> '$.resource' is not null and r.disabled = 0
              union
              select named.value from oauth_client r, json_each(r.details, '$.resources') named
              where r.tenant_id = ?1 and r.details -> '$.resources' is not null and r.disabled = 0
                and r.user_id is null and r.registration_token_hash is null and r.document_read_at is null))) as row
         from oauth_client
         where client_id = ?2 and disabled = 0 and (tenant_id is null or tenant_id = ?1)
           and (user_id is null or exists (select 1 from user u where u.id = oauth_client.user_id and u.status = 'active'))")
    .bind(&context.tenant().id)
    .bind(client_id)
    .bind(context.now)
    .bind(context.auth_origin().as_str())
}

/// What a new client is known by.
pub struct NewRow<'a> {
    /// `oauth_client.id`.
    pub id: &'a Id<OauthClient>,
    /// `client_id`.
    pub client_id: &'a str,
    /// The hash of its secret.
    pub secret: Option<&'a TokenHash<ClientSecret>>,
    /// The hash of what it changes its registration with.
    pub registration: Option<&'a TokenHash<RegistrationToken>>,
    /// Whose it is; none is the tenant's.
    pub owner: Option<&'a Id<User>>,
}

/// Registers a client of the tenant's.
#[must_use]
pub fn create(context: &Context, row: &NewRow<'_>, new: &NewClient) -> Statement {
    let statement = sql("insert into oauth_client
           (id, tenant_id, client_id, secret_hash, registration_token_hash, user_id, created_at, updated_at,
            name, type, token_endpoint_auth_method, redirect_uris, post_logout_redirect_uris, grant_types, scopes, jwks, jwks_uri,
            subject_type, access_token_format, skip_consent, uri, icon, policy_uri, tos_uri, contacts, backchannel_logout_uri,
            frontchannel_logout_uri, details)
         values (?2, ?1, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24,
                 ?25, ?26, ?27)")
    .bind(&context.tenant().id)
    .bind(row.id)
    .bind(row.client_id)
    .bind(row.secret)
    .bind(row.registration)
    .bind(row.owner)
    .bind(context.now);
    with_metadata(statement, new)
}

/// Keeps what a client's own document says of it, for every tenant: it is the same everywhere.
#[must_use]
pub fn keep_document(
    context: &Context,
    id: &Id<OauthClient>,
    url: &str,
    read_at: Millis,
    new: &NewClient,
) -> Statement {
    let statement = sql("insert into oauth_client
           (id, client_id, document_read_at, created_at, updated_at,
            name, type, token_endpoint_auth_method, redirect_uris, post_logout_redirect_uris, grant_types, scopes, jwks, jwks_uri,
            subject_type, access_token_format, skip_consent, uri, icon, policy_uri, tos_uri, contacts, backchannel_logout_uri,
            frontchannel_logout_uri, details)
         values (?1, ?2, ?24, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)
         on conflict (client_id) do update set
           document_read_at = excluded.document_read_at, updated_at = excluded.updated_at,
           name = excluded.name, type = excluded.type, token_endpoint_auth_method = excluded.token_endpoint_auth_method,
           redirect_uris = excluded.redirect_uris, post_logout_redirect_uris = excluded.post_logout_redirect_uris,
           grant_types = excluded.grant_types, scopes = excluded.scopes, jwks = excluded.jwks, jwks_uri = excluded.jwks_uri,
           subject_type = excluded.subject_type, access_token_format = excluded.access_token_format, uri = excluded.uri,
           icon = excluded.icon, policy_uri = excluded.policy_uri, tos_uri = excluded.tos_uri, contacts = excluded.contacts,
           backchannel_logout_uri = excluded.backchannel_logout_uri,
           frontchannel_logout_uri = excluded.frontchannel_logout_uri, details = excluded.details
         where oauth_client.tenant_id is null and oauth_client.document_read_at is not null")
    .bind(id)
    .bind(url)
    .bind(context.now);
    with_metadata(statement, new).bind(read_at)
}

/// Puts off reading a client's document again, by the time that counts as the last one.
#[must_use]
pub fn read_later(context: &Context, url: &str, read_at: Millis) -> Statement {
    sql("update oauth_client set document_read_at = ?2, updated_at = ?3 where client_id = ?1 and document_read_at is not null")
        .bind(url)
        .bind(read_at)
        .bind(context.now)
}

/// Who may change a client.
#[derive(Clone, Copy)]
pub enum Keeper<'a> {
    /// Every administrator of the tenant.
    Tenant,
    /// Those of the default tenant, who look after every tenant's clients as well.
    Everybody,
    /// The user whose it is.
    Owner(&'a Id<User>),
    /// The client itself (RFC 7592, section 3).
    Itself(&'a TokenHash<RegistrationToken>),
}

impl<'a> Keeper<'a> {
    const fn is_everybody(self) -> bool {
        matches!(self, Self::Everybody)
    }

    const fn parts(self) -> (Option<&'a Id<User>>, Option<&'a TokenHash<RegistrationToken>>) {
        match self {
            Self::Tenant | Self::Everybody => (None, None),
            Self::Owner(user) => (Some(user), None),
            Self::Itself(token) => (None, Some(token)),
        }
    }
}

/// Gives a client other metadata, if it is as it was when it was read, and, if it is to have one from now on, a secret. One that
/// authenticates otherwise has none.
#[must_use]
pub fn replace(
    context: &Context,
    client_id: &str,
    keeper: Keeper<'_>,
    new: &NewClient,
    (read_at, secret): (Millis, Option<&TokenHash<ClientSecret>>),
) -> Statement {
    let (owner, token) = keeper.parts();
    let statement = sql("update oauth_client set
           secret_hash = iif(?28, coalesce(?5, secret_hash), null), previous_secret_hash = iif(?28, previous_secret_hash, null),
           previous_secret_expires_at = iif(?28, previous_secret_expires_at, null), updated_at = max(?6, updated_at + 1),
           name = ?8, type = ?9, token_endpoint_auth_method = ?10, redirect_uris = ?11, post_logout_redirect_uris = ?12,
           grant_types = ?13, scopes = ?14, jwks = ?15, jwks_uri = ?16, subject_type = ?17, access_token_format = ?18,
           skip_consent = ?19, uri = ?20, icon = ?21, policy_uri = ?22, tos_uri = ?23, contacts = ?24,
           backchannel_logout_uri = ?25, frontchannel_logout_uri = ?26, details = ?27
         where tenant_id = ?1 and client_id = ?2 and updated_at = ?7
           and (?3 is null or user_id = ?3) and (?4 is null or registration_token_hash = ?4)")
    .bind(&context.tenant().id)
    .bind(client_id)
    .bind(owner)
    .bind(token)
    .bind(secret)
    .bind(context.now)
    .bind(read_at);
    with_metadata(statement, new).bind(new.auth_method.has_secret())
}

/// Binds the metadata, in the order of every statement above.
fn with_metadata(statement: Statement, new: &NewClient) -> Statement {
    let [uri, icon, policy_uri, tos_uri] = &new.uris;
    statement
        .bind(&new.name)
        .bind(if new.is_native { "native" } else { "web" })
        .bind(new.auth_method.as_str())
        .bind(json!(new.redirect_uris).to_string())
        .bind(json!(new.post_logout_redirect_uris).to_string())
        .bind(json!(new.grant_types).to_string())
        .bind(json!(new.scopes).to_string())
        .bind(new.jwks.as_ref().map(ToString::to_string))
        .bind(new.jwks_uri.as_ref())
        .bind(if new.is_pairwise { "pairwise" } else { "public" })
        .bind(if new.has_jwt_access_tokens { "jwt" } else { "opaque" })
        .bind(new.skips_consent)
        .bind(uri.as_ref())
        .bind(icon.as_ref())
        .bind(policy_uri.as_ref())
        .bind(tos_uri.as_ref())
        .bind(json!(new.contacts).to_string())
        .bind(new.backchannel_logout_uri.as_ref())
        .bind(new.frontchannel_logout_uri.as_ref())
        .bind(json!(new.details).to_string())
}

/// A client, as whoever looks after it sees it.
#[derive(Debug, Deserialize)]
pub struct Listed {
    /// `client_id`.
    pub client_id: String,
    /// Its metadata, by its members' own names (RFC 7591, section 2).
    pub metadata: Map<String, Value>,
    /// Whether it is switched off.
    pub disabled: bool,
    /// The hash of its secret.
    pub secret_hash: Option<String>,
    /// Whose it is; none is the tenant's.
    pub user_id: Option<String>,
    /// Registration.
    pub created_at: Millis,
    /// Last change.
    pub updated_at: Millis,
}

/// The select of a [`Listed`], for what follows `from`. A patch leaves out what is null (RFC 7396).
macro_rules! listed {
    ($source:literal) => {
        sql(concat!(
            "select json_object('client_id', client_id, 'disabled', json(iif(disabled, 'true', 'false')), 'user_id', user_id,
                    'created_at', created_at, 'updated_at', updated_at, 'secret_hash', secret_hash,
                    'metadata', json(json_patch(details, json_object(
                       'client_name', name, 'application_type', type, 'token_endpoint_auth_method', token_endpoint_auth_method,
                       'redirect_uris', json(redirect_uris), 'post_logout_redirect_uris', json(post_logout_redirect_uris),
                       'grant_types', json(grant_types), 'response_types', json_array('code'),
                       'scope', coalesce((select group_concat(value, ' ') from json_each(scopes)), ''), 'jwks', json(jwks),
                       'jwks_uri', jwks_uri, 'subject_type', subject_type, 'access_token_format', access_token_format,
                       'skip_consent', json(iif(skip_consent, 'true', 'false')), 'client_uri', uri, 'logo_uri', icon,
                       'policy_uri', policy_uri, 'tos_uri', tos_uri, 'contacts', json(contacts),
                       'backchannel_logout_uri', backchannel_logout_uri,
                       'frontchannel_logout_uri', frontchannel_logout_uri)))) as row
             from oauth_client where ",
            $source
        ))
    };
}

/// The clients that somebody looks after, the newest first.
#[must_use]
pub fn of(context: &Context, keeper: Keeper<'_>) -> Statement {
    // Of each kind the newest by its index: where clients register themselves there are many.
    let statement = match keeper.parts().0 {
        Some(_) => listed!(
            "id in (select id from oauth_client indexed by oauth_client_user_id where user_id = ?2 and tenant_id = ?1 and not ?3)
             order by created_at desc limit 200"
        ),
        None => listed!(
            "id in (select id from (select id from oauth_client where tenant_id = ?1 and ?2 is null order by created_at desc limit 200)
                    union all
                    select id from (select id from oauth_client where tenant_id is null and ?3 order by created_at desc limit 200))
             order by created_at desc limit 200"
        ),
    };
    statement.bind(&context.tenant().id).bind(keeper.parts().0).bind(keeper.is_everybody())
}

/// A client that somebody looks after.
#[must_use]
pub fn one(context: &Context, client_id: &str, keeper: Keeper<'_>) -> Statement {
    let (owner, token) = keeper.parts();
    listed!(
        "client_id = ?2 and (tenant_id = ?1 or (?5 and tenant_id is null))
           and (?3 is null or user_id = ?3) and (?4 is null or registration_token_hash = ?4)"
    )
    .bind(&context.tenant().id)
    .bind(client_id)
    .bind(owner)
    .bind(token)
    .bind(keeper.is_everybody())
}

/// Gives a client another secret; the one before is good until a time.
#[must_use]
pub fn rotate_secret(
    context: &Context,
    client_id: &str,
    keeper: Keeper<'_>,
    hash: &TokenHash<ClientSecret>,
    until: Millis,
) -> Statement {
    sql("update oauth_client set previous_secret_hash = secret_hash, previous_secret_expires_at = ?5, secret_hash = ?4,
                                 secret_expires_at = null, updated_at = ?6
         where tenant_id = ?1 and client_id = ?2 and secret_hash is not null and (?3 is null or user_id = ?3)")
    .bind(&context.tenant().id)
    .bind(client_id)
    .bind(keeper.parts().0)
    .bind(hash)
    .bind(until)
    .bind(context.now)
}

/// Switches a client off or on.
#[must_use]
pub fn disable(context: &Context, client_id: &str, keeper: Keeper<'_>, disabled: bool) -> Statement {
    sql("update oauth_client set disabled = ?3, updated_at = ?4
         where client_id = ?2 and (tenant_id = ?1 or (?5 and tenant_id is null))")
    .bind(&context.tenant().id)
    .bind(client_id)
    .bind(disabled)
    .bind(context.now)
    .bind(keeper.is_everybody())
}

/// Deletes a client.
#[must_use]
pub fn delete(context: &Context, client_id: &str, keeper: Keeper<'_>) -> Statement {
    let (owner, token) = keeper.parts();
    sql("delete from oauth_client
         where client_id = ?2 and (tenant_id = ?1 or (?5 and tenant_id is null))
           and (?3 is null or user_id = ?3) and (?4 is null or registration_token_hash = ?4)")
    .bind(&context.tenant().id)
    .bind(client_id)
    .bind(owner)
    .bind(token)
    .bind(keeper.is_everybody())
}
