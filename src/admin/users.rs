//! Loading the user of a pool whom an administrator acts upon.

use serde_json::{Value, json};

use crate::access::action::{Action, Permit};
use crate::admin::store;
use crate::admin::store::PoolUser;
use crate::http::fields::Fields;
use crate::platform::d1::{Statement, StoreError};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Millis, User};
use crate::platform::time::iso;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::protocol::user_role;
use crate::session::store::deed::Deed;
use crate::tenants;
use crate::tenants::caller::{ActingMember, NamedTenant, authorize_member};

/// Somebody who looks after the users of the pool that was asked.
pub struct UserAdministrator {
    /// Who, and what they may do.
    pub acting: ActingMember,
    /// For the action that they were asked about.
    pub permit: Permit,
}

impl UserAdministrator {
    /// Whether they may act upon somebody: whoever has more is out of reach, or an administrator would set an owner's
    /// password and be the owner.
    ///
    /// # Errors
    /// The action's refusal.
    pub fn may_act_upon(&self, target: &PoolUser, action: Action) -> Result<()> {
        self.acting.outranks(&target.permissions, action.refusal())
    }

    /// An audit event about what they did to somebody.
    ///
    /// # Errors
    /// If the platform has no randomness.
    pub fn audited(
        &self,
        context: &Context,
        user: &Id<User>,
        event: &str,
        (severity, details): (Severity, Value),
    ) -> Result<Statement> {
        self.acting.audited_of(context, &Deed { event, severity, subject: Some(user), details })
    }
}

/// Who is asking, if they look after the pool's users and may do this.
///
/// # Errors
/// 401; 403 for anybody else, an administrator who acts as somebody among them.
pub async fn authorize_user_admin(context: &Context, action: Action) -> Result<UserAdministrator> {
    let here = context.tenant();
    let found = authorize_member(context, &NamedTenant::Id(Some(here.id.clone()))).await;
    let acting = found.map_err(|error| match error.wire() {
        Wire::ORGANIZATION_NOT_FOUND => Error::refused(action.refusal(), "no member of the tenant"),
        Wire::FORBIDDEN => Error::refused(action.refusal(), error.to_string()),
        _ => error,
    })?;
    if acting.session().impersonated_by.is_some() {
        return Err(Error::refused(action.refusal(), "an impersonating administrator"));
    }
    // Users of the shared pool are everybody's: no tenant among many decides about them.
    if !here.is_default() && !here.is_isolated {
        return Err(Error::refused(action.refusal(), "a tenant of the shared pool"));
    }
    let permit = acting.permit(action)?;
    Ok(UserAdministrator { acting, permit })
}

/// For whoever is no user of the pool.
#[must_use]
pub fn user_not_found() -> Error {
    Error::refused(Wire::USER_NOT_FOUND, "unknown, deleted, or of another pool")
}

/// A user of the pool.
///
/// # Errors
/// 404.
pub async fn load_user(context: &Context, id: &str) -> Result<PoolUser> {
    let id = Id::parse(id).ok_or_else(user_not_found)?;
    let record: Option<PoolUser> = context.db()?.first(store::find(context, &id)).await?;
    record.ok_or_else(user_not_found)
}

/// A user, as the protocol shows them to administrators.
#[must_use]
pub fn user_json(record: &PoolUser, now: Millis) -> Value {
    let person = &record.person;
    let is_banned = record.status == "suspended" && record.suspended_until.is_none_or(|until| until > now);
    json!({
        "id": person.id, "name": person.name, "email": person.email, "emailVerified": person.email_verified,
        "image": person.image, "createdAt": iso(person.created_at), "updatedAt": iso(person.updated_at),
        "username": person.username, "displayUsername": person.display_username, "phoneNumber": person.phone_number,
        "phoneNumberVerified": person.phone_number_verified, "twoFactorEnabled": person.two_factor_enabled,
        "isAnonymous": person.is_anonymous, "role": user_role(&record.roles),
        "banned": is_banned, "banReason": record.status_reason.as_ref().filter(|_| is_banned),
        "banExpires": record.suspended_until.filter(|_| is_banned).map(iso),
        "status": record.status, "statusReason": record.status_reason, "statusChangedAt": record.status_changed_at.map(iso),
        "lastLoginAt": record.last_login_at.map(iso), "loginCount": record.login_count,
        "profile": record.profile, "preferences": record.preferences, "emailPreferences": record.email_preferences,
        "metadata": record.metadata,
    })
}

/// What a batch about a user is refused with.
#[must_use]
pub fn refuse_ownerless(error: StoreError) -> Error {
    match error {
        StoreError::Broken(name) if name == tenants::store::member::WITHOUT_OWNER => {
            Error::refused(Wire::WITHOUT_AN_OWNER, "the last owner")
        }
        StoreError::Unchanged => user_not_found(),
        StoreError::Conflict(column) if column == "user.username" => {
            Error::refused(Wire::USERNAME_TAKEN, "the user name is taken")
        }
        StoreError::Conflict(_) => Error::refused(Wire::USER_EXISTS, "the address is taken"),
        other => other.into(),
    }
}

/// Reads the field `userId`.
pub fn user_field(fields: &mut Fields) -> String {
    fields.line("userId", 100)
}
