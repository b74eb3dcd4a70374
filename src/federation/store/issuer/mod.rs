//! `issuer`, `issuer_endpoint` and `issuer_field_mapping`, as a flow needs them.

mod record;
pub mod settings;

use std::collections::BTreeMap;

pub use record::{IN_USE, IssuerDraft, IssuerRecord, SecretChange, delete, nobody_is_linked, record, records, save};
use serde::Deserialize;

use crate::federation::discovery::Metadata;
use crate::federation::id_token::ExpectedIssuer;
use crate::federation::mapping::Mapping;
use crate::federation::preset::Protocol;
use crate::federation::service::ServiceType;
use crate::federation::store::issuer::settings::Settings;
use crate::platform::d1::{Statement, StoreError, Stored};
use crate::platform::error;
use crate::platform::id::{Id, Issuer, Millis, Tenant};
use crate::platform::secret::Secret;
use crate::platform::sql::sql;
use crate::request::context::Context;

/// An issuer, as a sign-in through it needs it.
#[derive(Clone, Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "settings")]
pub struct Upstream {
    /// Id.
    pub id: Id<Issuer>,
    /// The provider's name in the login protocol.
    pub name: String,
    /// Whether it is everybody's.
    pub is_global: bool,
    /// What the button says.
    pub label: String,
    /// Kind of service.
    pub service_type: ServiceType,
    /// Issuer identifier, or what the endpoints are below.
    pub base_url: String,
    /// `client_id`.
    pub client_id: String,
    client_secret_sealed: Option<String>,
    client_key_sealed: Option<String>,
    /// `client_secret_basic` rather than `client_secret_post`.
    pub basic_auth: bool,
    /// Scopes of a sign-in.
    pub login_scopes: String,
    /// Scopes of a sign-in that is to give a refresh token.
    pub login_scopes_offline: String,
    /// Further parameters of the authorization request.
    pub login_params: BTreeMap<String, String>,
    /// The same where it is to give a refresh token.
    pub login_params_offline: BTreeMap<String, String>,
    /// Domains whose people may come.
    pub allowed_domains: Vec<String>,
    /// Whether its word on addresses is believed.
    pub trust_email: bool,
    /// Whether a new link waits until it is confirmed by mail.
    pub require_confirmation: bool,
    /// Whether the mapped fields are taken over at every sign-in.
    pub sync_profile: bool,
    /// Settings of its kind.
    pub settings: Settings,
    mapping: Vec<(String, String)>,
    /// Endpoint name → URL, by discovery or by hand.
    pub endpoints: BTreeMap<String, String>,
    /// Whether its answers always carry `iss`.
    pub sends_iss: bool,
    /// When discovery was read.
    pub discovered_at: Option<Millis>,
    /// Which of its administrators' changes this is.
    pub revision: i64,
}

impl Upstream {
    /// `client_secret`; none for a public client, or one that signs.
    ///
    /// # Errors
    /// If it does not open.
    pub fn client_secret(&self, context: &Context) -> Stored<Option<Secret<String>>> {
        self.opened(context, "client_secret_sealed", self.client_secret_sealed.as_deref())
    }

    /// The private JWK that client assertions are signed with, as text.
    ///
    /// # Errors
    /// If it does not open.
    pub fn client_key(&self, context: &Context) -> Stored<Option<Secret<String>>> {
        self.opened(context, "client_key_sealed", self.client_key_sealed.as_deref())
    }

    fn opened(&self, context: &Context, column: &'static str, sealed: Option<&str>) -> Stored<Option<Secret<String>>> {
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let opened = context.config.keyring.open(settings::cell(column, self.id.as_str()), sealed);
        let text = opened.ok().and_then(|bytes| String::from_utf8(bytes.expose().clone()).ok());
        text.map(|text| Some(Secret::new(text)))
            .ok_or_else(|| StoreError::Failed(format!("issuer.{column} of {} does not open", self.id)))
    }

    /// Whether an ID token says who somebody is.
    #[must_use]
    pub fn is_open_id(&self) -> bool {
        self.service_type.preset().protocol == Protocol::OpenId
    }

    /// Whether a flow carries PKCE's parameters (RFC 7636).
    #[must_use]
    pub fn does_pkce(&self) -> bool {
        self.service_type.does_pkce() && self.settings.pkce.unwrap_or(true)
    }

    /// An endpoint: by hand, by discovery, or as its kind of service has it everywhere.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> Option<String> {
        if let Some(url) = self.endpoints.get(name) {
            return Some(url.clone());
        }
        let preset = self.service_type.preset();
        let (_, place) = preset.endpoints.iter().find(|(known, _)| *known == name)?;
        Some(match place.strip_prefix('/') {
            Some(below) => format!("{}/{below}", self.base_url.trim_end_matches('/')),
            None => (*place).to_owned(),
        })
    }

    /// How what it says becomes ours.
    #[must_use]
    pub fn mapping(&self) -> Mapping {
        let saved = self.mapping.iter().map(|(external, internal)| (external.as_str(), internal.as_str()));
        Mapping::new(self.service_type.preset().mapping, saved)
    }

    /// Whom its discovery document must be of.
    #[must_use]
    pub fn discovered_issuer(&self) -> String {
        match self.settings.tenant.as_deref() {
            Some(tenant @ ("common" | "organizations")) => {
                self.base_url.replace(&format!("/{tenant}/"), "/{tenantid}/")
            }
            _ => self.base_url.clone(),
        }
    }

    /// Whose ID tokens are believed.
    #[must_use]
    pub fn expected_issuer(&self) -> ExpectedIssuer {
        let issuer = self.discovered_issuer();
        if issuer.contains("{tenantid}") { ExpectedIssuer::OfTenant(issuer) } else { ExpectedIssuer::Exactly(issuer) }
    }

    /// The audiences that ID tokens may be for: we, and our native apps.
    #[must_use]
    pub fn audiences(&self) -> Vec<&str> {
        std::iter::once(&self.client_id).chain(&self.settings.audiences).map(String::as_str).collect()
    }
}

/// `json_object` of an [`Upstream`], for an issuer `i`.
macro_rules! upstream_json {
    () => {
        "json_object(
           'id', i.id, 'name', i.name, 'is_global', json(iif(i.tenant_id is null, 'true', 'false')), 'label', i.login_page_name, 'service_type', i.service_type, 'base_url', i.base_url,
           'client_id', i.client_id, 'client_secret_sealed', i.client_secret_sealed, 'client_key_sealed', i.client_key_sealed,
           'basic_auth', json(iif(i.basic_auth, 'true', 'false')),
           'login_scopes', i.login_scopes, 'login_scopes_offline', i.login_scopes_offline,
           'login_params', json(i.login_params), 'login_params_offline', json(i.login_params_offline),
           'allowed_domains', json(i.allowed_domains), 'trust_email', json(iif(i.trust_email, 'true', 'false')),
           'require_confirmation', json(iif(i.require_confirmation, 'true', 'false')),
           'sync_profile', json(iif(i.sync_profile, 'true', 'false')), 'settings', json(i.settings),
           'mapping', (select json_group_array(json_array(external_field, internal_field))
                       from issuer_field_mapping where issuer_id = i.id),
           'endpoints', (select json_group_object(name, url) from issuer_endpoint where issuer_id = i.id),
           'sends_iss', json(iif(coalesce(i.discovered ->> '$.sends_iss', 0), 'true', 'false')),
           'discovered_at', i.discovered_at, 'revision', i.revision)"
    };
}

pub(crate) use upstream_json;

/// An enabled issuer by the name that the login protocol knows it by: the tenant's own before a global one.
#[must_use]
pub fn by_name(tenant: &Id<Tenant>, name: &str) -> Statement {
    sql!(
        concat!(
            "select ",
            upstream_json!(),
            " as row from issuer i
         where i.name = :name and i.enabled = 1 and (i.tenant_id = :tenant or i.tenant_id is null)
         order by i.tenant_id is null limit 1"
        ),
        tenant,
        name
    )
}

/// The enabled issuer of a kind of service: the tenant's own before a global one, the oldest of several.
#[must_use]
pub fn of_service(tenant: &Id<Tenant>, kind: ServiceType) -> Statement {
    sql!(
        concat!(
            "select ",
            upstream_json!(),
            " as row from issuer i
         where i.service_type = :name and i.enabled = 1 and (i.tenant_id = :tenant or i.tenant_id is null)
         order by i.tenant_id is null, i.created_at, i.id limit 1"
        ),
        tenant,
        name = kind.name()
    )
}

/// An issuer on the login page.
#[derive(Debug, Deserialize)]
pub struct Button {
    /// The provider's name in the login protocol.
    pub name: String,
    /// What the button says.
    pub label: String,
    /// Its picture.
    pub image: Option<String>,
}

/// The issuers that the login page shows, in order.
#[must_use]
pub fn buttons(tenant: &Id<Tenant>) -> Statement {
    sql!(
        "select json_object('name', name, 'label', login_page_name, 'image', image) as row
         from issuer
         where id in (select id from issuer where tenant_id = :tenant
                      union all
                      select g.id from issuer g
                      where g.tenant_id is null
                        and not exists (select 1 from issuer own where own.tenant_id = :tenant and own.name = g.name and own.enabled = 1))
           and enabled = 1 and show_on_login_page = 1
         order by sort_order, login_page_name limit 50",
        tenant
    )
}

/// An issuer by its id, enabled or not: the tenant's own or everybody's.
#[must_use]
pub fn by_id(tenant: &Id<Tenant>, id: &Id<Issuer>) -> Statement {
    sql!(
        concat!(
            "select ",
            upstream_json!(),
            " as row from issuer i where i.id = :id and (i.tenant_id = :tenant or i.tenant_id is null)"
        ),
        tenant,
        id
    )
}

/// Keeps what discovery said. Endpoints set by hand stay as they are.
///
/// # Errors
/// If the platform has no randomness.
pub fn keep_discovery(context: &Context, issuer: &Id<Issuer>, metadata: &Metadata) -> error::Result<Vec<Statement>> {
    let discovered = serde_json::json!({ "sends_iss": metadata.sends_iss }).to_string();
    let scopes = serde_json::json!(metadata.scopes_supported).to_string();
    let mut statements = vec![sql!(
        "update issuer set discovered = :discovered, discovered_at = :now, scopes_supported = :scopes, updated_at = :now where id = :issuer",
        issuer,
        discovered,
        now = context.now,
        scopes
    )];
    let names: Vec<&String> = metadata.endpoints.keys().collect();
    // What the document says no more is not so any more.
    statements.push(sql!(
        "delete from issuer_endpoint
             where issuer_id = :issuer and is_discovered = 1 and name not in (select value from json_each(:names))",
        issuer,
        names = serde_json::json!(names).to_string()
    ));
    for (name, url) in &metadata.endpoints {
        statements.push(sql!(
            "insert into issuer_endpoint (id, issuer_id, name, url, is_discovered, created_at, updated_at)
                 values (:id, :issuer, :name, :url, 1, :now, :now)
                 on conflict (issuer_id, name) do update set url = excluded.url, updated_at = excluded.updated_at
                 where is_discovered = 1",
            issuer,
            id = context.row_id()?,
            name,
            url,
            now = context.now
        ));
    }
    Ok(statements)
}
