//! What a sign-up reads and writes.

use crate::platform::d1::{Statement, Stored};
use crate::platform::error;
use crate::platform::id::{Account, Id, User};
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::users::sign_in_decision::Candidate;
use crate::users::store::sign_in::{Counters, LookupBy, Windows, candidate, tenant_is_active};

/// What a sign-up is decided on. Whether the address is taken is not, where a taken one may be told: only the insert
/// knows that for sure.
pub struct LoadedSignUp {
    /// The windows of the network, and of mails to the address.
    pub windows: Windows,
    /// Whether the tenant lets anybody in.
    pub tenant_is_active: bool,
    /// Who has the address already.
    pub candidate: Option<Candidate>,
    /// Whether somebody has the user name already.
    pub username_is_taken: bool,
}

/// Counts the attempt.
///
/// # Errors
/// If D1 does not answer.
pub async fn load(context: &Context, counters: &Counters, email: &str, username: Option<&str>) -> Stored<LoadedSignUp> {
    let mut statements = counters.statements(context);
    statements.extend([
        tenant_is_active(&context.tenant().id),
        candidate(context, LookupBy::Email(email)),
        candidate(context, LookupBy::Username(username.unwrap_or_default())),
    ]);
    let mut answers = context.db()?.batch(statements).await?;
    Ok(LoadedSignUp {
        windows: counters.windows(&mut answers)?,
        tenant_is_active: answers.row()?.unwrap_or(false),
        candidate: answers.row()?,
        username_is_taken: answers.row::<Candidate>()?.is_some(),
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
    /// User name, in lower case.
    pub username: Option<&'a str>,
    /// The user name as its owner writes it.
    pub display_username: Option<&'a str>,
    /// Proven phone number.
    pub phone_number: Option<&'a str>,
    /// Whether this is a guest.
    pub is_anonymous: bool,
    /// Whether a guest of this id becomes the user: what belongs to them stays theirs.
    pub was_guest: bool,
}

impl<'a> NewUser<'a> {
    /// A user of whom nothing but the address is known.
    #[must_use]
    pub const fn new(id: &'a Id<User>, email: &'a str, name: &'a str) -> Self {
        Self {
            id,
            email,
            email_verified: false,
            name,
            first_name: None,
            last_name: None,
            image: None,
            username: None,
            display_username: None,
            phone_number: None,
            is_anonymous: false,
            was_guest: false,
        }
    }
}

/// Creates a user in the tenant's pool and makes them a member of the tenant with its default roles.
///
/// # Errors
/// If the platform has no randomness.
pub fn create(context: &Context, new: &NewUser<'_>) -> error::Result<Vec<Statement>> {
    let (tenant, now) = (context.tenant(), context.now);
    let user = sql!(match (new.was_guest) { true => "update user set email = :email, email_verified = :email_verified, name = :name, first_name = :first_name, last_name = :last_name, image = :image,
                         username = :username, display_username = :display_username, phone_number = :phone_number, phone_number_verified = :phone_number_verified,
                         is_anonymous = :is_anonymous, updated_at = :now
         where tenant_id is :pool and id = :id and is_anonymous = 1 and deleted_at is null", false => "insert into user (id, tenant_id, email, email_verified, name, first_name, last_name, image, username, display_username,
                           phone_number, phone_number_verified, is_anonymous, created_at, updated_at)
         values (:id, :pool, :email, :email_verified, :name, :first_name, :last_name, :image, :username, :display_username, :phone_number, :phone_number_verified, :is_anonymous, :now, :now)" }, pool = tenant.pool(), id = new.id, email = new.email, email_verified = new.email_verified, name = new.name, first_name = new.first_name, last_name = new.last_name, image = new.image, username = new.username, display_username = new.display_username, phone_number = new.phone_number, phone_number_verified = new.phone_number.is_some(), is_anonymous = new.is_anonymous, now);
    if new.was_guest {
        // Whatever held the guest's session must not hold the user's; and whoever came too late ends nothing.
        let ended = sql!(
            "update session set revoked_at = :now, revocation_reason = 'guest_signed_up', updated_at = :now
             where user_id = :id and revoked_at is null and exists (select 1 from user where id = :id and email = :email)",
            id = new.id,
            email = new.email,
            now
        );
        return Ok(vec![user, ended]);
    }
    let member = context.row_id()?;
    Ok(vec![
        user,
        sql!(
            "insert into member (id, tenant_id, user_id, created_at, updated_at) values (:member, :id, :user_id, :now, :now)",
            id = &tenant.id,
            member = &member,
            user_id = new.id,
            now
        ),
        // A tenant's own default roles take the place of the system's.
        sql!(
            "insert into member_role (member_id, role_id, created_at)
             select :member, id, :now from role
             where is_default = 1 and is_active = 1
               and id in (select id from role where tenant_id = :id
                          union all
                          select id from role
                          where tenant_id is null
                            and not exists (select 1 from role where tenant_id = :id and is_default = 1 and is_active = 1))",
            id = &tenant.id,
            member = &member,
            now
        ),
    ])
}

/// Gives a user a password.
#[must_use]
pub fn add_password(context: &Context, id: &Id<Account>, user: &Id<User>, hash: &str) -> Statement {
    sql!(
        "insert into account (id, tenant_id, user_id, subject, password_hash, password_changed_at, confirmed_at, created_at, updated_at)
         values (:id, :pool, :user, :user, :hash, :now, :now, :now, :now)",
        pool = context.tenant().pool(),
        id,
        user,
        hash,
        now = context.now
    )
}
