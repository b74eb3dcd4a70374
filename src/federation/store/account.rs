//! `account`: identities linked to a user, and the tokens that came with them.

use serde::Deserialize;

use crate::federation::store::issuer::{Upstream, upstream_json};
use crate::federation::store::upstream::refresh_cell;
use crate::platform::d1::{Statement, StoreError, Stored};
use crate::platform::id::{Account, Id, Millis, Tenant, User};
use crate::platform::secret::{Cell, Secret};
use crate::platform::sql::sql;
use crate::request::context::Context;

/// A linked identity, as its owner sees it.
#[derive(Debug, Deserialize)]
pub struct Linked {
    /// Id.
    pub id: Id<Account>,
    /// The issuer's name, or `credential`.
    pub provider: String,
    /// The subject at the issuer.
    pub subject: String,
    /// Granted scopes, space-separated.
    pub scope: Option<String>,
    /// Linking.
    pub created_at: Millis,
    /// Last change.
    pub updated_at: Millis,
}

/// A user's linked identities, the oldest first. One that waits for its confirmation is none yet.
#[must_use]
pub fn of_user(tenant: &Id<Tenant>, user: &Id<User>) -> Statement {
    sql!(
        "select json_object('id', a.id, 'provider', coalesce(i.name, 'credential'), 'subject', a.subject, 'scope', a.scope,
                            'created_at', a.created_at, 'updated_at', a.updated_at) as row
         from account a left join issuer i on i.id = a.issuer_id
         where (a.tenant_id is null or a.tenant_id = :tenant) and a.user_id = :user
           and (a.issuer_id is null or a.confirmed_at is not null)
         order by a.created_at, a.id limit 100",
        tenant,
        user
    )
}

/// Unlinks an identity, or takes the password away, if another way in is left: another account, or a passkey where those
/// are open. Of two that unlink the last two at once, one does.
#[must_use]
pub fn unlink(context: &Context, user: &Id<User>, account: &Id<Account>) -> Statement {
    sql!(
        "delete from account
         where (tenant_id is null or tenant_id = :tenant) and user_id = :user and id = :account
           and (exists (select 1 from account other
                        where other.user_id = :user and other.id <> :account and other.is_active = 1
                          and ((other.issuer_id is null and :password)
                               or (other.confirmed_at is not null
                                   and exists (select 1 from issuer where id = other.issuer_id and enabled = 1))))
                or (:passkey and exists (select 1 from passkey where user_id = :user)))",
        tenant = &context.tenant().id,
        user,
        account,
        passkey = context.config.ways_in.passkey,
        password = context.config.ways_in.password
    )
}

/// What [`keeps_way_in`] breaks with.
pub const LAST_WAY_IN: &str = "last_way_in";

/// Fails, and the whole batch with it, if a user has no way of signing in any more: after the statement that takes one away. Of
/// two ways that go at once by different doors, one stays. A proven address is a way where mails sign in, or a reset sets a
/// password.
#[must_use]
pub fn keeps_way_in(context: &Context, user: &Id<User>) -> Statement {
    let ways = &context.config.ways_in;
    sql!(
        "select json_extract('{}', iif(exists (
           select 1 from account a
           where a.user_id = :user and a.is_active = 1
             and ((a.issuer_id is null and :password)
                  or (a.confirmed_at is not null and exists (select 1 from issuer where id = a.issuer_id and enabled = 1))))
         or (:passkey and exists (select 1 from passkey where user_id = :user))
         or exists (select 1 from user
                    where id = :user and ((:by_mail and email_verified = 1 and email not like '%.invalid')
                                       or (:phone and phone_number is not null and phone_number_verified = 1))),
         '$', 'doorward:broken:last_way_in')) as row",
        user,
        password = ways.password,
        passkey = ways.passkey,
        by_mail = ways.magic_link || ways.email_otp || ways.password,
        phone = ways.phone
    )
}

/// A refresh token, as it is kept.
#[derive(Debug, Deserialize)]
pub struct RefreshToken {
    id: String,
    token_sealed: String,
    /// The scopes that it was asked for with.
    pub scope: String,
}

impl RefreshToken {
    /// The token.
    ///
    /// # Errors
    /// If it does not open.
    pub fn open(&self, context: &Context) -> Stored<Secret<String>> {
        opened(context, refresh_cell(&self.id), &self.token_sealed)
    }
}

fn opened(context: &Context, cell: Cell<'_>, sealed: &str) -> Stored<Secret<String>> {
    let opened = context.config.keyring.open(cell, sealed).ok();
    let text = opened.and_then(|bytes| String::from_utf8(bytes.expose().clone()).ok());
    let broken = || StoreError::Failed(format!("{}.{} of {} does not open", cell.table, cell.column, cell.row));
    text.map(Secret::new).ok_or_else(broken)
}

/// An account with its tokens and its issuer.
#[derive(Debug, Deserialize)]
pub struct Holding {
    /// Id.
    pub id: Id<Account>,
    /// Subject.
    pub subject: String,
    /// The issuer; none of a password, or of one that is switched off.
    pub issuer: Option<Upstream>,
    /// What the issuer is called; none of a password.
    pub label: Option<String>,
    access_token_sealed: Option<String>,
    /// The access token's end.
    pub expires_at: Option<Millis>,
    /// Granted scopes.
    pub scope: Option<String>,
    /// The scopes that the access token was asked for with.
    pub requested_scope: Option<String>,
    id_token_sealed: Option<String>,
    /// The refresh token of the widest consent.
    pub refresh_token: Option<RefreshToken>,
}

impl Holding {
    fn cell(&self, column: &'static str) -> Cell<'_> {
        Cell { table: "account", column, row: self.id.as_str() }
    }

    /// Whether the access token is another than it was.
    #[must_use]
    pub fn differs_from(&self, before: &Self) -> bool {
        self.access_token_sealed != before.access_token_sealed
    }

    /// The access token.
    ///
    /// # Errors
    /// If it does not open.
    pub fn access_token(&self, context: &Context) -> Stored<Option<Secret<String>>> {
        let sealed = self.access_token_sealed.as_deref();
        sealed.map(|sealed| opened(context, self.cell("access_token_sealed"), sealed)).transpose()
    }

    /// The ID token.
    ///
    /// # Errors
    /// If it does not open.
    pub fn id_token(&self, context: &Context) -> Stored<Option<Secret<String>>> {
        let sealed = self.id_token_sealed.as_deref();
        sealed.map(|sealed| opened(context, self.cell("id_token_sealed"), sealed)).transpose()
    }
}

/// An account of a user, with its tokens. Its issuer must be the tenant's, or everybody's.
#[must_use]
pub fn holding(context: &Context, user: &Id<User>, account: &Id<Account>) -> Statement {
    sql!(
        concat!(
        "select json_object(
           'id', a.id, 'subject', a.subject, 'label', (select login_page_name from issuer where id = a.issuer_id), 'issuer', iif(i.id is null, null, ",
        upstream_json!(),
        "), 'access_token_sealed', a.access_token_sealed, 'expires_at', a.access_token_expires_at, 'scope', a.scope,
           'requested_scope', a.requested_scope, 'id_token_sealed', a.id_token_sealed,
           'refresh_token', json((select json_object('id', id, 'token_sealed', token_sealed, 'scope', scope)
                                  from issuer_refresh_token
                                  where account_id = a.id and (expires_at is null or expires_at > :now)
                                  order by length(scope) desc, updated_at desc limit 1))) as row
         from account a
         left join issuer i on i.id = a.issuer_id and i.enabled = 1 and (i.tenant_id = :tenant or i.tenant_id is null)
         where (a.tenant_id is null or a.tenant_id = :tenant) and a.user_id = :user and a.id = :account
           and a.is_active = 1 and (a.issuer_id is null or a.confirmed_at is not null)"
    ),
        tenant = &context.tenant().id,
        user,
        account,
        now = context.now
    )
}

/// The refresh tokens of an account.
#[must_use]
pub fn refresh_tokens(account: &Id<Account>) -> Statement {
    sql!(
        "select json_object('id', id, 'token_sealed', token_sealed, 'scope', scope) as row
         from issuer_refresh_token where account_id = :account",
        account
    )
}

/// Forgets a refresh token that the issuer honours no more.
#[must_use]
pub fn forget_refresh_token(account: &Id<Account>, token: &RefreshToken) -> Statement {
    sql!("delete from issuer_refresh_token where account_id = :account and id = :id", account, id = &token.id)
}
