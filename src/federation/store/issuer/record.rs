//! An issuer, as administrators see and save it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use crate::federation::service::ServiceType;
use crate::federation::store::issuer::settings::{Settings, cell};
use crate::platform::d1::{Statement, StoreError, Stored, must_change};
use crate::platform::error;
use crate::platform::id::{Id, Issuer, Millis, Tenant, User};
use crate::platform::secret::Secret;
use crate::platform::sql::sql;
use crate::platform::time::iso;
use crate::request::context::Context;

/// A secret that is kept, taken away, or set.
pub enum SecretChange<T> {
    /// As it is.
    Keep,
    /// Taken away.
    Clear,
    /// Set.
    Set(T),
}

/// An issuer as it is to be saved.
#[expect(clippy::struct_excessive_bools, reason = "what differs from the one before")]
pub struct IssuerDraft {
    /// Everything but the secrets.
    pub record: IssuerRecord,
    /// The client secret.
    pub secret: SecretChange<Secret<String>>,
    /// The private JWK.
    pub key: SecretChange<Secret<String>>,
    /// Whether it is not saved yet.
    pub is_new: bool,
    /// Whether what discovery said before is of another issuer.
    pub moves: bool,
    /// Whether its people are others than before.
    pub becomes_another: bool,
    /// Whether its word is good for more people than before: those who have an address, or those who are linked.
    pub speaks_for_others: bool,
}

/// An issuer without its secrets. It is read from D1 and answered by the same names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "settings")]
pub struct IssuerRecord {
    /// Id.
    pub id: String,
    /// Whether it is everybody's.
    #[serde(rename = "global")]
    pub is_global: bool,
    /// The provider's name in the login protocol.
    pub name: String,
    /// Kind of service.
    pub service_type: ServiceType,
    /// What the button says.
    pub label: String,
    /// Issuer identifier, or what the endpoints are below.
    pub base_url: String,
    /// `client_id`.
    pub client_id: String,
    /// Whether there is a client secret.
    pub has_client_secret: bool,
    #[serde(skip_serializing)]
    client_key_sealed: Option<String>,
    /// The public half of the key that we sign client assertions with, to be registered at the issuer.
    pub public_key: Option<Value>,
    /// `client_secret_basic` rather than `client_secret_post`.
    pub basic_auth: bool,
    /// Scopes of a sign-in.
    #[serde(serialize_with = "as_list")]
    pub login_scopes: String,
    /// Scopes of a sign-in that is to give a refresh token.
    #[serde(serialize_with = "as_list")]
    pub login_scopes_offline: String,
    /// Further parameters.
    pub login_params: BTreeMap<String, String>,
    /// Further parameters of a sign-in that is to give a refresh token.
    pub login_params_offline: BTreeMap<String, String>,
    /// Scopes that discovery names.
    pub scopes_supported: Vec<String>,
    /// Domains whose people may come.
    pub allowed_domains: Vec<String>,
    /// Whether a new link is confirmed by mail.
    pub require_confirmation: bool,
    /// Whether its word on addresses is believed.
    pub trust_email: bool,
    /// Whether the mapped fields are taken over at every sign-in.
    pub sync_profile: bool,
    /// Whether the login page shows it.
    pub show_on_login_page: bool,
    /// Its place there.
    pub sort_order: i64,
    /// Its picture there.
    pub image: Option<String>,
    /// Whether it can be used.
    pub enabled: bool,
    /// Settings of its kind.
    pub settings: Settings,
    /// Internal field → external path.
    pub mapping: BTreeMap<String, String>,
    /// Endpoints set by hand.
    pub endpoints: BTreeMap<String, String>,
    /// Endpoints by discovery.
    pub discovered_endpoints: BTreeMap<String, String>,
    /// When discovery was read.
    #[serde(serialize_with = "as_iso")]
    pub discovered_at: Option<Millis>,
    #[serde(skip_serializing)]
    revision: i64,
    /// Whether users are linked.
    #[serde(rename = "inUse")]
    pub is_in_use: bool,
    /// Who changed it last.
    pub updated_by: Option<String>,
    /// Creation.
    #[serde(serialize_with = "as_iso")]
    pub created_at: Option<Millis>,
    /// Last change.
    #[serde(serialize_with = "as_iso")]
    pub updated_at: Option<Millis>,
}

fn as_list<S: Serializer>(scope: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(scope.split_whitespace())
}

#[expect(clippy::ref_option, reason = "the shape of serialize_with")]
fn as_iso<S: Serializer>(time: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(iso).serialize(serializer)
}

impl IssuerRecord {
    /// Scopes that are asked for and discovery does not name. It need not name all (OpenID Connect Discovery 1.0, section 3).
    #[must_use]
    pub fn unsupported_scopes(&self) -> Vec<&str> {
        let asked = self.login_scopes.split_whitespace().chain(self.login_scopes_offline.split_whitespace());
        let is_named = |scope: &&str| self.scopes_supported.iter().any(|named| named == scope);
        let mut unnamed: Vec<&str> =
            asked.filter(|scope| !self.scopes_supported.is_empty() && !is_named(scope)).collect();
        unnamed.sort_unstable();
        unnamed.dedup();
        unnamed
    }

    /// The record with what others may know of its key.
    ///
    /// # Errors
    /// If the key does not open.
    pub fn with_public_key(mut self, context: &Context) -> Stored<Self> {
        let Some(sealed) = &self.client_key_sealed else {
            return Ok(self);
        };
        let opened = context.config.keyring.open(cell("client_key_sealed", &self.id), sealed).ok();
        let jwk: Option<Value> = opened.and_then(|bytes| serde_json::from_slice(bytes.expose()).ok());
        let broken = || StoreError::Failed(format!("issuer.client_key_sealed of {} does not open", self.id));
        let jwk = jwk.ok_or_else(broken)?;
        let member = |name: &str| jwk.get(name).cloned().unwrap_or_default();
        self.public_key = Some(json!({
            "kty": "EC", "crv": "P-256", "x": member("x"), "y": member("y"), "kid": member("kid"),
            "use": "sig", "alg": "ES256",
        }));
        Ok(self)
    }
}

/// `json_object` of a [`IssuerRecord`], for an issuer `i`.
macro_rules! record_json {
    () => {
        "json_object(
           'id', i.id, 'global', json(iif(i.tenant_id is null, 'true', 'false')), 'name', i.name,
           'serviceType', i.service_type, 'label', i.login_page_name, 'baseUrl', i.base_url, 'clientId', i.client_id,
           'hasClientSecret', json(iif(i.client_secret_sealed is null, 'false', 'true')),
           'clientKeySealed', i.client_key_sealed, 'publicKey', null,
           'basicAuth', json(iif(i.basic_auth, 'true', 'false')),
           'loginScopes', i.login_scopes, 'loginScopesOffline', i.login_scopes_offline,
           'loginParams', json(i.login_params), 'loginParamsOffline', json(i.login_params_offline),
           'scopesSupported', json(i.scopes_supported), 'allowedDomains', json(i.allowed_domains),
           'requireConfirmation', json(iif(i.require_confirmation, 'true', 'false')),
           'trustEmail', json(iif(i.trust_email, 'true', 'false')),
           'syncProfile', json(iif(i.sync_profile, 'true', 'false')),
           'showOnLoginPage', json(iif(i.show_on_login_page, 'true', 'false')), 'sortOrder', i.sort_order,
           'image', i.image, 'enabled', json(iif(i.enabled, 'true', 'false')), 'settings', json(i.settings),
           'mapping', (select json_group_object(internal_field, external_field)
                       from issuer_field_mapping where issuer_id = i.id),
           'endpoints', (select json_group_object(name, url) from issuer_endpoint
                         where issuer_id = i.id and is_discovered = 0),
           'discoveredEndpoints', (select json_group_object(name, url) from issuer_endpoint
                                   where issuer_id = i.id and is_discovered = 1),
           'discoveredAt', i.discovered_at,
           'inUse', json(iif(exists (select 1 from account where issuer_id = i.id), 'true', 'false')),
           'revision', i.revision, 'updatedBy', i.updated_by, 'createdAt', i.created_at, 'updatedAt', i.updated_at)"
    };
}

/// An issuer of the tenant's, or everybody's.
#[must_use]
pub fn record(tenant: &Id<Tenant>, id: &Id<Issuer>) -> Statement {
    sql!(
        concat!(
            "select ",
            record_json!(),
            " as row from issuer i where i.id = :id and (i.tenant_id = :tenant or i.tenant_id is null)"
        ),
        tenant,
        id
    )
}

/// The issuers of the tenant's, and everybody's, in the order of the login page.
#[must_use]
pub fn records(tenant: &Id<Tenant>) -> Statement {
    sql!(
        concat!(
        "select ",
        record_json!(),
        " as row from issuer i
         where i.id in (select id from issuer where tenant_id = :tenant union all select id from issuer where tenant_id is null)
         order by i.sort_order, i.login_page_name limit 200"
    ),
        tenant
    )
}

fn sealed(
    context: &Context,
    column: &'static str,
    id: &str,
    change: &SecretChange<Secret<String>>,
) -> error::Result<(bool, Option<String>)> {
    Ok(match change {
        SecretChange::Keep => (false, None),
        SecretChange::Clear => (true, None),
        SecretChange::Set(secret) => {
            let bytes = secret.expose().as_bytes();
            (true, Some(context.config.keyring.seal(cell(column, id), bytes, context.random()?)))
        }
    })
}

/// What [`nobody_is_linked`] breaks with.
pub const IN_USE: &str = "issuer_in_use";

/// Fails, and the whole batch with it, if users are linked to an issuer. [`link`](crate::federation::store::upstream::link) asks in turn
/// whether the issuer is as it was read.
#[must_use]
pub fn nobody_is_linked(id: &str) -> Statement {
    sql!(
        "select json_extract('{}', iif(exists (select 1 from account where issuer_id = :id), 'doorward:broken:issuer_in_use', '$')) as row",
        id
    )
}

/// Saves a draft: a new issuer, or the changed one in the place of what it was.
///
/// # Errors
/// If the platform has no randomness.
pub fn save(context: &Context, by: &Id<User>, draft: &IssuerDraft) -> error::Result<Vec<Statement>> {
    let record = &draft.record;
    let id = record.id.as_str();
    let (sets_secret, secret) = sealed(context, "client_secret_sealed", id, &draft.secret)?;
    let (sets_key, key) = sealed(context, "client_key_sealed", id, &draft.key)?;
    let tenant = (!record.is_global).then_some(&context.tenant().id);
    let mut statements = vec![
        // A discovery document is read again after each change: what was set by hand may be its again.
        sql!(match (draft.is_new) { true => "insert into issuer
           (id, tenant_id, name, login_page_name, service_type, base_url, client_id, client_secret_sealed, client_key_sealed,
            basic_auth, login_scopes, login_scopes_offline, login_params, login_params_offline, allowed_domains,
            require_confirmation, trust_email, sync_profile, show_on_login_page, sort_order, image, enabled, settings,
            updated_by, created_at, updated_at)
         select :id, :tenant, :name, :label, :service_type, :base_url, :client_id, :secret, :key, :basic_auth, :login_scopes, :login_scopes_offline, :login_params, :login_params_offline, :allowed_domains, :require_confirmation, :trust_email, :sync_profile, :show_on_login_page, :sort_order, :image, :enabled, :settings,
                :by, :now, :now where :revision = 0", false => "update issuer set
           name = :name, login_page_name = :label, service_type = :service_type, base_url = :base_url, client_id = :client_id,
           client_secret_sealed = iif(:sets_secret, :secret, client_secret_sealed), client_key_sealed = iif(:sets_key, :key, client_key_sealed),
           basic_auth = :basic_auth, login_scopes = :login_scopes, login_scopes_offline = :login_scopes_offline, login_params = :login_params, login_params_offline = :login_params_offline,
           allowed_domains = :allowed_domains, require_confirmation = :require_confirmation, trust_email = :trust_email, sync_profile = :sync_profile, show_on_login_page = :show_on_login_page,
           sort_order = :sort_order, image = :image, enabled = :enabled, settings = :settings, discovered_at = null,
           discovered = iif(:moves, null, discovered), scopes_supported = iif(:moves, '[]', scopes_supported),
           revision = revision + 1, updated_by = :by, updated_at = :now
         where id = :id and tenant_id is :tenant and revision = :revision" }, id, tenant, name = &record.name, label = &record.label, service_type = record.service_type.name(), base_url = &record.base_url, client_id = &record.client_id, secret, key, basic_auth = record.basic_auth, login_scopes = &record.login_scopes, login_scopes_offline = &record.login_scopes_offline, login_params = json!(record.login_params).to_string(), login_params_offline = json!(record.login_params_offline).to_string(), allowed_domains = json!(record.allowed_domains).to_string(), require_confirmation = record.require_confirmation, trust_email = record.trust_email, sync_profile = record.sync_profile, show_on_login_page = record.show_on_login_page, sort_order = record.sort_order, image = record.image.as_ref(), enabled = record.enabled, settings = json!(record.settings).to_string(), by, now = context.now, sets_secret, sets_key, moves = draft.moves, revision = record.revision),
        must_change(),
        // Those by hand are replaced whole; those by discovery only if they are of another issuer.
        sql!(
            "delete from issuer_endpoint where issuer_id = :id and (is_discovered = 0 or :moves)",
            id,
            moves = draft.moves
        ),
        sql!("delete from issuer_field_mapping where issuer_id = :id", id),
    ];
    for (name, url) in &record.endpoints {
        statements.push(
            sql!(
                "insert into issuer_endpoint (id, issuer_id, name, url, is_discovered, updated_by, created_at, updated_at)
                 values (:context_id, :id, :name, :url, 0, :by, :now, :now)
                 on conflict (issuer_id, name) do update set
                   url = excluded.url, is_discovered = 0, updated_by = excluded.updated_by, updated_at = excluded.updated_at",
                id,
                context_id = context.row_id()?,
                name,
                url,
                by,
                now = context.now
            ),
        );
    }
    for (internal, external) in &record.mapping {
        statements.push(sql!(
            "insert into issuer_field_mapping
                   (id, issuer_id, external_field, internal_field, updated_by, created_at, updated_at)
                 values (:context_id, :id, :external, :internal, :by, :now, :now)",
            id,
            context_id = context.row_id()?,
            external,
            internal,
            by,
            now = context.now
        ));
    }
    Ok(statements)
}

/// Deletes an issuer, unless users are linked to it and nobody insists.
#[must_use]
pub fn delete(tenant: &Id<Tenant>, id: &Id<Issuer>, force: bool) -> Statement {
    sql!(
        "delete from issuer
         where (tenant_id is null or tenant_id = :tenant) and id = :id
           and (:force or not exists (select 1 from account where issuer_id = :id))",
        tenant,
        id,
        force
    )
}
