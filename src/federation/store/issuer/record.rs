//! An issuer, as administrators see and save it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use crate::federation::service::ServiceType;
use crate::federation::store::issuer::settings::{Settings, cell};
use crate::platform::d1::{Statement, StoreError, Stored, must_change, sql};
use crate::platform::error;
use crate::platform::id::{Id, Issuer, Millis, Tenant, User};
use crate::platform::secret::Secret;
use crate::platform::time::iso;
use crate::request::context::Context;

/// A secret that is kept, taken away, or set.
pub enum Change<T> {
    /// As it is.
    Keep,
    /// Taken away.
    Clear,
    /// Set.
    Set(T),
}

/// An issuer as it is to be saved.
#[expect(clippy::struct_excessive_bools, reason = "what differs from the one before")]
pub struct Draft {
    /// Everything but the secrets.
    pub record: Record,
    /// The client secret.
    pub secret: Change<Secret<String>>,
    /// The private JWK.
    pub key: Change<Secret<String>>,
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
pub struct Record {
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

impl Record {
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

/// `json_object` of a [`Record`], for an issuer `i`.
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
    sql(concat!(
        "select ",
        record_json!(),
        " as row from issuer i where i.id = ?2 and (i.tenant_id = ?1 or i.tenant_id is null)"
    ))
    .bind(tenant)
    .bind(id)
}

/// The issuers of the tenant's, and everybody's, in the order of the login page.
#[must_use]
pub fn records(tenant: &Id<Tenant>) -> Statement {
    sql(concat!(
        "select ",
        record_json!(),
        " as row from issuer i
         where i.id in (select id from issuer where tenant_id = ?1 union all select id from issuer where tenant_id is null)
         order by i.sort_order, i.login_page_name limit 200"
    ))
    .bind(tenant)
}

fn sealed(
    context: &Context,
    column: &'static str,
    id: &str,
    change: &Change<Secret<String>>,
) -> error::Result<(bool, Option<String>)> {
    Ok(match change {
        Change::Keep => (false, None),
        Change::Clear => (true, None),
        Change::Set(secret) => {
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
    sql("select json_extract('{}', iif(exists (select 1 from account where issuer_id = ?1), 'doorward:broken:issuer_in_use', '$')) as row")
        .bind(id)
}

/// Saves a draft: a new issuer, or the changed one in the place of what it was.
///
/// # Errors
/// If the platform has no randomness.
pub fn save(context: &Context, by: &Id<User>, draft: &Draft) -> error::Result<Vec<Statement>> {
    let record = &draft.record;
    let id = record.id.as_str();
    let (sets_secret, secret) = sealed(context, "client_secret_sealed", id, &draft.secret)?;
    let (sets_key, key) = sealed(context, "client_key_sealed", id, &draft.key)?;
    let tenant = (!record.is_global).then_some(&context.tenant().id);
    let text = if draft.is_new {
        "insert into issuer
           (id, tenant_id, name, login_page_name, service_type, base_url, client_id, client_secret_sealed, client_key_sealed,
            basic_auth, login_scopes, login_scopes_offline, login_params, login_params_offline, allowed_domains,
            require_confirmation, trust_email, sync_profile, show_on_login_page, sort_order, image, enabled, settings,
            updated_by, created_at, updated_at)
         select ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
                ?24, ?25, ?25 where ?26 or ?27 or ?28 or ?29 = 0"
    } else {
        // A discovery document is read again after each change: what was set by hand may be its again.
        "update issuer set
           name = ?3, login_page_name = ?4, service_type = ?5, base_url = ?6, client_id = ?7,
           client_secret_sealed = iif(?26, ?8, client_secret_sealed), client_key_sealed = iif(?27, ?9, client_key_sealed),
           basic_auth = ?10, login_scopes = ?11, login_scopes_offline = ?12, login_params = ?13, login_params_offline = ?14,
           allowed_domains = ?15, require_confirmation = ?16, trust_email = ?17, sync_profile = ?18, show_on_login_page = ?19,
           sort_order = ?20, image = ?21, enabled = ?22, settings = ?23, discovered_at = null,
           discovered = iif(?28, null, discovered), scopes_supported = iif(?28, '[]', scopes_supported),
           revision = revision + 1, updated_by = ?24, updated_at = ?25
         where id = ?1 and tenant_id is ?2 and revision = ?29"
    };
    let mut statements = vec![
        sql(text)
            .bind(id)
            .bind(tenant)
            .bind(&record.name)
            .bind(&record.label)
            .bind(record.service_type.name())
            .bind(&record.base_url)
            .bind(&record.client_id)
            .bind(secret)
            .bind(key)
            .bind(record.basic_auth)
            .bind(&record.login_scopes)
            .bind(&record.login_scopes_offline)
            .bind(json!(record.login_params).to_string())
            .bind(json!(record.login_params_offline).to_string())
            .bind(json!(record.allowed_domains).to_string())
            .bind(record.require_confirmation)
            .bind(record.trust_email)
            .bind(record.sync_profile)
            .bind(record.show_on_login_page)
            .bind(record.sort_order)
            .bind(record.image.as_ref())
            .bind(record.enabled)
            .bind(json!(record.settings).to_string())
            .bind(by)
            .bind(context.now)
            .bind(sets_secret)
            .bind(sets_key)
            .bind(draft.moves)
            .bind(record.revision),
        must_change(),
        // Those by hand are replaced whole; those by discovery only if they are of another issuer.
        sql("delete from issuer_endpoint where issuer_id = ?1 and (is_discovered = 0 or ?2)")
            .bind(id)
            .bind(draft.moves),
        sql("delete from issuer_field_mapping where issuer_id = ?1").bind(id),
    ];
    for (name, url) in &record.endpoints {
        statements.push(
            sql("insert into issuer_endpoint (id, issuer_id, name, url, is_discovered, updated_by, created_at, updated_at)
                 values (?2, ?1, ?3, ?4, 0, ?5, ?6, ?6)
                 on conflict (issuer_id, name) do update set
                   url = excluded.url, is_discovered = 0, updated_by = excluded.updated_by, updated_at = excluded.updated_at")
            .bind(id)
            .bind(context.row_id()?)
            .bind(name)
            .bind(url)
            .bind(by)
            .bind(context.now),
        );
    }
    for (internal, external) in &record.mapping {
        statements.push(
            sql("insert into issuer_field_mapping
                   (id, issuer_id, external_field, internal_field, updated_by, created_at, updated_at)
                 values (?2, ?1, ?3, ?4, ?5, ?6, ?6)")
            .bind(id)
            .bind(context.row_id()?)
            .bind(external)
            .bind(internal)
            .bind(by)
            .bind(context.now),
        );
    }
    Ok(statements)
}

/// Deletes an issuer, unless users are linked to it and nobody insists.
#[must_use]
pub fn delete(tenant: &Id<Tenant>, id: &Id<Issuer>, force: bool) -> Statement {
    sql("delete from issuer
         where (tenant_id is null or tenant_id = ?1) and id = ?2
           and (?3 or not exists (select 1 from account where issuer_id = ?2))")
    .bind(tenant)
    .bind(id)
    .bind(force)
}
