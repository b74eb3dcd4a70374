//! A user's own profile.

use serde_json::json;

use crate::access::action::Action;
use crate::http::cookie::Cookie;
use crate::http::fields::Change;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::http::username::NoUsername;
use crate::http::{phone, username};
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::records::store::audit::Severity;
use crate::session::authenticate::{judge_session, snapshot_cookie, write_session_copy};
use crate::session::call::Call;
use crate::session::live_session::JudgedSession;
use crate::session::store::deed::Deed;
use crate::session::{impersonation, proof};
use crate::users::fields::{LONGEST_IMAGE, LONGEST_NAME};
use crate::users::profile;
use crate::users::store::user::UserNameChanges;
use crate::{admin, federation, session, users};

/// `POST /update-user`.
///
/// # Errors
/// 400 for bad fields, none, or the e-mail, which changes by proof only; 401, 403 for an administrator in the user's name who
/// may not change users.
pub async fn update(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    if fields.has("email") {
        return Err(Error::refused(Wire::EMAIL_CAN_NOT_BE_UPDATED, "email in update-user"));
    }
    let name = match fields.change_name("name", LONGEST_NAME) {
        Change::Set(name) => Some(name),
        Change::Keep | Change::Clear => None,
    };
    let image = fields.change("image", LONGEST_IMAGE);
    let username = fields.change("username", username::LONGEST_READ);
    let display_username = fields.change("displayUsername", LONGEST_NAME);
    let clears_phone = match fields.change("phoneNumber", phone::LONGEST_READ) {
        Change::Keep => false,
        Change::Clear => true,
        // A number is set by proving it.
        Change::Set(_) => {
            return Err(Error::refused(Wire::PHONE_NUMBER_CANNOT_BE_UPDATED, "phoneNumber in update-user"));
        }
    };
    let patches = profile::read_profile_fields(&mut fields, false);
    fields.finish()?;
    let username = match username {
        Change::Set(name) => Change::Set(username::normalise_username(&name).map_err(NoUsername::when_chosen)?),
        other => other,
    };
    let changes = UserNameChanges { name, image, username, display_username };
    if changes.is_empty() && !clears_phone && patches.is_empty() {
        return Err(Error::refused(Wire::NO_FIELDS_TO_UPDATE, "nothing to update"));
    }
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    if changes.username != Change::Keep || clears_phone {
        // What somebody signs in by is theirs to change.
        proof::refuse_impersonator(&authenticated)?;
    }
    let (context, user) = (&call.context, &authenticated.session.user.id);
    let mut statements = Vec::new();
    if let Some(permit) =
        impersonation::require_own_permission(context, &authenticated.session, Action::UpdateUser).await?
    {
        let deed = Deed {
            event: "user.changed",
            severity: Severity::Medium,
            subject: Some(user),
            details: json!({ "name": changes.name }),
        };
        statements.push(session::store::permission::holds_still(&permit));
        statements.push(session::store::deed::deed(context, permit.tenant(), &authenticated.session, &deed)?);
    }
    statements.push(users::store::user::update(context, user, &changes));
    if !patches.is_empty() {
        statements.extend([admin::store::patch(context, user, &patches), must_change()]);
    }
    if clears_phone {
        statements.extend([
            users::store::user::change_phone(context, user, None),
            federation::store::account::keeps_way_in(context, user),
        ]);
    }
    let skipped = statements.len();
    statements.push(session::store::session::load(&context.tenant().id, &authenticated.hash));
    let mut answers = match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(column)) if column == "user.username" => {
            return Err(Error::refused(Wire::USERNAME_TAKEN, "user name is taken"));
        }
        Err(StoreError::Broken(name)) if name == federation::store::account::LAST_WAY_IN => {
            return Err(Error::refused(Wire::LAST_WAY_IN, "no other way in than the number"));
        }
        Err(StoreError::Unchanged) => {
            return Err(Error::Validation("[body] Too big: more than is kept of a user".to_owned()));
        }
        other => other?.skip(skipped),
    };
    let record = session::store::session::read(&mut answers)?;
    let mut reply = Reply::json(200, &json!({ "status": true }))?.with_cookies(authenticated.cookies);
    // The copies of the session say the new name at once; other sessions follow at their next recheck. Of two cookies
    // of one name a browser keeps the later.
    if let Some(Ok(JudgedSession { session, .. })) = record.map(|record| judge_session(context, record)) {
        write_session_copy(context, &authenticated.hash, &session);
        // What no longer fits into a snapshot must not leave the old one to answer.
        let snapshot = snapshot_cookie(context, &authenticated.hash, &session);
        reply = reply.with_cookie(snapshot.unwrap_or_else(|| Cookie::Snapshot.clear(context.is_secure)));
    }
    Ok(reply)
}
