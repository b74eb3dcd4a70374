//! What the end of an upstream sign-in reads and writes.

use crate::context::Context;
use crate::federation::linking::Known;
use crate::federation::profile::Profile;
use crate::id::{Account, Id, Issuer, Tenant, User};
use crate::secret::Cell;
use crate::store::database::{Statement, Stored, sql};

/// Who the identity may be.
pub struct Candidates {
    /// The user to whom it is linked.
    pub linked: Option<Known>,
    /// The user with its address.
    pub same_email: Option<Known>,
    /// Whether the tenant lets anybody in.
    pub tenant_is_active: bool,
}

/// Loads who the identity may be.
///
/// # Errors
/// If D1 does not answer.
pub async fn candidates(context: &Context, issuer: &Id<Issuer>, profile: &Profile) -> Stored<Candidates> {
    let pool = context.tenant().pool();
    let mut answers = context
        .db()?
        .batch([
            linked(pool, issuer, &profile.subject),
            same_email(pool, profile.email.as_deref()),
            super::sign_in::tenant_is_active(&context.tenant().id),
        ])
        .await?;
    Ok(Candidates {
        linked: answers.row()?,
        same_email: answers.row()?,
        tenant_is_active: answers.row()?.unwrap_or(false),
    })
}

/// Two texts each, because an index on `tenant_id is null` serves no `tenant_id is ?1`.
macro_rules! linked {
    ($pool:literal) => {
        concat!(
            "select json_object('user_id', u.id, 'account_id', a.id,
                                'account_usable', json(iif(a.is_active and a.confirmed_at is not null, 'true', 'false')),
                                'email_verified', json(iif(u.email_verified, 'true', 'false')),
                                'status', u.status, 'suspended_until', u.suspended_until) as row
             from account a join user u on u.id = a.user_id
             where a.issuer_id = ?2 and a.subject = ?3 and ",
            $pool
        )
    };
}

macro_rules! same_email {
    ($pool:literal) => {
        concat!(
            "select json_object('user_id', id, 'account_id', null, 'account_usable', json('false'),
                                'email_verified', json(iif(email_verified, 'true', 'false')),
                                'status', status, 'suspended_until', suspended_until) as row
             from user where email = ?2 and deleted_at is null and ",
            $pool
        )
    };
}

fn linked(pool: Option<&Id<Tenant>>, issuer: &Id<Issuer>, subject: &str) -> Statement {
    let text = match pool {
        Some(_) => linked!("a.tenant_id = ?1 and a.tenant_id is not null"),
        None => linked!("a.tenant_id is null and ?1 is null"),
    };
    sql(text).bind(pool).bind(issuer).bind(subject)
}

fn same_email(pool: Option<&Id<Tenant>>, email: Option<&str>) -> Statement {
    let text = match pool {
        Some(_) => same_email!("tenant_id = ?1 and tenant_id is not null"),
        None => same_email!("tenant_id is null and ?1 is null"),
    };
    sql(text).bind(pool).bind(email)
}

/// The tokens of a token response, as they are kept.
pub struct Tokens<'a> {
    /// `access_token`.
    pub access_token: &'a str,
    /// `refresh_token`.
    pub refresh_token: Option<&'a str>,
    /// `id_token`.
    pub id_token: &'a str,
    /// `scope` granted.
    pub scope: Option<&'a str>,
    /// Life of the access token, in seconds.
    pub expires_in: Option<i64>,
}

/// Links the identity to a user.
#[must_use]
pub fn link(
    context: &Context,
    account: &Id<Account>,
    user: &Id<User>,
    issuer: &Id<Issuer>,
    subject: &str,
) -> Statement {
    sql("insert into account (id, tenant_id, user_id, issuer_id, subject, confirmed_at, created_at, updated_at)
         values (?2, ?1, ?3, ?4, ?5, ?6, ?6, ?6)")
    .bind(context.tenant().pool())
    .bind(account)
    .bind(user)
    .bind(issuer)
    .bind(subject)
    .bind(context.now)
}

/// Keeps what the issuer said and gave this time. A refresh token that was not sent again is kept.
///
/// # Errors
/// If the platform has no randomness.
pub fn refresh(
    context: &Context,
    account: &Id<Account>,
    profile: &Profile,
    tokens: &Tokens<'_>,
) -> crate::error::Result<Statement> {
    let seal = |column: &'static str, text: &str| -> crate::error::Result<String> {
        let cell = Cell { table: "account", column, row: account.as_str() };
        Ok(context.config.keyring.seal(cell, text.as_bytes(), context.random()?))
    };
    let refresh_token = tokens.refresh_token.map(|text| seal("refresh_token_sealed", text)).transpose()?;
    Ok(sql("update account set
              access_token_sealed = ?2, access_token_expires_at = ?3, refresh_token_sealed = coalesce(?4, refresh_token_sealed),
              id_token_sealed = ?5, scope = ?6, email = ?7, email_verified = ?8, name = ?9, first_name = ?10, last_name = ?11,
              picture = ?12, raw_profile = ?13, last_login_at = ?14, updated_at = ?14
            where id = ?1")
    .bind(account)
    .bind(seal("access_token_sealed", tokens.access_token)?)
    .bind(tokens.expires_in.map(|seconds| context.now + seconds * 1000))
    .bind(refresh_token)
    .bind(seal("id_token_sealed", tokens.id_token)?)
    .bind(tokens.scope)
    .bind(profile.email.as_ref())
    .bind(profile.email_verified)
    .bind(profile.name.as_ref())
    .bind(profile.first_name.as_ref())
    .bind(profile.last_name.as_ref())
    .bind(profile.picture.as_ref())
    .bind(serde_json::Value::Object(profile.raw.clone()).to_string())
    .bind(context.now))
}
