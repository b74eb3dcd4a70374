//! `oauth_token`: access and refresh tokens, by their hashes.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::platform::algorithm::SigningAlgorithm;
use crate::platform::d1::Statement;
use crate::platform::error;
use crate::platform::id::{Id, Millis, OauthClient, Session, User};
use crate::platform::secret::{AccessToken, DeviceCode, RefreshToken, TokenHash, TokenKind};
use crate::platform::sql::sql;
use crate::provider::claims::{Profile, Subject};
use crate::provider::dpop::Confirmation;
use crate::request::context::Context;
use crate::session::store::permission::{group_slugs, roles_of};
use crate::users::person::Person;
use crate::users::store::person::person_json;

/// A token to be kept.
pub struct NewToken<'a, K> {
    /// Its hash.
    pub hash: &'a TokenHash<K>,
    /// Whose.
    pub client: &'a Id<OauthClient>,
    /// For whom; none for the client itself.
    pub user: Option<&'a Id<User>>,
    /// The session that it came of.
    pub session: Option<&'a Id<Session>>,
    /// What it came of.
    pub family: &'a str,
    /// Scopes.
    pub scope: &'a str,
    /// Resources.
    pub audience: &'a [String],
    /// The key that it is bound to.
    pub cnf: &'a Confirmation,
    /// Who acts for the user.
    pub act: Option<&'a Value>,
    /// The client whose user's token it was exchanged for.
    pub origin: Option<&'a Id<OauthClient>>,
    /// Whether it outlives the session.
    pub is_offline: bool,
    /// Claims that the userinfo endpoint was asked for by name.
    pub userinfo_claims: &'a [String],
    /// When the user proved who they are.
    pub authenticated_at: Option<Millis>,
    /// How.
    pub amr: &'a [String],
    /// Its end.
    pub expires_at: Millis,
}

fn keep<K: TokenKind>(context: &Context, kind: &str, new: &NewToken<'_, K>) -> error::Result<Statement> {
    Ok(sql!(
        "insert into oauth_token
              (id, tenant_id, kind, token_hash, client_id, user_id, session_id, family_id, scope, audience, authenticated_at, amr,
               expires_at, created_at, updated_at, cnf, act, requested_claims, origin_client_id, is_offline, trusted_device_id)
            values (:id, :tenant, :kind, :hash, :client, :user, :session, :family, :scope, :audience, :authenticated_at, :amr, :expires_at, :now, :now, :cnf, :act, :requested_claims, :origin, :is_offline,
                    iif(:kind = 'refresh',
                        coalesce((select trusted_device_id from session where id = :session),
                                 (select trusted_device_id from oauth_token where family_id = :family and trusted_device_id is not null limit 1)),
                        null))",
        tenant = &context.tenant().id,
        id = context.row_id()?,
        kind,
        hash = new.hash,
        client = new.client,
        user = new.user,
        session = new.session,
        family = new.family,
        scope = new.scope,
        audience = json!(new.audience).to_string(),
        authenticated_at = new.authenticated_at,
        amr = json!(new.amr).to_string(),
        expires_at = new.expires_at,
        now = context.now,
        cnf = (!new.cnf.is_none()).then(|| json!(new.cnf).to_string()),
        act = new.act.map(ToString::to_string),
        requested_claims = (!new.userinfo_claims.is_empty()).then(|| json!(new.userinfo_claims).to_string()),
        origin = new.origin,
        is_offline = new.is_offline
    ))
}

/// Keeps an access token.
///
/// # Errors
/// If the platform has no randomness.
pub fn keep_access(context: &Context, new: &NewToken<'_, AccessToken>) -> error::Result<Statement> {
    keep(context, "access", new)
}

/// Keeps a refresh token.
///
/// # Errors
/// If the platform has no randomness.
pub fn keep_refresh(context: &Context, new: &NewToken<'_, RefreshToken>) -> error::Result<Statement> {
    keep(context, "refresh", new)
}

/// A refresh token, with its user; `successor` is the token that it is rotated to, if it was.
#[must_use]
pub fn refresh(context: &Context, hash: &TokenHash<RefreshToken>, successor: &TokenHash<RefreshToken>) -> Statement {
    sql!(
        concat!(
        "select json_object('id', t.id, 'client_id', t.client_id, 'user_id', t.user_id, 'session_id', t.session_id,
                            'family_id', t.family_id, 'scope', t.scope, 'audience', json(t.audience),
                            'authenticated_at', t.authenticated_at, 'amr', json(t.amr), 'expires_at', t.expires_at,
                            'used_at', t.used_at, 'revoked_at', t.revoked_at, 'cnf', json(coalesce(t.cnf, '{}')),
                            'is_successor_used', json(iif(exists (
                              select 1 from oauth_token where token_hash = :successor and used_at is not null), 'true', 'false')),
                            'userinfo_claims', json(coalesce(t.requested_claims, '[]')),
                            'user_status', u.status, 'suspended_until', u.suspended_until,
                            'has_second_factor', json(iif(
                              exists (select 1 from two_factor where user_id = u.id and verified_at is not null)
                              or exists (select 1 from passkey where user_id = u.id and uv_initialized = 1), 'true', 'false')),
                            'is_device_trusted', json(iif(exists (
                              select 1 from trusted_device where id = t.trusted_device_id and revoked_at is null), 'true', 'false')),
                            'second_factor_required_at', m.second_factor_required_at,
                            'grace_logins', coalesce(m.second_factor_grace_logins, 0), 'roles', ",
        roles_of!("t.tenant_id", "t.user_id"),
        ") as row
         from oauth_token t join user u on u.id = t.user_id
         left join member m on m.tenant_id = t.tenant_id and m.user_id = t.user_id and m.status = 'active'
         where t.tenant_id = :tenant and t.kind = 'refresh' and t.token_hash = :hash"
    ),
        tenant = &context.tenant().id,
        hash,
        successor
    )
}

/// Rotates a refresh token, if nobody has.
#[must_use]
pub fn rotate(context: &Context, id: &str) -> Statement {
    sql!(
        "update oauth_token set used_at = :now, updated_at = :now
         where tenant_id = :tenant and id = :id and used_at is null and revoked_at is null",
        tenant = &context.tenant().id,
        id,
        now = context.now
    )
}

/// Prolongs a token that is not revoked.
#[must_use]
pub fn prolong(context: &Context, id: &str, until: Millis) -> Statement {
    sql!(
        "update oauth_token set expires_at = max(expires_at, :until), updated_at = :now
         where tenant_id = :tenant and id = :id and used_at is null and revoked_at is null",
        tenant = &context.tenant().id,
        id,
        now = context.now,
        until
    )
}

/// The user of a grant or refresh token, for ID tokens that say what their scopes stand for.
#[derive(Debug, Deserialize)]
pub struct Described {
    /// The user.
    pub person: Person,
    /// What else is known of them.
    pub profile: Profile,
    /// Their roles.
    pub roles: Vec<String>,
}

impl Described {
    /// As claims are made of it.
    #[must_use]
    pub fn subject<'a>(&'a self, context: &'a Context) -> Subject<'a> {
        let tenant = context.tenant();
        Subject {
            person: &self.person,
            profile: &self.profile,
            roles: &self.roles,
            tenant: (tenant.id.as_str(), &tenant.name),
        }
    }
}

/// A [`Described`] for what follows `from`, where its client wants scope claims in ID tokens: for every other client that would
/// be read for nothing.
macro_rules! described {
    ($source:literal) => {
        concat!(
            "select json_object('person', ",
            person_json!("u"),
            ", 'profile', json_object('first_name', u.first_name, 'last_name', u.last_name, 'profile', json(u.profile), 'groups', ",
            group_slugs!("t.tenant_id", "t.user_id"),
            "), 'roles', ",
            roles_of!("t.tenant_id", "t.user_id"),
            ") as row from ",
            $source,
            " join oauth_client c on c.id = t.client_id join user u on u.id = t.user_id
             where t.tenant_id = :tenant and t.token_hash = :hash
               and coalesce(c.details ->> '$.id_token_scope_claims', c.details ->> '$.classical', 0) = 1"
        )
    };
}

/// The user of a refresh token.
#[must_use]
pub fn refreshing_user(context: &Context, hash: &TokenHash<RefreshToken>) -> Statement {
    sql!(described!("oauth_token t"), tenant = &context.tenant().id, hash)
}

/// The user who agreed to a device.
#[must_use]
pub fn device_user(context: &Context, hash: &TokenHash<DeviceCode>) -> Statement {
    sql!(described!("oauth_grant t"), tenant = &context.tenant().id, hash)
}

/// Gives a rotated refresh token's successor once more, unless it is revoked or the successor was used.
#[must_use]
pub fn repeat(context: &Context, id: &str, successor: &TokenHash<RefreshToken>) -> Statement {
    sql!(
        "update oauth_token set updated_at = :now
         where tenant_id = :tenant and id = :id and revoked_at is null
           and not exists (select 1 from oauth_token where token_hash = :successor and used_at is not null)",
        tenant = &context.tenant().id,
        id,
        now = context.now,
        successor
    )
}

/// Touches a token that is not revoked.
#[must_use]
pub fn touch(context: &Context, id: &str) -> Statement {
    sql!(
        "update oauth_token set updated_at = :now where tenant_id = :tenant and id = :id and revoked_at is null",
        tenant = &context.tenant().id,
        id,
        now = context.now
    )
}

/// Revokes one token.
#[must_use]
pub fn revoke(context: &Context, id: &str, reason: &str) -> Statement {
    sql!(
        "update oauth_token set revoked_at = :now, revocation_reason = :reason, updated_at = :now
         where tenant_id = :tenant and id = :id and revoked_at is null",
        tenant = &context.tenant().id,
        id,
        now = context.now,
        reason
    )
}

/// Revokes all that came of an authorization.
#[must_use]
pub fn revoke_family(context: &Context, family: &str, reason: &str) -> Statement {
    sql!(
        "update oauth_token set revoked_at = :now, revocation_reason = :reason, updated_at = :now
         where tenant_id = :tenant and family_id = :family and revoked_at is null",
        tenant = &context.tenant().id,
        family,
        now = context.now,
        reason
    )
}

/// Revokes what a client has in a user's name, by what the user agreed to, and what others got for it.
#[must_use]
pub fn revoke_consented(context: &Context, user: &Id<User>, consent: &str) -> Statement {
    sql!(
        "update oauth_token set revoked_at = :now, revoked_by = :user, revocation_reason = 'consent withdrawn', updated_at = :now
         where tenant_id = :tenant and user_id = :user and revoked_at is null
           and (client_id = (select client_id from oauth_consent where id = :consent and user_id = :user and tenant_id = :tenant)
                or family_id in (select family_id from oauth_token
                                 where tenant_id = :tenant and user_id = :user and origin_client_id is null
                                   and client_id = (select client_id from oauth_consent
                                                    where id = :consent and user_id = :user and tenant_id = :tenant)))",
        tenant = &context.tenant().id,
        user,
        consent,
        now = context.now
    )
}

/// Revokes what others got for tokens of a client's, or for such again: where the client is switched off or deleted.
#[must_use]
pub fn revoke_exchanged(context: &Context, client_id: &str) -> Statement {
    sql!(
        "update oauth_token set revoked_at = :now, revocation_reason = 'client ended', updated_at = :now
         where tenant_id = :tenant and revoked_at is null and origin_client_id is not null
           and family_id in (select family_id from oauth_token
                             where tenant_id = :tenant and client_id = (select id from oauth_client where client_id = :client_id))",
        tenant = &context.tenant().id,
        client_id,
        now = context.now
    )
}

/// A token, whichever kind it is, as introspection and userinfo need it.
#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "columns")]
pub struct FoundToken {
    /// `oauth_token.id`.
    pub id: String,
    /// `access` or `refresh`.
    pub kind: String,
    /// `client_id`, by which the client knows itself.
    pub client_id: String,
    /// What it came of.
    pub family_id: String,
    /// Scopes.
    pub scope: String,
    /// Resources.
    pub audience: Vec<String>,
    /// The key that it is bound to.
    pub cnf: Confirmation,
    /// Who acts for the user.
    pub act: Option<Value>,
    /// Its client.
    pub client: Id<OauthClient>,
    /// The client whose user's token it was exchanged for.
    pub origin: Option<Id<OauthClient>>,
    /// Whether it outlives the session.
    pub is_offline: bool,
    /// Claims that the userinfo endpoint was asked for by name.
    pub userinfo_claims: Vec<String>,
    /// The session that it came of.
    pub session_id: Option<Id<Session>>,
    /// When the user proved who they are.
    pub authenticated_at: Option<Millis>,
    /// How.
    pub amr: Vec<String>,
    /// Start.
    pub created_at: Millis,
    /// End.
    pub expires_at: Millis,
    /// Whether it is good: not rotated, not revoked, and what it stands on neither.
    pub is_good: bool,
    /// Whether each sector sees a user by a name of its own.
    pub is_pairwise: bool,
    /// Where the client's users are sent back.
    pub redirect_uris: Vec<String>,
    /// What the client's userinfo is signed with.
    pub userinfo_alg: Option<SigningAlgorithm>,
    /// Whether the client is held to FAPI 2.0.
    pub is_fapi: bool,
    /// The user; none for the client itself.
    pub person: Option<Person>,
    /// What else is known of them.
    pub profile: Profile,
    /// Their roles.
    pub roles: Vec<String>,
}

/// A token by the hash of its text. One that was given for the length of a session ends with it.
#[must_use]
pub fn find(context: &Context, hash: &str) -> Statement {
    sql!(
        concat!(
        "select json_object(
           'id', t.id, 'kind', t.kind, 'client_id', c.client_id, 'family_id', t.family_id, 'scope', t.scope, 'audience', json(t.audience),
           'cnf', json(coalesce(t.cnf, '{}')), 'act', json(t.act), 'userinfo_claims', json(coalesce(t.requested_claims, '[]')),
           'session_id', t.session_id, 'amr', json(t.amr), 'userinfo_alg', c.details ->> '$.userinfo_signed_response_alg',
           'profile', json_object('first_name', u.first_name, 'last_name', u.last_name, 'profile', json(coalesce(u.profile, '{}')), 'groups', ",
        group_slugs!("t.tenant_id", "t.user_id"),
        "),
           'authenticated_at', t.authenticated_at, 'created_at', t.created_at, 'expires_at', t.expires_at,
           'is_good', json(iif(t.used_at is null and t.revoked_at is null and t.expires_at > :now and c.disabled = 0
                               and (t.user_id is null
                                    or u.status = 'active' or (u.status = 'suspended' and u.suspended_until <= :now))
                               and (t.session_id is null or t.is_offline = 1 or s.revoked_at is null)
                               and coalesce(o.disabled, 0) = 0
                               and (select status from tenant where id = t.tenant_id) = 'active', 'true', 'false')),
           'client', c.id, 'origin', t.origin_client_id, 'is_offline', json(iif(t.is_offline, 'true', 'false')),
           'is_pairwise', json(iif(c.subject_type = 'pairwise', 'true', 'false')), 'redirect_uris', json(c.redirect_uris),
           'is_fapi', json(iif(c.details ->> '$.fapi', 'true', 'false')),
           'person', iif(u.id is null, null, ",
        person_json!("u"),
        "), 'roles', ",
        roles_of!("t.tenant_id", "t.user_id"),
        ") as row
         from oauth_token t
         join oauth_client c on c.id = t.client_id
         left join user u on u.id = t.user_id
         left join session s on s.id = t.session_id
         left join oauth_client o on o.id = t.origin_client_id
         where t.tenant_id = :tenant and t.token_hash = :hash"
    ),
        tenant = &context.tenant().id,
        hash,
        now = context.now
    )
}
