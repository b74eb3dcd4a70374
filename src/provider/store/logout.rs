//! Clients of a session, which are told when it ends.

use serde::Deserialize;

use crate::platform::algorithm::SigningAlgorithm;
use crate::platform::d1::Statement;
use crate::platform::id::{Id, OauthClient, Session, Tenant, User};
use crate::platform::sql::sql;
use crate::request::context::Context;

/// A client that is told behind its users' backs (OpenID Connect Back-Channel Logout 1.0, section 2.5).
#[derive(Debug, Deserialize)]
pub struct LogoutRecipient {
    /// The tenant whose client it is.
    pub tenant_id: Id<Tenant>,
    /// The host that the tenant's people sign in on, if not the default one.
    pub auth_host: Option<String>,
    /// `client_id`.
    pub client_id: String,
    /// Whether each sector sees a user by a name of its own.
    pub is_pairwise: bool,
    /// Where the client's users are sent back.
    pub redirect_uris: Vec<String>,
    /// Where it is told.
    pub uri: String,
    /// What pairwise names follow from.
    pub pairwise_salt: String,
    /// What its tokens are signed with.
    pub algorithm: SigningAlgorithm,
    /// The session.
    pub session: Id<Session>,
    /// Whose it was.
    pub user: Id<User>,
}

/// What a row of the outbox tells, and whom. Nothing if the client is gone.
#[must_use]
pub fn told(outbox_id: &str) -> Statement {
    sql!(
        "select json_object(
           'tenant_id', o.tenant_id, 'client_id', c.client_id, 'session', o.payload ->> '$.session', 'user', o.payload ->> '$.user',
           'is_pairwise', json(iif(c.subject_type = 'pairwise', 'true', 'false')), 'redirect_uris', json(c.redirect_uris),
           'uri', c.backchannel_logout_uri, 'pairwise_salt', (select pairwise_salt from tenant where id = o.tenant_id),
           'algorithm', coalesce(c.details ->> '$.id_token_signed_response_alg', 'ES256'),
           'auth_host', (select host from tenant_domain where tenant_id = o.tenant_id order by is_primary desc, host limit 1)) as row
         from outbox o join oauth_client c on c.id = o.payload ->> '$.client'
         where o.id = :outbox_id and o.kind = 'logout' and c.disabled = 0 and c.backchannel_logout_uri is not null",
        outbox_id
    )
}

/// Notes that a client is signed in to by a session.
#[must_use]
pub fn enter(context: &Context, session: &Id<Session>, client: &Id<OauthClient>) -> Statement {
    sql!(
        "insert into session_client (session_id, client_id, tenant_id, created_at) values (:session, :client, :tenant, :now)
         on conflict do nothing",
        tenant = &context.tenant().id,
        session,
        client,
        now = context.now
    )
}

/// A client with a front channel.
#[derive(Debug, Deserialize)]
pub struct Framed {
    /// `client_id`.
    pub client_id: String,
    /// Whether each sector sees a session by a name of its own.
    pub is_pairwise: bool,
    /// Where it is.
    pub uri: String,
}

/// Where the front channels of a session's clients are (OpenID Connect Front-Channel Logout 1.0, section 2).
#[must_use]
pub fn front_channels(context: &Context, session: &Id<Session>) -> Statement {
    sql!(
        "select json_object('client_id', c.client_id, 'uri', c.frontchannel_logout_uri,
                            'is_pairwise', json(iif(c.subject_type = 'pairwise', 'true', 'false'))) as row
         from session_client s join oauth_client c on c.id = s.client_id
         where s.tenant_id = :tenant and s.session_id = :session and c.frontchannel_logout_uri is not null and c.disabled = 0
         limit 20",
        tenant = &context.tenant().id,
        session
    )
}
