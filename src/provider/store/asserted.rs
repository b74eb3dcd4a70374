//! Whom an issuer's assertion names.

use serde::Deserialize;

use crate::federation::store::issuer::{Upstream, upstream_json};
use crate::platform::d1::Statement;
use crate::platform::id::{Id, Millis, User};
use crate::platform::sql::sql;
use crate::request::context::Context;

/// The issuer, and the user that it signed in here.
#[derive(Debug, Deserialize)]
pub struct Asserted {
    /// The issuer.
    pub upstream: Upstream,
    /// The user.
    pub user_id: Id<User>,
    /// `user.status`.
    pub status: String,
    /// `user.suspended_until`.
    pub suspended_until: Option<Millis>,
    /// The scopes that they agreed to for the client.
    pub agreed: Vec<String>,
}

/// An issuer that may assert, by its identifier, and the user whose linked identity that is: confirmed, and of this tenant's
/// pool.
#[must_use]
pub fn find(context: &Context, (issuer, subject): (&str, &str), client_id: &str) -> Statement {
    // Two texts, because an index on `tenant_id is null` serves no `tenant_id is :pool`.
    sql!(
        match (context.tenant().pool()) {
            Some(_) => asserted!("a.tenant_id = :pool and a.tenant_id is not null"),
            None => asserted!("a.tenant_id is null"),
        },
        pool = context.tenant().pool(),
        tenant = &context.tenant().id,
        issuer,
        subject,
        client_id
    )
}

macro_rules! asserted {
    ($pool:literal) => {
        concat!(
            "select json_object('upstream', ",
            upstream_json!(),
            ", 'user_id', u.id, 'status', u.status, 'suspended_until', u.suspended_until,
               'agreed', json(coalesce((select o.scopes from oauth_consent o join oauth_client c on c.id = o.client_id
                                        where o.tenant_id = :tenant and o.user_id = u.id and c.client_id = :client_id and o.consent_given = 1),
                                       '[]'))) as row
             from issuer i
             join account a on a.issuer_id = i.id and a.subject = :subject and a.is_active = 1 and a.confirmed_at is not null
             join user u on u.id = a.user_id
             where i.id in (select id from issuer where tenant_id = :tenant union all select id from issuer where tenant_id is null)
               and i.base_url = :issuer and i.enabled = 1 and coalesce(i.settings ->> '$.acceptAssertions', 0)
               and ",
            $pool,
            " order by i.tenant_id is null limit 1"
        )
    };
}

use asserted;
