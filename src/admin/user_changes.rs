//! What administrators change of users: the statements, and their commit.

use serde_json::json;

use crate::access::action::Action;
use crate::admin::store;
use crate::admin::store::{PoolUser, UserChanges};
use crate::admin::users::{UserAdministrator, authorize_user_admin, load_user};
use crate::credentials::password::Password;
use crate::http::email;
use crate::platform::d1::{Statement, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::unicode::nfkc;
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::request::password_hash;
use crate::session::proof;
use crate::tenants::caller::{ActingMember, load_grantable_roles};
use crate::users::store::sign_up::NewUser;
use crate::{admin, records, request, session, tenants};

/// The roles of these names, which the overseer may give.
///
/// # Errors
/// 400 for a role that is not there; 403 for one that they may not give; 503.
pub async fn load_given_roles(
    context: &Context,
    overseer: &UserAdministrator,
    names: Vec<String>,
) -> Result<Vec<tenants::store::role::RoleRecord>> {
    let refusals = (Wire::NO_SUCH_ROLE, Wire::NOT_ALLOWED_TO_CHANGE_USERS_ROLE);
    load_grantable_roles(context, &overseer.acting, &own_names(names), refusals).await
}

/// Gives a user of the pool these roles in the tenant and no others, a membership included if they have none.
///
/// # Errors
/// If the platform has no randomness.
pub fn role_statements(
    context: &Context,
    overseer: &UserAdministrator,
    user: &Id<User>,
    given: &[tenants::store::role::RoleRecord],
    is_new: bool,
) -> Result<Vec<Statement>> {
    let ids: Vec<_> = given.iter().map(|role| &role.id).collect();
    let mut statements = vec![
        session::store::permission::holds_still(&overseer.permit),
        // What a new user has already, every user is given.
        session::store::permission::covers_still(&overseer.permit, &ids, (!is_new).then_some(user)),
        tenants::store::member::keeps_owner(overseer.acting.tenant(), user, &ids),
        tenants::store::member::add_unless(context, &overseer.permit, &context.id()?, user),
    ];
    statements.extend(tenants::store::member::set_roles(context, &overseer.permit, user, &ids));
    // In whose name they act may be beyond them now.
    statements.push(session::store::session::end_impersonations(context, user));
    Ok(statements)
}

/// Writes, and answers the user as they are then.
///
/// # Errors
/// As the batch; 404 for a user who is not there any more.
pub async fn commit_user_change(
    context: &Context,
    mut statements: Vec<Statement>,
    user: &Id<User>,
) -> Result<PoolUser> {
    statements.push(store::find(context, user));
    let record: Option<PoolUser> =
        context.db()?.batch(statements).await.map_err(admin::users::refuse_ownerless)?.last()?;
    record.ok_or_else(admin::users::user_not_found)
}

/// What is said of roles that were given: to the audit, and to whoever has them now.
///
/// # Errors
/// If the platform has no randomness.
pub fn role_notices(
    context: &Context,
    overseer: &UserAdministrator,
    target: &PoolUser,
    given: &[tenants::store::role::RoleRecord],
) -> Result<[Statement; 2]> {
    const EVENT: &str = "member.roles_changed";
    let user = &target.person.id;
    let after: Vec<&str> = given.iter().map(|role| role.name.as_str()).collect();
    let details = json!({ "before": target.given, "after": after });
    let message = format!("Your role is {} now.", after.join(","));
    Ok([
        overseer.audited(context, user, EVENT, (Severity::High, details))?,
        overseer.acting.tells(context, user, EVENT, &message)?,
    ])
}

pub(crate) fn change_statements(context: &Context, user: &Id<User>, changes: &UserChanges) -> Vec<Statement> {
    let mut statements = vec![store::update(context, user, changes), must_change()];
    if !changes.patches.is_empty() {
        statements.extend([store::patch(context, user, &changes.patches), must_change()]);
    }
    statements
}

/// They were there a moment ago: what did not fit are the patches.
#[must_use]
pub fn refuse_too_much(error: Error) -> Error {
    match error.wire() {
        Wire::USER_NOT_FOUND => Error::Validation("[body.data] Too big: more than is kept of a user".to_owned()),
        _ => error,
    }
}

/// A user as an administrator describes them.
pub struct UserWish {
    /// Address, in lower case.
    pub email: String,
    /// Name.
    pub name: String,
    /// Password, as it was typed.
    pub typed: Option<String>,
    /// Names of the roles.
    pub names: Vec<String>,
    /// All else.
    pub changes: UserChanges,
}

/// A user who was made or changed.
pub struct ChangedUser {
    /// Who did it.
    pub acting: ActingMember,
    /// The user, as they are now.
    pub record: PoolUser,
}

/// Makes a user as an administrator describes them.
///
/// # Errors
/// 400 for an address, a user name or a password that does not do, and a role that is not there; 401; 403; 503.
pub async fn create_user(context: &Context, wish: UserWish) -> Result<ChangedUser> {
    let UserWish { email, name, typed, names, changes } = wish;
    let overseer = authorize_user_admin(context, Action::CreateUser).await?;
    let given = load_given_roles(context, &overseer, names).await?;
    let mut further = Vec::new();
    if given.iter().any(|role| role.name != "member") {
        further.push(overseer.acting.permit(Action::SetUserRole)?);
    }
    if changes.email_verified.is_some() {
        // An address that counts as proven is somebody: it accepts what that address is invited to.
        further.push(overseer.acting.permit(Action::SetUserEmail)?);
    }
    let password = typed.map(|typed| Password::new(typed, nfkc));
    let hash = match &password {
        Some(password) => {
            proof::check_password_length(context, password)?;
            proof::check_password_breach(context, password, None).await?;
            Some(password_hash::hash_password(context, password).await?)
        }
        None => None,
    };
    let user: Id<User> = context.id()?;
    let new = NewUser { email_verified: changes.email_verified.unwrap_or(false), ..NewUser::new(&user, &email, &name) };
    let mut statements: Vec<Statement> = further.iter().map(session::store::permission::holds_still).collect();
    statements.extend(crate::users::store::sign_up::create(context, &new)?);
    if let Some(hash) = &hash {
        statements.push(crate::users::store::sign_up::add_password(context, &context.id()?, &user, hash.expose()));
    }
    statements.extend(change_statements(context, &user, &changes));
    statements.extend(role_statements(context, &overseer, &user, &given, true)?);
    let roles: Vec<&str> = given.iter().map(|role| role.name.as_str()).collect();
    let details = json!({
        "method": "administrator", "with_password": hash.is_some(), "roles": roles, "email_verified": new.email_verified,
    });
    statements.push(overseer.audited(context, &user, "user.created", (Severity::Medium, details))?);
    let record = commit_user_change(context, statements, &user).await.map_err(refuse_too_much)?;
    Ok(ChangedUser { acting: overseer.acting, record })
}

/// Changes a user, and gives them other roles where `names` has some.
///
/// # Errors
/// 400 for nothing to change, an address or a user name that is taken, and a role that is not there; 401; 403; 404; 503.
pub async fn update_user(
    context: &Context,
    id: &str,
    changes: UserChanges,
    names: Option<Vec<String>>,
) -> Result<ChangedUser> {
    let overseer = authorize_user_admin(context, Action::UpdateUser).await?;
    if changes.is_empty() && names.is_none() {
        return Err(Error::refused(Wire::NO_DATA_TO_UPDATE, "nothing to update"));
    }
    let target = load_user(context, id).await?;
    overseer.may_act_upon(&target, Action::UpdateUser)?;
    let user = &target.person.id;
    let mut statements = vec![
        session::store::permission::holds_still(&overseer.permit),
        session::store::permission::covers_still(&overseer.permit, &[], Some(user)),
    ];
    statements.extend(change_statements(context, user, &changes));
    let moves = changes.email.as_ref().is_some_and(|email| *email != target.person.email);
    if moves || changes.email_verified.is_some() {
        statements.push(session::store::permission::holds_still(&overseer.acting.permit(Action::SetUserEmail)?));
    }
    if moves {
        // Links and codes that went to the old address open nothing any more.
        statements.push(request::store::verification::forget(context, user));
        statements.push(crate::users::store::password_reset::revoke(context, user, None, "email_changed"));
        if email::is_mailbox(&target.person.email) {
            let letter = mail::security_notice(
                &context.tenant().name,
                "Your e-mail address was changed",
                "An administrator gave your account another e-mail address.",
            );
            statements.push(records::store::outbox::queue(context, Some(user), &target.person.email, &letter)?);
        }
    }
    if let Some(names) = names {
        statements.push(session::store::permission::holds_still(&overseer.acting.permit(Action::SetUserRole)?));
        let given = load_given_roles(context, &overseer, names).await?;
        statements.extend(role_statements(context, &overseer, user, &given, false)?);
        statements.extend(role_notices(context, &overseer, &target, &given)?);
    }
    let details = json!({ "email": changes.email, "email_verified": changes.email_verified, "name": changes.name });
    statements.push(overseer.audited(context, user, "user.changed", (Severity::Medium, details))?);
    let has_patches = !changes.patches.is_empty();
    let record = commit_user_change(context, statements, user)
        .await
        .map_err(|error| if has_patches { refuse_too_much(error) } else { error })?;
    deliver_later(context);
    Ok(ChangedUser { acting: overseer.acting, record })
}

/// Names of roles of the admin protocol: `user` is what every member is.
#[must_use]
pub fn own_names(names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| if name == "user" { "member".to_owned() } else { name }).collect()
}
