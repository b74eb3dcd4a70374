//! `user` and `account`, as their owner sees and changes them.

use crate::http::fields::Change;
use crate::platform::d1::Statement;
use crate::platform::id::{Id, User};
use crate::platform::secret::{SessionToken, TokenHash};
use crate::platform::sql::sql;
use crate::request::context::Context;
use crate::request::store::verification::begun_by;
use crate::users::store::person::person_json;

/// Changes of a user's own profile.
pub struct UserNameChanges {
    /// `name`; none keeps it.
    pub name: Option<String>,
    /// `image`.
    pub image: Change,
    /// User name, in lower case.
    pub username: Change,
    /// The user name as its owner writes it.
    pub display_username: Change,
}

impl UserNameChanges {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let kept = |change: &Change| *change == Change::Keep;
        self.name.is_none() && kept(&self.image) && kept(&self.username) && kept(&self.display_username)
    }
}

/// Changes a user.
#[must_use]
pub fn update(context: &Context, user: &Id<User>, changes: &UserNameChanges) -> Statement {
    let parts = |change: &Change| match change {
        Change::Keep => (false, None),
        Change::Clear => (true, None),
        Change::Set(text) => (true, Some(text.clone())),
    };
    let (image, username, shown) = (parts(&changes.image), parts(&changes.username), parts(&changes.display_username));
    sql!(
        "update user set name = coalesce(:name, name), image = iif(:changes_image, :image, image), username = iif(:changes_username, :username, username),
                         display_username = iif(:changes_shown, :shown, display_username), updated_at = :now
         where (tenant_id is null or tenant_id = :tenant) and id = :user",
        tenant = &context.tenant().id,
        user,
        name = changes.name.as_ref(),
        changes_image = image.0,
        image = image.1,
        changes_username = username.0,
        username = username.1,
        changes_shown = shown.0,
        shown = shown.1,
        now = context.now
    )
}

/// Notes that a user proved an address, if it is still theirs; answers whether it is.
#[must_use]
pub fn prove_email(context: &Context, user: &Id<User>, email: &str) -> Statement {
    sql!(
        "update user set email_verified = 1, updated_at = iif(email_verified, updated_at, :now)
         where (tenant_id is null or tenant_id = :tenant) and id = :user and email = :email and deleted_at is null
         returning json_quote(id) as row",
        tenant = &context.tenant().id,
        user,
        email,
        now = context.now
    )
}

/// Notes that a user proved the address that they have: by a value that was mailed to it, and is good for no other.
#[must_use]
pub fn prove_own_email(context: &Context, user: &Id<User>) -> Statement {
    sql!(
        "update user set email_verified = 1, updated_at = iif(email_verified, updated_at, :now)
         where (tenant_id is null or tenant_id = :tenant) and id = :user and deleted_at is null",
        tenant = &context.tenant().id,
        user,
        now = context.now
    )
}

/// A user, as a client is told.
#[must_use]
pub fn person(context: &Context, user: &Id<User>) -> Statement {
    sql!(
        concat!(
            "select ",
            person_json!("u"),
            " as row from user u where (u.tenant_id is null or u.tenant_id = :tenant) and u.id = :user and u.deleted_at is null"
        ),
        tenant = &context.tenant().id,
        user
    )
}

/// Takes an account whose address was never proven from whoever made it, for the owner of the address: the password,
/// linked identities, passkeys, second factors and the phone number were the maker's, and so are the sessions and what
/// they began (account pre-hijacking). To be run before [`prove_email`]; of a proven address it changes nothing.
#[must_use]
pub fn reclaim(context: &Context, user: &Id<User>) -> [Statement; 12] {
    macro_rules! of_unproven {
        ($text:expr $(, $now:ident)?) => {
            sql!(
                concat!(
                $text,
                " and exists (select 1 from user
                                         where (tenant_id is null or tenant_id = :tenant) and id = :user and email_verified = 0)"
            ),
                $($now = context.now,)? tenant = &context.tenant().id,
                user
            )
        };
    }
    [
        of_unproven!("delete from account where user_id = :user"),
        of_unproven!("delete from passkey where user_id = :user"),
        of_unproven!("delete from two_factor where user_id = :user"),
        of_unproven!("delete from trusted_device where user_id = :user"),
        of_unproven!(
            concat!("update verification set used_at = :now, updated_at = :now where ", begun_by!(":user")),
            now
        ),
        of_unproven!(
            "update session set revoked_at = :now, revocation_reason = 'address_proven', updated_at = :now
             where user_id = :user and revoked_at is null",
            now
        ),
        of_unproven!(
            "update oauth_token set revoked_at = :now, revocation_reason = 'address_proven', updated_at = :now
             where user_id = :user and revoked_at is null",
            now
        ),
        of_unproven!(
            "update oauth_grant set used_at = :now, updated_at = :now where user_id = :user and used_at is null",
            now
        ),
        of_unproven!("delete from api_key where user_id = :user"),
        of_unproven!("delete from oauth_consent where user_id = :user"),
        of_unproven!("update oauth_client set disabled = 1, updated_at = :now where user_id = :user", now),
        of_unproven!(
            "update user set phone_number = null, phone_number_verified = 0, updated_at = :now where id = :user",
            now
        ),
    ]
}

/// Gives a user another address, proven, if the old one is still theirs.
#[must_use]
pub fn change_email(context: &Context, user: &Id<User>, old: &str, new: &str) -> Statement {
    sql!(
        "update user set email = :new, email_verified = 1, is_anonymous = 0, updated_at = :now
         where (tenant_id is null or tenant_id = :tenant) and id = :user and email = :old and deleted_at is null",
        tenant = &context.tenant().id,
        user,
        old,
        new,
        now = context.now
    )
}

/// Gives a user a proven phone number, or with none takes it away.
#[must_use]
pub fn change_phone(context: &Context, user: &Id<User>, number: Option<&str>) -> Statement {
    sql!(
        "update user set phone_number = :number, phone_number_verified = :number is not null,
                         is_anonymous = iif(:number is null, is_anonymous, 0), updated_at = :now
         where (tenant_id is null or tenant_id = :tenant) and id = :user and deleted_at is null",
        tenant = &context.tenant().id,
        user,
        number,
        now = context.now
    )
}

/// Deletes a user softly: nobody signs in as them any more, whatever they signed in with is gone, their address is free.
#[must_use]
pub fn delete(context: &Context, user: &Id<User>, reason: &str) -> [Statement; 7] {
    delete_by(context, user, user, reason)
}

/// The same, by somebody else.
#[must_use]
pub fn delete_by(context: &Context, user: &Id<User>, actor: &Id<User>, reason: &str) -> [Statement; 7] {
    [
        sql!(
            "update user set status = 'deleted', status_reason = :reason, status_changed_at = :now, status_changed_by = :actor,
                             deleted_at = :now, deleted_by = :actor, updated_at = :now
             where (tenant_id is null or tenant_id = :tenant) and id = :user and deleted_at is null",
            tenant = &context.tenant().id,
            user,
            reason,
            now = context.now,
            actor
        ),
        sql!("delete from account where user_id = :user", user),
        sql!("delete from passkey where user_id = :user", user),
        sql!("delete from two_factor where user_id = :user", user),
        sql!("delete from trusted_device where user_id = :user", user),
        sql!("delete from password_reset where user_id = :user", user),
        sql!("delete from api_key where user_id = :user", user),
    ]
}

/// Deletes the guest whose session somebody brought along when they signed in as a user, and ends it.
#[must_use]
pub fn absorb_guest(context: &Context, guest_session: &TokenHash<SessionToken>, user: &Id<User>) -> [Statement; 3] {
    [
        sql!(
            "update user set status = 'deleted', status_reason = 'guest_signed_in', status_changed_at = :now, deleted_at = :now,
                             deleted_by = :user, updated_at = :now
             where is_anonymous = 1 and deleted_at is null and id <> :user
               and id = (select user_id from session where tenant_id = :tenant and token_hash = :guest_session)",
            tenant = &context.tenant().id,
            guest_session,
            user,
            now = context.now
        ),
        sql!(
            "insert into audit_event (id, tenant_id, user_id, subject, actor_id, event, details, request_id, created_at)
             select :row_id, :tenant, :user, :user, :user, 'guest.absorbed', json_object('guest', user_id), :request_id, :now
             from session where tenant_id = :tenant and token_hash = :guest_session and changes() = 1",
            tenant = &context.tenant().id,
            guest_session,
            user,
            now = context.now,
            row_id = context.row_id().unwrap_or_default(),
            request_id = context.request_id()
        ),
        sql!(
            "update session set revoked_at = :now, revocation_reason = 'guest_signed_in', updated_at = :now
             where revoked_at is null
               and user_id = (select s.user_id from session s join user u on u.id = s.user_id
                              where s.tenant_id = :tenant and s.token_hash = :guest_session and u.is_anonymous = 1 and u.deleted_at = :now)",
            tenant = &context.tenant().id,
            guest_session,
            now = context.now
        ),
    ]
}
