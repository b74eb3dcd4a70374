//! What a sign-up reads and writes.

use crate::config::Limit;
use crate::context::Context;
use crate::id::{Account, Id, User};
use crate::store::database::{Statement, StoreError, Stored, sql};
use crate::store::rate_limit::{self, Window};
use crate::store::sign_in::tenant_is_active;

/// What a sign-up is decided on. Whether the address is taken is not: only the insert knows that for sure.
pub struct Loaded {
    /// The address's window.
    pub network: Window,
    /// Whether the tenant lets anybody in.
    pub tenant_is_active: bool,
}

/// Counts the attempt.
///
/// # Errors
/// If D1 does not answer.
pub async fn load(context: &Context, counter: &str, limit: Limit) -> Stored<Loaded> {
    let mut answers = context
        .db()?
        .batch([rate_limit::count(counter, limit, context.now), tenant_is_active(&context.tenant().id)])
        .await?;
    Ok(Loaded {
        network: answers.row()?.ok_or_else(|| StoreError::Failed("a counter without an answer".to_owned()))?,
        tenant_is_active: answers.row()?.unwrap_or(false),
    })
}

/// A user to be created.
pub struct NewUser<'a> {
    /// Id.
    pub id: &'a Id<User>,
    /// Lower-case address.
    pub email: &'a str,
    /// Whether it is proven.
    pub email_verified: bool,
    /// Name.
    pub name: &'a str,
    /// Given name.
    pub first_name: Option<&'a str>,
    /// Family name.
    pub last_name: Option<&'a str>,
    /// Picture URL.
    pub image: Option<&'a str>,
}

/// Creates a user in the tenant's pool and makes them a member of the tenant with its default roles.
///
/// # Errors
/// If the platform has no randomness.
pub fn create(context: &Context, new: &NewUser<'_>) -> crate::error::Result<[Statement; 3]> {
    let (tenant, now) = (context.tenant(), context.now);
    let member = context.row_id()?;
    Ok([
        sql("insert into user (id, tenant_id, email, email_verified, name, first_name, last_name, image, created_at, updated_at)
             values (?2, ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)")
        .bind(tenant.pool())
        .bind(new.id)
        .bind(new.email)
        .bind(new.email_verified)
        .bind(new.name)
        .bind(new.first_name)
        .bind(new.last_name)
        .bind(new.image)
        .bind(now),
        sql("insert into member (id, tenant_id, user_id, created_at, updated_at) values (?2, ?1, ?3, ?4, ?4)")
            .bind(&tenant.id)
            .bind(&member)
            .bind(new.id)
            .bind(now),
        // A tenant's own default roles take the place of the system's.
        sql("insert into member_role (member_id, role_id, created_at)
             select ?2, id, ?3 from role
             where is_default = 1 and is_active = 1
               and iif(exists (select 1 from role where tenant_id = ?1 and is_default = 1 and is_active = 1),
                       tenant_id = ?1, tenant_id is null)")
        .bind(&tenant.id)
        .bind(&member)
        .bind(now),
    ])
}

/// Gives a user a password.
#[must_use]
pub fn add_password(context: &Context, id: &Id<Account>, user: &Id<User>, hash: &str) -> Statement {
    sql("insert into account (id, tenant_id, user_id, subject, password_hash, password_changed_at, confirmed_at, created_at, updated_at)
         values (?2, ?1, ?3, ?3, ?4, ?5, ?5, ?5, ?5)")
    .bind(context.tenant().pool())
    .bind(id)
    .bind(user)
    .bind(hash)
    .bind(context.now)
}
