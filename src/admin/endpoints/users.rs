//! The admin protocol: who looks after the users of a pool. The shared pool's are the default tenant's administrators, an
//! isolated tenant's its own.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::admin::password::set_user_password;
use crate::admin::store::{PoolUser, UserChanges, as_option};
use crate::admin::users::UserAdministrator;
use crate::admin::{store, users};
use crate::credentials::password::{LONGEST_READ, Password};
use crate::http::email;
use crate::http::fields::{Change, Fields};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::{Statement, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::unicode::nfkc;
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::request::password_hash;
use crate::session::call::Call;
use crate::session::proof;
use crate::tenants::caller::{NamedTenant, authorize_member, load_grantable_roles, roles_field};
use crate::tenants::roles;
use crate::users::fields::{LONGEST_IMAGE, LONGEST_NAME, Names, username_fields};
use crate::users::profile;
use crate::users::profile::Patches;
use crate::users::store::sign_up::NewUser;
use crate::{records, request, session, tenants};

/// `GET /admin/get-user`.
///
/// # Errors
/// 400, 401, 403, 404.
pub async fn get(call: &mut Call) -> Result<Reply> {
    let overseer = users::authorize_user_admin(&call.context, Action::GetUser).await?;
    let id = call.request.param("id").unwrap_or_default();
    let body = users::user_json(&users::load_user(&call.context, &id).await?, call.context.now);
    overseer.acting.answer(&body)
}

/// Names of roles of the admin protocol: `user` is what every member is.
fn own_names(names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| if name == "user" { "member".to_owned() } else { name }).collect()
}

/// The roles of these names, which the overseer may give.
async fn roles(
    call: &Call,
    overseer: &UserAdministrator,
    names: Vec<String>,
) -> Result<Vec<tenants::store::role::RoleRecord>> {
    let refusals = (Wire::NO_SUCH_ROLE, Wire::NOT_ALLOWED_TO_CHANGE_USERS_ROLE);
    load_grantable_roles(&call.context, &overseer.acting, &own_names(names), refusals).await
}

/// Gives a user of the pool these roles in the tenant and no others, a membership included if they have none.
fn set_roles(
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
async fn commit(call: &Call, mut statements: Vec<Statement>, user: &Id<User>) -> Result<PoolUser> {
    let context = &call.context;
    statements.push(store::find(context, user));
    let record: Option<PoolUser> = context.db()?.batch(statements).await.map_err(users::refuse_ownerless)?.last()?;
    record.ok_or_else(users::user_not_found)
}

/// What is said of roles that were given: to the audit, and to whoever has them now.
fn roles_told(
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

/// `POST /admin/set-role`: all roles of a user in the tenant anew.
///
/// # Errors
/// 400 for a role that is not there or the last owner, 401, 403, 404.
pub async fn set_role(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = users::user_field(&mut fields);
    let names = roles_field(&mut fields);
    fields.finish()?;
    let overseer = users::authorize_user_admin(&call.context, Action::SetUserRole).await?;
    let context = &call.context;
    let target = users::load_user(context, &id).await?;
    overseer.may_act_upon(&target, Action::SetUserRole)?;
    let given = roles(call, &overseer, names).await?;
    let user = &target.person.id;
    let mut statements = set_roles(context, &overseer, user, &given, false)?;
    statements.extend(roles_told(context, &overseer, &target, &given)?);
    let record = commit(call, statements, user).await?;
    overseer.acting.answer(&json!({ "user": users::user_json(&record, context.now) }))
}

/// What an administrator may say of a user.
const KNOWN: [&str; 12] = [
    "name",
    "username",
    "displayUsername",
    "image",
    "email",
    "emailVerified",
    "profile",
    "preferences",
    "emailPreferences",
    "metadata",
    "role",
    "password",
];

/// What `data` of `create-user` and `update-user` says, and the roles in it.
fn data(fields: &mut Fields) -> (UserChanges, Option<Vec<String>>) {
    let name = match fields.change_name("name", LONGEST_NAME) {
        Change::Set(name) => Some(name),
        Change::Keep => None,
        Change::Clear => {
            fields.refuse("name", "Invalid input: expected string, received null");
            None
        }
    };
    let names = username_fields(fields).unwrap_or_else(|error| {
        fields.refuse("username", error.message());
        Names::default()
    });
    let image = as_option(fields.change("image", LONGEST_IMAGE));
    let email = fields.has("email").then(|| fields.email("email"));
    let email_verified = fields.boolean("emailVerified");
    let patches: Patches = profile::read_profile_fields(fields, true);
    let roles = fields.has("role").then(|| roles_field(fields));
    let unknown: Vec<String> = fields.names().filter(|name| !KNOWN.contains(name)).map(str::to_owned).collect();
    for name in unknown {
        fields.refuse(&name, "Not to be changed here");
    }
    let Names { username, display_username } = names;
    (UserChanges { name, image, username, display_username, email, email_verified, patches }, roles)
}

fn change(context: &Context, user: &Id<User>, changes: &UserChanges) -> Vec<Statement> {
    let mut statements = vec![store::update(context, user, changes), must_change()];
    if !changes.patches.is_empty() {
        statements.extend([store::patch(context, user, &changes.patches), must_change()]);
    }
    statements
}

/// `POST /admin/create-user`. One without a password sets it by a reset, or signs in by mail.
///
/// # Errors
/// 400 for bad fields, an address that is taken, a bad password or a role that is not there; 401, 403, also for `emailVerified`
/// by a caller who may not set addresses.
pub async fn create(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    let name = fields.name("name", LONGEST_NAME);
    let typed = fields.optional("password", LONGEST_READ);
    let names = if fields.has("role") { roles_field(&mut fields) } else { vec!["user".to_owned()] };
    let mut more = fields.nested_optional("data");
    for name in ["role", "email", "name", "password"] {
        if more.has(name) {
            more.refuse(name, "Sent beside the one of the body");
        }
    }
    let (changes, _) = data(&mut more);
    fields.absorb("data", more);
    fields.finish()?;
    let overseer = users::authorize_user_admin(&call.context, Action::CreateUser).await?;
    let context = &call.context;
    let given = roles(call, &overseer, names).await?;
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
    statements.extend(change(context, &user, &changes));
    statements.extend(set_roles(context, &overseer, &user, &given, true)?);
    let roles: Vec<&str> = given.iter().map(|role| role.name.as_str()).collect();
    let details = json!({
        "method": "administrator", "with_password": hash.is_some(), "roles": roles, "email_verified": new.email_verified,
    });
    statements.push(overseer.audited(context, &user, "user.created", (Severity::Medium, details))?);
    let record = commit(call, statements, &user).await.map_err(too_much)?;
    overseer.acting.answer(&json!({ "user": users::user_json(&record, context.now) }))
}

/// They were there a moment ago: what did not fit are the patches.
fn too_much(error: Error) -> Error {
    match error.wire() {
        Wire::USER_NOT_FOUND => Error::Validation("[body.data] Too big: more than is kept of a user".to_owned()),
        _ => error,
    }
}

/// `POST /admin/update-user`. Another address is not proven unless that is said, and the old one is told.
///
/// # Errors
/// 400 for bad data, none, or an address that is taken; 401, 403, 404.
pub async fn update(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = users::user_field(&mut fields);
    let mut given = fields.nested("data");
    let has_password = given.has("password");
    let (changes, names) = data(&mut given);
    fields.absorb("data", given);
    fields.finish()?;
    if has_password {
        return Err(Error::refused(Wire::PASSWORD_BY_ITS_OWN_ENDPOINT, "password in update-user"));
    }
    let overseer = users::authorize_user_admin(&call.context, Action::UpdateUser).await?;
    if changes.is_empty() && names.is_none() {
        return Err(Error::refused(Wire::NO_DATA_TO_UPDATE, "nothing to update"));
    }
    let context = &call.context;
    let target = users::load_user(context, &id).await?;
    overseer.may_act_upon(&target, Action::UpdateUser)?;
    let user = &target.person.id;
    let mut statements = vec![
        session::store::permission::holds_still(&overseer.permit),
        session::store::permission::covers_still(&overseer.permit, &[], Some(user)),
    ];
    statements.extend(change(context, user, &changes));
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
        let given = roles(call, &overseer, names).await?;
        statements.extend(set_roles(context, &overseer, user, &given, false)?);
        statements.extend(roles_told(context, &overseer, &target, &given)?);
    }
    let details = json!({ "email": changes.email, "email_verified": changes.email_verified, "name": changes.name });
    statements.push(overseer.audited(context, user, "user.changed", (Severity::Medium, details))?);
    let has_patches = !changes.patches.is_empty();
    let record =
        commit(call, statements, user).await.map_err(|error| if has_patches { too_much(error) } else { error })?;
    deliver_later(context);
    overseer.acting.answer(&users::user_json(&record, context.now))
}

/// `POST /admin/set-user-password`: ends every session of the user's, and the links that would set another.
///
/// # Errors
/// 400 for a bad password, 401, 403, 404.
pub async fn set_password(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = users::user_field(&mut fields);
    let typed = fields.required("newPassword", LONGEST_READ);
    fields.finish()?;
    let acting = set_user_password(&call.context, &id, typed).await?;
    acting.answer(&json!({ "status": true }))
}

/// `POST /admin/has-permission`: whether the user who asks may, or another user or a role, for whoever may see those.
///
/// # Errors
/// 400, 401, 403, 404.
pub async fn has_permission(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let user = fields.optional("userId", 100);
    let role = fields.optional_line("role", 64);
    let wanted = roles::permission_field(&mut fields);
    fields.finish()?;
    let here = call.context.tenant().id.clone();
    let context = &call.context;
    let asked = authorize_member(&call.context, &NamedTenant::Id(Some(here.clone()))).await;
    let acting = match asked {
        // Whoever is signed in without being a member may nothing, and is told so.
        Err(error) if error.wire() == Wire::ORGANIZATION_NOT_FOUND && user.is_none() && role.is_none() => {
            return Reply::json(200, &json!({ "error": Value::Null, "success": false }));
        }
        other => other?,
    };
    let held = match (user, role) {
        (Some(user), _) if user != acting.standing.user_id.as_str() => {
            acting.permit(Action::GetUser)?;
            users::load_user(context, &user).await?.permissions
        }
        (None, Some(role)) => {
            acting.permit(Action::ListRoles)?;
            let names = own_names(vec![role]);
            let roles: Vec<tenants::store::role::RoleRecord> =
                context.db()?.batch([tenants::store::role::named(&here, &names)]).await?.rows()?;
            let role = roles.into_iter().next();
            role.ok_or_else(|| Error::refused(Wire::NO_SUCH_ROLE, "no such role"))?.permissions
        }
        _ => acting.standing.permissions.clone(),
    };
    let success = !wanted.is_empty() && held.covers(&wanted);
    acting.answer(&json!({ "error": Value::Null, "success": success }))
}
