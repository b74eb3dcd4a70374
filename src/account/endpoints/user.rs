//! A user's own profile.

use serde_json::json;

use crate::account::user;
use crate::account::user::UserWish;
use crate::http::fields::Change;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::http::username::NoUsername;
use crate::http::{phone, username};
use crate::platform::error::{Error, Result, Wire};
use crate::session::call::Call;
use crate::users::fields::{LONGEST_IMAGE, LONGEST_NAME};
use crate::users::profile;
use crate::users::store::user::UserNameChanges;

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
    let cookies = user::update_user(&call.context, UserWish { changes, patches, clears_phone }).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(cookies))
}
