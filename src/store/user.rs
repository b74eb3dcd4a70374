//! `user` and `account`, as their owner sees and changes them.

use serde::Deserialize;

use crate::context::Context;
use crate::http::fields::Change;
use crate::id::{Account, Id, Millis, Tenant, User};
use crate::store::database::{Statement, sql};

/// Changes of a user's own profile.
pub struct Changes {
    /// `name`; none keeps it.
    pub name: Option<String>,
    /// `image`.
    pub image: Change,
}

/// Changes a user.
#[must_use]
pub fn update(context: &Context, user: &Id<User>, changes: &Changes) -> Statement {
    let (changes_image, image) = match &changes.image {
        Change::Keep => (false, None),
        Change::Clear => (true, None),
        Change::Set(url) => (true, Some(url)),
    };
    sql("update user set name = coalesce(?3, name), image = iif(?4, ?5, image), updated_at = ?6
         where (tenant_id is null or tenant_id = ?1) and id = ?2")
    .bind(&context.tenant().id)
    .bind(user)
    .bind(changes.name.as_ref())
    .bind(changes_image)
    .bind(image)
    .bind(context.now)
}

/// Notes that a user proved an address, if it is still theirs; answers whether it is.
#[must_use]
pub fn prove_email(context: &Context, user: &Id<User>, email: &str) -> Statement {
    sql("update user set email_verified = 1, updated_at = iif(email_verified, updated_at, ?4)
         where (tenant_id is null or tenant_id = ?1) and id = ?2 and email = ?3 and deleted_at is null
         returning json_quote(id) as row")
    .bind(&context.tenant().id)
    .bind(user)
    .bind(email)
    .bind(context.now)
}

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

/// A user's linked identities, the oldest first.
#[must_use]
pub fn accounts(tenant: &Id<Tenant>, user: &Id<User>) -> Statement {
    sql("select json_object('id', a.id, 'provider', coalesce(i.name, 'credential'), 'subject', a.subject, 'scope', a.scope,
                            'created_at', a.created_at, 'updated_at', a.updated_at) as row
         from account a left join issuer i on i.id = a.issuer_id
         where (a.tenant_id is null or a.tenant_id = ?1) and a.user_id = ?2 order by a.created_at, a.id limit 100")
    .bind(tenant)
    .bind(user)
}
