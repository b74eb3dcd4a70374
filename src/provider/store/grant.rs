//! `oauth_grant`: codes, and requests that are kept while their user signs in and agrees.

use serde::{Deserialize, Serialize};

use crate::platform::d1::Statement;
use crate::platform::error;
use crate::platform::id::{Id, Millis, OauthClient, Session, User};
use crate::platform::secret::{AuthorizationCode, KeptRequest, TokenHash};
use crate::platform::sql::sql;
use crate::provider::parameters::Parameters;
use crate::provider::token::Granted;
use crate::request::context::Context;
use crate::session::store::permission::{group_slugs, roles_of};
use crate::users::store::person::person_json;

/// Keeps a code.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn keep_code(
    context: &Context,
    id: &str,
    hash: &TokenHash<AuthorizationCode>,
    client: &Id<OauthClient>,
    (user, session): (&Id<User>, &Id<Session>),
    granted: &Granted,
) -> error::Result<Statement> {
    let request = serde_json::to_string(granted).map_err(|error| error::Error::Internal(error.to_string()))?;
    Ok(sql!(
        "insert into oauth_grant
              (id, tenant_id, kind, token_hash, client_id, user_id, session_id, request, expires_at, created_at, updated_at)
            values (:id, :tenant, 'code', :hash, :client, :user, :session, :request, :expires_at, :now, :now)",
        tenant = &context.tenant().id,
        id,
        hash,
        client,
        user,
        session,
        request,
        expires_at = context.now + context.config.code_grant_seconds * 1000,
        now = context.now
    ))
}

/// A code, with its user.
#[must_use]
pub fn code(context: &Context, hash: &TokenHash<AuthorizationCode>) -> Statement {
    sql!(
        concat!(
            "select json_object('id', g.id, 'client_id', g.client_id, 'user_id', g.user_id, 'session_id', g.session_id,
                            'has_session', json(iif(exists (
                              select 1 from session where id = g.session_id and revoked_at is null), 'true', 'false')),
                            'request', json(g.request), 'expires_at', g.expires_at, 'used_at', g.used_at,
                            'user_status', u.status, 'suspended_until', u.suspended_until,
                            'person', ",
            person_json!("u"),
            ", 'profile', json_object('first_name', u.first_name, 'last_name', u.last_name, 'profile', json(u.profile), 'groups', ",
            group_slugs!("g.tenant_id", "g.user_id"),
            "), 'roles', ",
            roles_of!("g.tenant_id", "g.user_id"),
            ") as row
         from oauth_grant g join user u on u.id = g.user_id
         where g.tenant_id = :tenant and g.kind = 'code' and g.token_hash = :hash"
        ),
        tenant = &context.tenant().id,
        hash
    )
}

/// Redeems a code, a device or a request, if nobody has and the session in which it was agreed to holds.
#[must_use]
pub fn redeem(context: &Context, id: &str) -> Statement {
    sql!(
        "update oauth_grant set used_at = :now, updated_at = :now
         where tenant_id = :tenant and id = :id and used_at is null
           and (session_id is null or exists (select 1 from session s where s.id = session_id and s.revoked_at is null))",
        tenant = &context.tenant().id,
        id,
        now = context.now
    )
}

/// After [`redeem`]: fails where that changed nothing and the grant is still there, since it was used before.
#[must_use]
pub fn must_be_spent(context: &Context, id: &str) -> Statement {
    sql!(
        "select json_extract('{}', iif(changes() > 0
                or not exists (select 1 from oauth_grant where tenant_id = :tenant and id = :id), '$', 'doorward:unchanged')) as row",
        tenant = &context.tenant().id,
        id
    )
}

/// Uses up the codes and devices of a client that a user agreed to and takes back.
#[must_use]
pub fn end_consented(context: &Context, user: &Id<User>, consent: &str) -> Statement {
    sql!(
        "update oauth_grant set used_at = :now, updated_at = :now
         where tenant_id = :tenant and user_id = :user and used_at is null
           and client_id = (select client_id from oauth_consent where id = :consent and user_id = :user and tenant_id = :tenant)",
        tenant = &context.tenant().id,
        user,
        consent,
        now = context.now
    )
}

/// A request, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewGrant {
    /// Its parameters.
    pub parameters: Parameters,
    /// When the user must have signed in since, if that is so.
    pub signed_in_after: Option<Millis>,
    /// In which session its user is asked to agree to it: nobody else's answer counts, nobody's before they have signed in as
    /// they were to, and none of another sign-in, which may be less than the client wanted.
    #[serde(default)]
    pub asks: Option<Id<Session>>,
    /// Whom the client wants, by its own name for them: the ID token that said so is not kept.
    #[serde(default)]
    pub wanted: Option<String>,
    /// Whether the client pushed it, and it is good once. One that we keep ourselves while the user signs in may be come back
    /// to: who clicks twice is no attacker.
    #[serde(default)]
    pub is_pushed: bool,
    /// The pushed request that it is a copy of, which the code of either uses up.
    #[serde(default)]
    pub pushed_id: Option<String>,
}

/// A kept request as it is read.
#[derive(Debug, Deserialize)]
pub struct FoundGrant {
    /// `oauth_grant.id`.
    pub id: String,
    /// Whose.
    pub client_id: Id<OauthClient>,
    /// What was kept.
    pub request: NewGrant,
}

/// Keeps a request.
///
/// # Errors
/// If the platform has no randomness.
pub fn keep_request(
    context: &Context,
    hash: &TokenHash<KeptRequest>,
    client: &Id<OauthClient>,
    kept: &NewGrant,
    seconds: i64,
) -> error::Result<Statement> {
    let request = serde_json::to_string(kept).map_err(|error| error::Error::Internal(error.to_string()))?;
    Ok(sql!(
        "insert into oauth_grant (id, tenant_id, kind, token_hash, client_id, request, expires_at, created_at, updated_at)
            values (:id, :tenant, 'request', :hash, :client, :request, :expires_at, :now, :now)",
        tenant = &context.tenant().id,
        id = context.row_id()?,
        hash,
        client,
        request,
        expires_at = context.now + seconds * 1000,
        now = context.now
    ))
}

/// A kept request that is still good: a copy of one that was pushed no longer than that one is unused.
#[must_use]
pub fn request(context: &Context, hash: &TokenHash<KeptRequest>) -> Statement {
    sql!(
        "select json_object('id', id, 'client_id', client_id, 'request', json(request)) as row
         from oauth_grant
         where tenant_id = :tenant and kind = 'request' and token_hash = :hash and used_at is null and expires_at > :now
           and not exists (select 1 from oauth_grant p
                           where p.id = oauth_grant.request ->> '$.pushed_id' and p.used_at is not null)",
        tenant = &context.tenant().id,
        hash,
        now = context.now
    )
}
