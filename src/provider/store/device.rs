//! `oauth_grant` of devices: kept, agreed to, polled, redeemed.

use serde::Deserialize;
use serde_json::json;

use crate::platform::d1::Statement;
use crate::platform::error;
use crate::platform::id::{Id, OauthClient};
use crate::platform::secret::{DeviceCode, TokenHash};
use crate::platform::sql::sql;
use crate::provider::store;
use crate::request::context::Context;
use crate::session::live_session::LiveSession;

/// What a device wants.
pub struct WantedDevice<'a> {
    /// Scopes.
    pub scopes: &'a [String],
    /// Resources.
    pub resources: &'a [String],
    /// What its user is asked about.
    pub consent: &'a [String],
}

/// Keeps a device that waits.
///
/// # Errors
/// If the platform has no randomness.
pub fn keep(
    context: &Context,
    hash: &TokenHash<DeviceCode>,
    user_code: &str,
    client: &Id<OauthClient>,
    wanted: &WantedDevice<'_>,
    seconds: i64,
) -> error::Result<Statement> {
    Ok(sql!(
        "insert into oauth_grant
              (id, tenant_id, kind, token_hash, user_code_digest, status, client_id, request, expires_at, created_at, updated_at)
            values (:id, :tenant, 'device', :hash, :user_code, 'pending', :client, :request, :expires_at, :now, :now)",
        tenant = &context.tenant().id,
        id = context.row_id()?,
        hash,
        user_code,
        client,
        request = json!({ "scopes": wanted.scopes, "resources": wanted.resources, "consent": wanted.consent }).to_string(),
        expires_at = context.now + seconds * 1000,
        now = context.now
    ))
}

/// A device that waits for its user.
#[derive(Debug, Deserialize)]
pub struct WaitingDevice {
    /// `oauth_grant.id`.
    pub id: String,
    /// Whose it is.
    pub client_id: Id<OauthClient>,
    /// Its `client_id`.
    pub public_client_id: String,
    /// What its client is called.
    pub client_name: String,
    /// What its user is asked about.
    pub scopes: Vec<String>,
}

/// The device that waits under a code.
#[must_use]
pub fn waiting(context: &Context, user_code: &str) -> Statement {
    sql!(
        "select json_object('id', g.id, 'client_id', c.id, 'public_client_id', c.client_id, 'client_name', c.name,
                            'scopes', json(coalesce(g.request -> '$.consent', g.request -> '$.scopes'))) as row
         from oauth_grant g join oauth_client c on c.id = g.client_id
         where g.tenant_id = :tenant and g.user_code_digest = :user_code and g.user_code_digest is not null
           and g.status = 'pending' and g.expires_at > :now and c.disabled = 0",
        tenant = &context.tenant().id,
        user_code,
        now = context.now
    )
}

/// Writes the user's answer, if nobody has.
#[must_use]
pub fn decide(context: &Context, id: &str, session: &LiveSession, agrees: bool) -> Statement {
    sql!(
        "update oauth_grant set status = iif(:agrees, 'allowed', 'denied'), user_id = :user_id, session_id = :session_id,
                                request = json_set(request, '$.authenticated_at', :authenticated_at, '$.amr', json(:amr)), updated_at = :now
         where tenant_id = :tenant and id = :id and status = 'pending' and expires_at > :now",
        tenant = &context.tenant().id,
        id,
        agrees,
        user_id = &session.user.id,
        session_id = &session.id,
        authenticated_at = session.authenticated_at,
        amr = json!(session.amr).to_string(),
        now = context.now
    )
}

/// What a device that polls finds, its user, and the time of its poll noted after.
#[must_use]
pub fn poll(context: &Context, hash: &TokenHash<DeviceCode>) -> [Statement; 3] {
    [
        sql!(
            "select json_object('id', g.id, 'client_id', g.client_id, 'status', g.status, 'user_id', g.user_id,
                                'session_id', g.session_id, 'scopes', json(g.request -> '$.scopes'),
                                'resources', json(coalesce(g.request -> '$.resources', '[]')),
                                'authenticated_at', cast(g.request ->> '$.authenticated_at' as integer),
                                'amr', json(coalesce(g.request -> '$.amr', '[]')), 'polled_at', g.polled_at,
                                'expires_at', g.expires_at, 'used_at', g.used_at,
                                'user_status', u.status, 'suspended_until', u.suspended_until) as row
             from oauth_grant g left join user u on u.id = g.user_id
             where g.tenant_id = :tenant and g.kind = 'device' and g.token_hash = :hash",
            tenant = &context.tenant().id,
            hash
        ),
        store::token::device_user(context, hash),
        sql!(
            "update oauth_grant set polled_at = :now, updated_at = :now where tenant_id = :tenant and kind = 'device' and token_hash = :hash",
            tenant = &context.tenant().id,
            hash,
            now = context.now
        ),
    ]
}
