//! Sign-up with e-mail and password.

use serde_json::{Value, json};

use crate::account::sign_up::{Applicant, SignedUp};
use crate::account::{sign_up, verification};
use crate::credentials::password;
use crate::credentials::password::Password;
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::error::{Result, Wire};
use crate::platform::unicode::nfkc;
use crate::request::origins;
use crate::session::call::Call;
use crate::session::protocol::UserJson;
use crate::users::fields;
use crate::users::fields::{LONGEST_IMAGE, LONGEST_NAME};

/// `POST /sign-up/email`.
///
/// # Errors
/// 400 for bad fields or a bad password, 403 for a bad `callbackURL`, 422 if the address is taken, 429.
pub async fn email(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Both).await?;
    let name = fields.name_or_empty("name", LONGEST_NAME);
    let email = fields.email("email");
    let password = Password::new(fields.required("password", password::LONGEST_READ), nfkc);
    let image = fields.optional("image", LONGEST_IMAGE);
    let chosen = fields::username_fields(&mut fields);
    let remember = fields.boolean("rememberMe");
    let callback = fields.optional("callbackURL", Target::LONGEST);
    fields.finish()?;
    let callback = origins::check_target(&call.context, callback.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let applicant = Applicant {
        email,
        name,
        image,
        names: chosen?,
        password,
        is_remembered: remember.unwrap_or(true),
        callback,
        guest: call.guest().await?,
        invitation: None,
    };
    match sign_up::create_user(&call.context, &applicant).await? {
        SignedUp::Opened(opened) => {
            let body = json!({ "token": opened.session.id, "user": opened.session.user_json() });
            Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
        }
        SignedUp::Mailed(person) => {
            let body = json!({ "token": Value::Null, "user": UserJson::new(&person, &[]) });
            Ok(Reply::json(200, &body)?.with_cookie(verification::maker_cookie(&call.context, &person.id)))
        }
    }
}
