//! What the end of an upstream flow reads and writes.

use crate::federation::linking::Known;
use crate::federation::profile::Profile;
use crate::federation::request::scope_hash;
use crate::federation::store::issuer::Upstream;
use crate::jose::jws::UnverifiedJws;
use crate::platform::d1::{Statement, Stored};
use crate::platform::error;
use crate::platform::error::Error;
use crate::platform::id::{Account, Id, Issuer, Millis, Tenant, User};
use crate::platform::secret::{Cell, SeenIdToken, Token, sha256_base64url};
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::{request, users};

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
            users::store::sign_in::tenant_is_active(&context.tenant().id),
        ])
        .await?;
    Ok(Candidates {
        linked: answers.row()?,
        same_email: answers.row()?,
        tenant_is_active: answers.row()?.unwrap_or(false),
    })
}

/// Two texts each, because an index on `tenant_id is null` serves no `tenant_id is :pool`.
macro_rules! linked {
    ($pool:literal) => {
        concat!(
            "select json_object('user_id', u.id, 'account_id', a.id,
                                'account_is_active', json(iif(a.is_active, 'true', 'false')),
                                'account_is_confirmed', json(iif(a.confirmed_at is not null, 'true', 'false')),
                                'email', u.email, 'email_verified', json(iif(u.email_verified, 'true', 'false')),
                                'status', u.status, 'suspended_until', u.suspended_until) as row
             from account a join user u on u.id = a.user_id
             where a.issuer_id = :issuer and a.subject = :subject and ",
            $pool
        )
    };
}

macro_rules! same_email {
    ($pool:literal) => {
        concat!(
            "select json_object('user_id', id, 'account_id', null, 'account_is_active', json('false'),
                                'account_is_confirmed', json('false'),
                                'email', email, 'email_verified', json(iif(email_verified, 'true', 'false')),
                                'status', status, 'suspended_until', suspended_until) as row
             from user where email = :email and deleted_at is null and ",
            $pool
        )
    };
}

fn linked(pool: Option<&Id<Tenant>>, issuer: &Id<Issuer>, subject: &str) -> Statement {
    sql!(
        match pool {
            Some(_) => linked!("a.tenant_id = :pool and a.tenant_id is not null"),
            None => linked!("a.tenant_id is null"),
        },
        pool,
        issuer,
        subject
    )
}

fn same_email(pool: Option<&Id<Tenant>>, email: Option<&str>) -> Statement {
    sql!(
        match pool {
            Some(_) => same_email!("tenant_id = :pool and tenant_id is not null"),
            None => same_email!("tenant_id is null"),
        },
        pool,
        email
    )
}

/// The tokens of a token response, as they are kept.
pub struct Tokens<'a> {
    /// `access_token`; empty where a native app brought none.
    pub access_token: &'a str,
    /// `refresh_token`.
    pub refresh_token: Option<&'a str>,
    /// `id_token`.
    pub id_token: Option<&'a str>,
    /// The scopes granted, sorted.
    pub granted: String,
    /// The scopes asked for.
    pub requested: &'a str,
    /// Life of the access token, in seconds.
    pub expires_in: Option<i64>,
    /// Life of the refresh token, in seconds.
    pub refresh_expires_in: Option<i64>,
}

/// Links the identity to a user. One that is not confirmed signs nobody in. Of a link and a change of its issuer at once, one
/// happens: who is linked was named by the issuer as it is.
#[must_use]
pub fn link(
    context: &Context,
    account: &Id<Account>,
    user: &Id<User>,
    upstream: &Upstream,
    subject: &str,
    is_confirmed: bool,
) -> [Statement; 2] {
    [
        sql!(
            "select json_extract('{}', iif(exists (select 1 from issuer where id = :id and revision = :revision), '$',
               'doorward:broken:issuer_changed')) as row",
            id = &upstream.id,
            revision = upstream.revision
        ),
        sql!(
            "insert into account (id, tenant_id, user_id, issuer_id, subject, confirmed_at, created_at, updated_at)
             values (:account, :pool, :user, :id, :subject, iif(:is_confirmed, :now, null), :now, :now)",
            pool = context.tenant().pool(),
            account,
            user,
            id = &upstream.id,
            subject,
            now = context.now,
            is_confirmed
        ),
    ]
}

/// Confirms a link that waits.
#[must_use]
pub fn confirm(context: &Context, user: &Id<User>, account: &Id<Account>) -> Statement {
    sql!(
        "update account set confirmed_at = :now, updated_at = :now
         where (tenant_id is null or tenant_id = :tenant) and id = :account and user_id = :user and confirmed_at is null",
        tenant = &context.tenant().id,
        user,
        account,
        now = context.now
    )
}

/// Takes the mapped fields over into the user. What the issuer does not say stays; a user name is taken only by whoever has
/// none, and if it is free.
#[must_use]
pub fn take_over(context: &Context, user: &Id<User>, profile: &Profile) -> Statement {
    sql!(
        "update user set
           name = coalesce(:name, name), first_name = coalesce(:first_name, first_name), last_name = coalesce(:last_name, last_name),
           image = coalesce(:picture, image), external_id = coalesce(:external_id, external_id), profile = json_patch(profile, :extra),
           username = iif(username is null and :username is not null
                            and not exists (select 1 from user other
                                            where other.username = :username and other.deleted_at is null
                                              and other.tenant_id is null and user.tenant_id is null)
                            and not exists (select 1 from user other
                                            where other.username = :username and other.deleted_at is null
                                              and other.tenant_id = user.tenant_id), :username, username),
           display_username = iif(username is null and :username is not null
                            and not exists (select 1 from user other
                                            where other.username = :username and other.deleted_at is null
                                              and other.tenant_id is null and user.tenant_id is null)
                            and not exists (select 1 from user other
                                            where other.username = :username and other.deleted_at is null
                                              and other.tenant_id = user.tenant_id), :username, display_username),
           updated_at = :now
         where (tenant_id is null or tenant_id = :tenant) and id = :user and deleted_at is null",
        tenant = &context.tenant().id,
        user,
        name = profile.name.as_ref(),
        first_name = profile.first_name.as_ref(),
        last_name = profile.last_name.as_ref(),
        picture = profile.picture.as_ref(),
        username = profile.username.as_ref(),
        external_id = profile.external_id.as_ref(),
        extra = serde_json::Value::Object(profile.extra.clone()).to_string(),
        now = context.now
    )
}

/// A guest who links an identity is a user from now on, under the same id. The address counts as unproven: nobody asked for
/// it here.
#[must_use]
pub fn name_guest(context: &Context, user: &Id<User>, profile: &Profile) -> Statement {
    sql!(
        "update user set is_anonymous = 0, email = coalesce(:email, email), email_verified = 0, name = coalesce(:name, name),
                         image = coalesce(:picture, image), updated_at = :now
         where (tenant_id is null or tenant_id = :tenant) and id = :user and is_anonymous = 1 and deleted_at is null",
        tenant = &context.tenant().id,
        user,
        email = profile.email.as_ref(),
        name = profile.name.as_ref(),
        picture = profile.picture.as_ref(),
        now = context.now
    )
}

/// A refresh token's cell.
pub(crate) const fn refresh_cell(row: &str) -> Cell<'_> {
    Cell { table: "issuer_refresh_token", column: "token_sealed", row }
}

/// Keeps a refresh token, in the place of the one for the same scopes.
///
/// # Errors
/// If the platform has no randomness.
pub fn keep_refresh_token(
    context: &Context,
    account: &Id<Account>,
    token: &str,
    scope: &str,
    expires_in: Option<i64>,
) -> error::Result<Statement> {
    let id = context.row_id()?;
    let sealed = context.config.keyring.seal(refresh_cell(&id), token.as_bytes(), context.random()?);
    Ok(sql!(
        "insert into issuer_refresh_token (id, account_id, scope, scope_hash, token_sealed, expires_at, created_at, updated_at)
            values (:id, :account, :scope, :scope_hash, :sealed, :expires_in, :now, :now)
            on conflict (account_id, scope_hash) do update set
              id = excluded.id, token_sealed = excluded.token_sealed, expires_at = excluded.expires_at,
              updated_at = excluded.updated_at",
        account,
        id = &id,
        scope,
        scope_hash = scope_hash(scope),
        sealed,
        now = context.now,
        expires_in = expires_in.map(|seconds| context.now + seconds * 1000)
    ))
}

/// Seals a token for a column of an account.
///
/// # Errors
/// If the platform has no randomness.
pub fn sealed(context: &Context, account: &Id<Account>, column: &'static str, text: &str) -> error::Result<String> {
    let cell = Cell { table: "account", column, row: account.as_str() };
    Ok(context.config.keyring.seal(cell, text.as_bytes(), context.random()?))
}

/// How long an ID token is remembered at least, in milliseconds, and how long past its end.
const REMEMBERED: Millis = 300_000;

/// What an ID token is remembered by, and until when: by what is signed, because a signature can be written in more ways than
/// one. Its hash has the form of a token of ours, whose hash in turn is what is kept.
///
/// # Errors
/// None that happens.
pub fn remembered(text: &str, now: Millis) -> error::Result<(Token<SeenIdToken>, Millis)> {
    let jws = UnverifiedJws(text);
    let seen = Token::parse(&sha256_base64url(jws.signed_part()));
    let seen = seen.ok_or_else(|| Error::Internal("a hash that is no token".to_owned()))?;
    Ok((seen, jws.ends_at().unwrap_or(now).max(now) + REMEMBERED))
}

/// Remembers an ID token that we were given by the issuer itself: somebody who reads it here, or in a log, signs in by it no
/// more.
///
/// # Errors
/// As [`remembered`].
pub fn seen(context: &Context, issuer: &Id<Issuer>, text: &str) -> error::Result<Statement> {
    let (token, until) = remembered(text, context.now)?;
    request::store::verification::keep_unless(context, &context.tenant().id, &token, issuer.as_str(), until)
}

/// Keeps what the issuer said and gave this time.
///
/// # Errors
/// If the platform has no randomness.
pub fn refresh(
    context: &Context,
    upstream: &Upstream,
    account: &Id<Account>,
    profile: &Profile,
    tokens: &Tokens<'_>,
) -> error::Result<Vec<Statement>> {
    let access_token = (!tokens.access_token.is_empty())
        .then(|| sealed(context, account, "access_token_sealed", tokens.access_token))
        .transpose()?;
    let id_token = tokens.id_token.map(|text| sealed(context, account, "id_token_sealed", text)).transpose()?;
    let mut statements = vec![
        sql!(
            "update account set
               access_token_expires_at = iif(:access_token is null, access_token_expires_at, :expires_in),
               scope = iif(:access_token is null, scope, :granted), requested_scope = iif(:access_token is null, requested_scope, :requested),
               access_token_sealed = coalesce(:access_token, access_token_sealed), id_token_sealed = coalesce(:id_token, id_token_sealed),
               email = :email, email_verified = :email_verified, name = :name, first_name = :first_name, last_name = :last_name,
               picture = :picture, raw_profile = :raw_profile, last_login_at = :now, refresh_failed_at = null, updated_at = :now
             where id = :account",
            account,
            access_token,
            expires_in = tokens.expires_in.map(|seconds| context.now + seconds * 1000),
            id_token,
            granted = &tokens.granted,
            email = profile.email.as_ref(),
            email_verified = profile.email_verified,
            name = profile.name.as_ref(),
            first_name = profile.first_name.as_ref(),
            last_name = profile.last_name.as_ref(),
            picture = profile.picture.as_ref(),
            raw_profile = serde_json::Value::Object(profile.raw.clone()).to_string(),
            now = context.now,
            requested = tokens.requested
        ),
    ];
    statements.extend(tokens.id_token.map(|text| seen(context, &upstream.id, text)).transpose()?);
    if let Some(token) = tokens.refresh_token {
        let life = tokens.refresh_expires_in;
        statements.push(keep_refresh_token(context, account, token, tokens.requested, life)?);
    }
    Ok(statements)
}
