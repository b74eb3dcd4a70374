//! The admin protocol: who looks after the users of a pool. The shared pool's are the default tenant's administrators, an
//! isolated tenant's its own.

use serde_json::{Value, json};

use crate::access::action::Action;
use crate::admin::password::set_user_password;
use crate::admin::store::{UserChanges, as_option};
use crate::admin::user_changes::{UserWish, create_user, update_user};
use crate::admin::{user_changes, users};
use crate::credentials::password::LONGEST_READ;
use crate::http::fields::{Change, Fields};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::session::call::Call;
use crate::tenants;
use crate::tenants::caller::{NamedTenant, authorize_member, roles_field};
use crate::tenants::roles;
use crate::users::fields::{LONGEST_IMAGE, LONGEST_NAME, Names, username_fields};
use crate::users::profile;
use crate::users::profile::Patches;

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
    let given = user_changes::load_given_roles(&call.context, &overseer, names).await?;
    let user = &target.person.id;
    let mut statements = user_changes::role_statements(context, &overseer, user, &given, false)?;
    statements.extend(user_changes::role_notices(context, &overseer, &target, &given)?);
    let record = user_changes::commit_user_change(&call.context, statements, user).await?;
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
    let done = create_user(&call.context, UserWish { email, name, typed, names, changes }).await?;
    let body = json!({ "user": users::user_json(&done.record, call.context.now) });
    done.acting.answer(&body)
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
    let done = update_user(&call.context, &id, changes, names).await?;
    done.acting.answer(&users::user_json(&done.record, call.context.now))
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
            let names = user_changes::own_names(vec![role]);
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
