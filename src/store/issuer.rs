//! `issuer` and `issuer_endpoint`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::context::Context;
use crate::federation::discovery::Metadata;
use crate::id::{Id, Issuer, Millis, Tenant};
use crate::secret::{Cell, Secret};
use crate::store::database::{Statement, StoreError, Stored, sql};

/// An issuer, as a sign-in through it needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct Upstream {
    /// Id.
    pub id: Id<Issuer>,
    /// The provider's name in the login protocol.
    pub name: String,
    /// Issuer identifier.
    pub base_url: String,
    /// `client_id`.
    pub client_id: String,
    client_secret_sealed: Option<String>,
    /// `client_secret_basic` rather than `client_secret_post`.
    pub basic_auth: bool,
    /// Scopes of a sign-in.
    pub login_scopes: String,
    /// Further parameters of the authorization request.
    pub login_params: BTreeMap<String, String>,
    /// Domains whose people may come.
    pub allowed_domains: Vec<String>,
    /// Whether its word on addresses is believed.
    pub trust_email: bool,
    /// Endpoint name → URL.
    pub endpoints: BTreeMap<String, String>,
    /// Whether its answers always carry `iss`.
    pub sends_iss: bool,
    /// When discovery was read.
    pub discovered_at: Option<Millis>,
}

impl Upstream {
    /// `client_secret`; none for a public client.
    ///
    /// # Errors
    /// If it does not open.
    pub fn client_secret(&self, context: &Context) -> Stored<Option<Secret<String>>> {
        let Some(sealed) = &self.client_secret_sealed else {
            return Ok(None);
        };
        let opened = context.config.keyring.open(cell(self.id.as_str()), sealed);
        let text = opened.ok().and_then(|bytes| String::from_utf8(bytes.expose().clone()).ok());
        text.map(|text| Some(Secret::new(text)))
            .ok_or_else(|| StoreError::Failed(format!("issuer.client_secret_sealed of {} does not open", self.id)))
    }
}

/// The cell of a client secret.
#[must_use]
pub const fn cell(issuer: &str) -> Cell<'_> {
    Cell { table: "issuer", column: "client_secret_sealed", row: issuer }
}

/// An enabled issuer by the name that the login protocol knows it by: the tenant's own before a global one.
#[must_use]
pub fn by_name(tenant: &Id<Tenant>, name: &str) -> Statement {
    sql("select json_object(
           'id', i.id, 'name', i.name, 'base_url', i.base_url, 'client_id', i.client_id,
           'client_secret_sealed', i.client_secret_sealed, 'basic_auth', json(iif(i.basic_auth, 'true', 'false')),
           'login_scopes', i.login_scopes, 'login_params', json(i.login_params), 'allowed_domains', json(i.allowed_domains),
           'trust_email', json(iif(i.trust_email, 'true', 'false')),
           'endpoints', (select json_group_object(name, url) from issuer_endpoint where issuer_id = i.id),
           'sends_iss', json(iif(coalesce(i.discovered ->> '$.sends_iss', 0), 'true', 'false')),
           'discovered_at', i.discovered_at) as row
         from issuer i
         where i.name = ?2 and i.enabled = 1 and (i.tenant_id = ?1 or i.tenant_id is null)
         order by i.tenant_id is null limit 1")
    .bind(tenant)
    .bind(name)
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
    sql("select json_object('name', name, 'label', login_page_name, 'image', image) as row
         from issuer
         where id in (select id from issuer where tenant_id = ?1 union all select id from issuer where tenant_id is null)
           and enabled = 1 and show_on_login_page = 1
         order by sort_order, login_page_name limit 50")
    .bind(tenant)
}

/// Keeps what discovery said. Endpoints set by hand stay as they are.
///
/// # Errors
/// If the platform has no randomness.
pub fn keep_discovery(
    context: &Context,
    issuer: &Id<Issuer>,
    metadata: &Metadata,
) -> crate::error::Result<Vec<Statement>> {
    let discovered = serde_json::json!({ "sends_iss": metadata.sends_iss }).to_string();
    let scopes = serde_json::json!(metadata.scopes_supported).to_string();
    let mut statements = vec![
        sql("update issuer set discovered = ?2, discovered_at = ?3, scopes_supported = ?4, updated_at = ?3 where id = ?1")
            .bind(issuer)
            .bind(discovered)
            .bind(context.now)
            .bind(scopes),
    ];
    for (name, url) in &metadata.endpoints {
        statements.push(
            sql("insert into issuer_endpoint (id, issuer_id, name, url, is_discovered, created_at, updated_at)
                 values (?2, ?1, ?3, ?4, 1, ?5, ?5)
                 on conflict (issuer_id, name) do update set url = excluded.url, updated_at = excluded.updated_at
                 where is_discovered = 1")
            .bind(issuer)
            .bind(context.row_id()?)
            .bind(name)
            .bind(url)
            .bind(context.now),
        );
    }
    Ok(statements)
}
