//! `oauth_client`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::platform::d1::Statement;
use crate::platform::id::{Id, Millis, OauthClient, User};
use crate::platform::secret::{ClientSecret, RegistrationToken, TokenHash};
use crate::platform::sql::sql;
use crate::provider::client::NewClient;
use crate::request::context::Context;

/// An enabled client of the tenant's, or everybody's, by its `client_id`. A user's own is good for as long as they are.
#[must_use]
pub fn by_client_id(context: &Context, client_id: &str) -> Statement {
    sql!(
        "select json_object(
           'id', id, 'client_id', client_id,
           'secret_hashes', json((select json_group_array(value)
              from json_each(json_array(iif(coalesce(secret_expires_at, :now + 1) > :now, secret_hash, null),
                                        iif(previous_secret_expires_at > :now, previous_secret_hash, null)))
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
           'issuer', :auth_origin,
           'is_vouched_for', json(iif(user_id is null and registration_token_hash is null and document_read_at is null, 'true', 'false')),
           'known_resources', (select json_group_array(value) from (
              select r.details ->> '$.resource' as value from oauth_client r
              where r.tenant_id = :tenant and r.details ->> '$.resource' is not null and r.disabled = 0
              union
              select named.value from oauth_client r, json_each(r.details, '$.resources') named
              where r.tenant_id = :tenant and r.details -> '$.resources' is not null and r.disabled = 0
                and r.user_id is null and r.registration_token_hash is null and r.document_read_at is null))) as row
         from oauth_client
         where client_id = :client_id and disabled = 0 and (tenant_id is null or tenant_id = :tenant)
           and (user_id is null or exists (select 1 from user u where u.id = oauth_client.user_id and u.status = 'active'))",
        tenant = &context.tenant().id,
        client_id,
        now = context.now,
        auth_origin = context.auth_origin().as_str()
    )
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

/// A statement that writes the metadata of a client, and further parameters.
macro_rules! with_metadata {
    ($new:ident, $text:expr $(, $name:ident $(= $value:expr)?)*) => {{
        let [uri, icon, policy_uri, tos_uri] = &$new.uris;
        sql!(
            $text,
            name = &$new.name,
            kind = if $new.is_native { "native" } else { "web" },
            auth_method = $new.auth_method.as_str(),
            redirect_uris = json!($new.redirect_uris).to_string(),
            post_logout_redirect_uris = json!($new.post_logout_redirect_uris).to_string(),
            grant_types = json!($new.grant_types).to_string(),
            scopes = json!($new.scopes).to_string(),
            jwks = $new.jwks.as_ref().map(ToString::to_string),
            jwks_uri = $new.jwks_uri.as_ref(),
            subject_type = if $new.is_pairwise { "pairwise" } else { "public" },
            access_token_format = if $new.has_jwt_access_tokens { "jwt" } else { "opaque" },
            skip_consent = $new.skips_consent,
            uri = uri.as_ref(),
            icon = icon.as_ref(),
            policy_uri = policy_uri.as_ref(),
            tos_uri = tos_uri.as_ref(),
            contacts = json!($new.contacts).to_string(),
            backchannel_logout_uri = $new.backchannel_logout_uri.as_ref(),
            frontchannel_logout_uri = $new.frontchannel_logout_uri.as_ref(),
            details = json!($new.details).to_string()
            $(, $name $(= $value)?)*
        )
    }};
}

/// Registers a client of the tenant's.
#[must_use]
pub fn create(context: &Context, row: &NewRow<'_>, new: &NewClient) -> Statement {
    with_metadata!(
        new,
        "insert into oauth_client
           (id, tenant_id, client_id, secret_hash, registration_token_hash, user_id, created_at, updated_at,
            name, type, token_endpoint_auth_method, redirect_uris, post_logout_redirect_uris, grant_types, scopes, jwks, jwks_uri,
            subject_type, access_token_format, skip_consent, uri, icon, policy_uri, tos_uri, contacts, backchannel_logout_uri,
            frontchannel_logout_uri, details)
         values (:id, :tenant, :client_id, :secret, :registration, :owner, :now, :now, :name, :kind, :auth_method, :redirect_uris, :post_logout_redirect_uris, :grant_types, :scopes, :jwks, :jwks_uri, :subject_type, :access_token_format, :skip_consent, :uri, :icon, :policy_uri, :tos_uri, :contacts,
                 :backchannel_logout_uri, :frontchannel_logout_uri, :details)",
        tenant = &context.tenant().id,
        id = row.id,
        client_id = row.client_id,
        secret = row.secret,
        registration = row.registration,
        owner = row.owner,
        now = context.now
    )
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
    with_metadata!(
        new,
        "insert into oauth_client
           (id, client_id, document_read_at, created_at, updated_at,
            name, type, token_endpoint_auth_method, redirect_uris, post_logout_redirect_uris, grant_types, scopes, jwks, jwks_uri,
            subject_type, access_token_format, skip_consent, uri, icon, policy_uri, tos_uri, contacts, backchannel_logout_uri,
            frontchannel_logout_uri, details)
         values (:id, :url, :read_at, :now, :now, :name, :kind, :auth_method, :redirect_uris, :post_logout_redirect_uris, :grant_types, :scopes, :jwks, :jwks_uri, :subject_type, :access_token_format, :skip_consent, :uri, :icon, :policy_uri, :tos_uri, :contacts, :backchannel_logout_uri, :frontchannel_logout_uri, :details)
         on conflict (client_id) do update set
           document_read_at = excluded.document_read_at, updated_at = excluded.updated_at,
           name = excluded.name, type = excluded.type, token_endpoint_auth_method = excluded.token_endpoint_auth_method,
           redirect_uris = excluded.redirect_uris, post_logout_redirect_uris = excluded.post_logout_redirect_uris,
           grant_types = excluded.grant_types, scopes = excluded.scopes, jwks = excluded.jwks, jwks_uri = excluded.jwks_uri,
           subject_type = excluded.subject_type, access_token_format = excluded.access_token_format, uri = excluded.uri,
           icon = excluded.icon, policy_uri = excluded.policy_uri, tos_uri = excluded.tos_uri, contacts = excluded.contacts,
           backchannel_logout_uri = excluded.backchannel_logout_uri,
           frontchannel_logout_uri = excluded.frontchannel_logout_uri, details = excluded.details
         where oauth_client.tenant_id is null and oauth_client.document_read_at is not null",
        id,
        url,
        now = context.now,
        read_at
    )
}

/// Puts off reading a client's document again, by the time that counts as the last one.
#[must_use]
pub fn read_later(context: &Context, url: &str, read_at: Millis) -> Statement {
    sql!(
        "update oauth_client set document_read_at = :read_at, updated_at = :now where client_id = :url and document_read_at is not null",
        url,
        read_at,
        now = context.now
    )
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
    with_metadata!(
        new,
        "update oauth_client set
           secret_hash = iif(:has_secret, coalesce(:secret, secret_hash), null), previous_secret_hash = iif(:has_secret, previous_secret_hash, null),
           previous_secret_expires_at = iif(:has_secret, previous_secret_expires_at, null), updated_at = max(:now, updated_at + 1),
           name = :name, type = :kind, token_endpoint_auth_method = :auth_method, redirect_uris = :redirect_uris, post_logout_redirect_uris = :post_logout_redirect_uris,
           grant_types = :grant_types, scopes = :scopes, jwks = :jwks, jwks_uri = :jwks_uri, subject_type = :subject_type, access_token_format = :access_token_format,
           skip_consent = :skip_consent, uri = :uri, icon = :icon, policy_uri = :policy_uri, tos_uri = :tos_uri, contacts = :contacts,
           backchannel_logout_uri = :backchannel_logout_uri, frontchannel_logout_uri = :frontchannel_logout_uri, details = :details
         where tenant_id = :tenant and client_id = :client_id and updated_at = :read_at
           and (:owner is null or user_id = :owner) and (:token is null or registration_token_hash = :token)",
        tenant = &context.tenant().id,
        client_id,
        owner,
        token,
        secret,
        now = context.now,
        read_at,
        has_secret = new.auth_method.has_secret()
    )
}

/// A client, as whoever looks after it sees it.
#[derive(Debug, Deserialize)]
pub struct ListedClient {
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

/// The select of a [`ListedClient`], for what follows `from`. A patch leaves out what is null (RFC 7396).
macro_rules! listed {
    ($source:literal) => {
        concat!(
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
        )
    };
}

/// The clients that somebody looks after, the newest first.
#[must_use]
pub fn of(context: &Context, keeper: Keeper<'_>) -> Statement {
    // Of each kind the newest by its index: where clients register themselves there are many.
    let owner = keeper.parts().0;
    sql!(
        match owner {
            Some(_) => listed!(
                "id in (select id from oauth_client indexed by oauth_client_user_id where user_id = :owner and tenant_id = :tenant)
                 order by created_at desc limit 200"
            ),
            None => listed!(
                "id in (select id from (select id from oauth_client where tenant_id = :tenant order by created_at desc limit 200)
                        union all
                        select id from (select id from oauth_client where tenant_id is null and :is_everybody
                                        order by created_at desc limit 200))
                 order by created_at desc limit 200"
            ),
        },
        owner,
        is_everybody = keeper.is_everybody(),
        tenant = &context.tenant().id
    )
}

/// A client that somebody looks after.
#[must_use]
pub fn one(context: &Context, client_id: &str, keeper: Keeper<'_>) -> Statement {
    let (owner, token) = keeper.parts();
    sql!(
        listed!(
            "client_id = :client_id and (tenant_id = :tenant or (:is_everybody and tenant_id is null))
               and (:owner is null or user_id = :owner) and (:token is null or registration_token_hash = :token)"
        ),
        tenant = &context.tenant().id,
        client_id,
        owner,
        token,
        is_everybody = keeper.is_everybody()
    )
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
    sql!(
        "update oauth_client set previous_secret_hash = secret_hash, previous_secret_expires_at = :until, secret_hash = :hash,
                                 secret_expires_at = null, updated_at = :now
         where tenant_id = :tenant and client_id = :client_id and secret_hash is not null and (:user_id is null or user_id = :user_id)",
        tenant = &context.tenant().id,
        client_id,
        user_id = keeper.parts().0,
        hash,
        until,
        now = context.now
    )
}

/// Switches a client off or on.
#[must_use]
pub fn disable(context: &Context, client_id: &str, keeper: Keeper<'_>, disabled: bool) -> Statement {
    sql!(
        "update oauth_client set disabled = :disabled, updated_at = :now
         where client_id = :client_id and (tenant_id = :tenant or (:is_everybody and tenant_id is null))",
        tenant = &context.tenant().id,
        client_id,
        disabled,
        now = context.now,
        is_everybody = keeper.is_everybody()
    )
}

/// Deletes a client.
#[must_use]
pub fn delete(context: &Context, client_id: &str, keeper: Keeper<'_>) -> Statement {
    let (owner, token) = keeper.parts();
    sql!(
        "delete from oauth_client
         where client_id = :client_id and (tenant_id = :tenant or (:is_everybody and tenant_id is null))
           and (:owner is null or user_id = :owner) and (:token is null or registration_token_hash = :token)",
        tenant = &context.tenant().id,
        client_id,
        owner,
        token,
        is_everybody = keeper.is_everybody()
    )
}
