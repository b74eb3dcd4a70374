//! `system_account` and `issuer_access_token`: accounts of the platform's own with an issuer.

use serde::Deserialize;

use crate::federation::request::scope_hash;
use crate::federation::store::issuer::{Upstream, upstream_json};
use crate::platform::d1::{Statement, StoreError, Stored};
use crate::platform::error;
use crate::platform::id::{Id, Issuer, Millis, User};
use crate::platform::secret::{Cell, Secret, ServiceToken, TokenHash};
use crate::platform::sql::sql;
use crate::request::context::Context;

/// A connected account, as administrators see it.
#[derive(Debug, Deserialize)]
pub struct Shown {
    /// Subject at the issuer.
    pub subject: String,
    /// Address there.
    pub email: Option<String>,
    /// Name there.
    pub username: Option<String>,
    /// Granted scopes, space-separated.
    pub granted_scopes: String,
    /// Whether services have a token to ask with.
    pub has_service_token: bool,
    /// Who connected or changed it last.
    pub updated_by: Option<String>,
    /// Connection.
    pub created_at: Millis,
    /// Last change.
    pub updated_at: Millis,
}

/// The account of an issuer.
#[must_use]
pub fn show(issuer: &Id<Issuer>) -> Statement {
    sql!(
        "select json_object('subject', subject, 'email', email, 'username', username, 'granted_scopes', granted_scopes,
                            'has_service_token', json(iif(service_token_hash is null, 'false', 'true')),
                            'updated_by', updated_by, 'created_at', created_at, 'updated_at', updated_at) as row
         from system_account where issuer_id = :issuer",
        issuer
    )
}

/// An account to be connected.
pub struct NewSystemAccount<'a> {
    /// Id.
    pub id: &'a str,
    /// Issuer.
    pub issuer: &'a Id<Issuer>,
    /// Subject.
    pub subject: &'a str,
    /// Address.
    pub email: Option<&'a str>,
    /// Name.
    pub username: Option<&'a str>,
    /// Granted scopes.
    pub granted_scopes: &'a str,
    /// Refresh token.
    pub refresh_token: &'a str,
    /// Administrator.
    pub by: &'a Id<User>,
}

const fn cell(row: &str) -> Cell<'_> {
    Cell { table: "system_account", column: "refresh_token_sealed", row }
}

const fn token_cell(row: &str) -> Cell<'_> {
    Cell { table: "issuer_access_token", column: "token_sealed", row }
}

/// Connects an account, in the place of another. What services ask with stays good.
///
/// # Errors
/// If the platform has no randomness.
pub fn connect(context: &Context, new: &NewSystemAccount<'_>) -> error::Result<[Statement; 2]> {
    let sealed = context.config.keyring.seal(cell(new.id), new.refresh_token.as_bytes(), context.random()?);
    Ok([
        sql!(
            "insert into system_account
               (id, issuer_id, subject, email, username, granted_scopes, refresh_token_sealed, updated_by, created_at, updated_at)
             values (:id, :issuer, :subject, :email, :username, :granted_scopes, :sealed, :by, :now, :now)
             on conflict (issuer_id) do update set
               id = excluded.id, subject = excluded.subject, email = excluded.email, username = excluded.username,
               granted_scopes = excluded.granted_scopes, refresh_token_sealed = excluded.refresh_token_sealed,
               updated_by = excluded.updated_by, updated_at = excluded.updated_at",
            issuer = new.issuer,
            id = new.id,
            subject = new.subject,
            email = new.email,
            username = new.username,
            granted_scopes = new.granted_scopes,
            sealed,
            by = new.by,
            now = context.now
        ),
        // They were the other account's.
        sql!("delete from issuer_access_token where issuer_id = :issuer", issuer = new.issuer),
    ])
}

/// Disconnects the account of an issuer.
#[must_use]
pub fn disconnect(issuer: &Id<Issuer>) -> [Statement; 2] {
    [
        sql!("delete from issuer_access_token where issuer_id = :issuer", issuer),
        sql!("delete from system_account where issuer_id = :issuer", issuer),
    ]
}

/// Gives services another token to ask with, in the place of the one before.
#[must_use]
pub fn set_service_token(
    context: &Context,
    issuer: &Id<Issuer>,
    hash: &TokenHash<ServiceToken>,
    by: &Id<User>,
) -> Statement {
    sql!(
        "update system_account set service_token_hash = :hash, updated_by = :by, updated_at = :now where issuer_id = :issuer",
        issuer,
        hash,
        by,
        now = context.now
    )
}

/// A connected account and its issuer.
#[derive(Debug, Deserialize)]
pub struct Connected {
    /// Id.
    pub id: String,
    /// The issuer.
    pub issuer: Upstream,
    /// Granted scopes.
    pub granted_scopes: String,
    refresh_token_sealed: String,
}

impl Connected {
    /// The refresh token.
    ///
    /// # Errors
    /// If it does not open.
    pub fn refresh_token(&self, context: &Context) -> Stored<Secret<String>> {
        opened(context, cell(&self.id), &self.refresh_token_sealed)
    }
}

fn opened(context: &Context, cell: Cell<'_>, sealed: &str) -> Stored<Secret<String>> {
    let opened = context.config.keyring.open(cell, sealed).ok();
    let text = opened.and_then(|bytes| String::from_utf8(bytes.expose().clone()).ok());
    let broken = || StoreError::Failed(format!("{}.{} of {} does not open", cell.table, cell.column, cell.row));
    text.map(Secret::new).ok_or_else(broken)
}

/// The account that a service's token is for, if its issuer is enabled and this tenant's or everybody's.
#[must_use]
pub fn of_service(context: &Context, hash: &TokenHash<ServiceToken>) -> Statement {
    sql!(
        concat!(
        "select json_object('id', s.id, 'granted_scopes', s.granted_scopes, 'refresh_token_sealed', s.refresh_token_sealed,
                'issuer', ",
        upstream_json!(),
        ") as row
         from system_account s join issuer i on i.id = s.issuer_id
         where s.service_token_hash = :hash and i.enabled = 1 and (i.tenant_id = :tenant or i.tenant_id is null)"
    ),
        tenant = &context.tenant().id,
        hash
    )
}

/// The account of an issuer, for whoever revokes it or refreshes for it.
#[must_use]
pub fn of_issuer(issuer: &Id<Issuer>) -> Statement {
    sql!(
        concat!(
        "select json_object('id', s.id, 'granted_scopes', s.granted_scopes, 'refresh_token_sealed', s.refresh_token_sealed,
                'issuer', ",
        upstream_json!(),
        ") as row
         from system_account s join issuer i on i.id = s.issuer_id where s.issuer_id = :issuer"
    ),
        issuer
    )
}

/// A cached access token.
#[derive(Debug, Deserialize)]
pub struct Cached {
    /// The row's id.
    pub id: String,
    token_sealed: Option<String>,
    /// Its end.
    pub expires_at: Option<Millis>,
    /// Its scopes.
    pub scope: String,
}

impl Cached {
    /// The token, if there is one yet.
    ///
    /// # Errors
    /// If it does not open.
    pub fn token(&self, context: &Context) -> Stored<Option<Secret<String>>> {
        self.token_sealed.as_deref().map(|sealed| opened(context, token_cell(&self.id), sealed)).transpose()
    }

    /// Whether the token is another than it was.
    #[must_use]
    pub fn differs_from(&self, before: &Self) -> bool {
        self.token_sealed != before.token_sealed
    }
}

/// Makes room for the access token of a set of scopes, and looks at what is there.
///
/// # Errors
/// If the platform has no randomness.
pub fn cached(context: &Context, issuer: &Id<Issuer>, scope: &str) -> error::Result<[Statement; 2]> {
    Ok([
        sql!(
            "insert into issuer_access_token (id, issuer_id, scope, scope_hash, created_at, updated_at)
             values (:id, :issuer, :scope, :scope_hash, :now, :now) on conflict (issuer_id, scope_hash) do nothing",
            issuer,
            id = context.row_id()?,
            scope,
            scope_hash = scope_hash(scope),
            now = context.now
        ),
        look(issuer, scope),
    ])
}

/// The cached access token of a set of scopes.
#[must_use]
pub fn look(issuer: &Id<Issuer>, scope: &str) -> Statement {
    sql!(
        "select json_object('id', id, 'token_sealed', token_sealed, 'expires_at', expires_at, 'scope', scope) as row
         from issuer_access_token where issuer_id = :issuer and scope_hash = :scope_hash",
        issuer,
        scope_hash = scope_hash(scope)
    )
}

/// Seals an access token for its row.
///
/// # Errors
/// If the platform has no randomness.
pub fn sealed(context: &Context, row: &str, token: &str) -> error::Result<String> {
    Ok(context.config.keyring.seal(token_cell(row), token.as_bytes(), context.random()?))
}

/// Keeps the refresh token that the issuer gave in the place of the one that was used.
///
/// # Errors
/// If the platform has no randomness.
pub fn rotate(context: &Context, connected: &Connected, lease: &str, token: &str) -> error::Result<Statement> {
    let sealed = context.config.keyring.seal(cell(&connected.id), token.as_bytes(), context.random()?);
    Ok(sql!(
        "update system_account set refresh_token_sealed = :sealed, updated_at = :now where id = :id and leased_by = :lease",
        id = &connected.id,
        lease,
        sealed,
        now = context.now
    ))
}
