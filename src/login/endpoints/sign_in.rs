//! Sign-in with a password, by address, user name or phone number.

use serde_json::json;

use crate::credentials::password::{LONGEST_READ, Password};
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::http::username::NoUsername;
use crate::http::{phone, username};
use crate::login::sign_in;
use crate::login::sign_in::PasswordAttempt;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::unicode::nfkc;
use crate::request::origins;
use crate::session::call::Call;
use crate::users::store::sign_in::LookupBy;

/// What kind of name a password is given with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NameKind {
    Email,
    Username,
    Phone,
}

/// `POST /sign-in/email`.
///
/// # Errors
/// 400 for bad fields, 401 for bad credentials, 403 for a bad `callbackURL` or a banned user, 429.
pub async fn email(call: &mut Call) -> Result<Reply> {
    by_name(call, NameKind::Email).await
}

/// `POST /sign-in/username`.
///
/// # Errors
/// As [`email`]; 422 for what is no user name.
pub async fn username(call: &mut Call) -> Result<Reply> {
    by_name(call, NameKind::Username).await
}

/// `POST /sign-in/phone-number`.
///
/// # Errors
/// As [`email`]; 400 for what is no phone number; 404 where phones are not a way in.
pub async fn phone_number(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.phone)?;
    by_name(call, NameKind::Phone).await
}

async fn by_name(call: &mut Call, kind: NameKind) -> Result<Reply> {
    if !call.context.config.ways_in.password {
        return Err(Error::refused(Wire::EMAIL_PASSWORD_DISABLED, "SIGN_IN_WITH is without password"));
    }
    let mut fields = call.request.fields(Media::Both).await?;
    let name = match kind {
        NameKind::Email => fields.email("email"),
        NameKind::Username => fields.required("username", username::LONGEST_READ),
        NameKind::Phone => fields.required("phoneNumber", phone::LONGEST_READ),
    };
    let password = Password::new(fields.required("password", LONGEST_READ), nfkc);
    let remember = fields.boolean("rememberMe");
    let callback = fields.optional("callbackURL", Target::LONGEST);
    fields.finish()?;
    let target = origins::check_target(&call.context, callback.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let name = match kind {
        NameKind::Email => name,
        NameKind::Username => username::normalise_username(&name).map_err(NoUsername::when_asked)?,
        NameKind::Phone => phone::require_phone_number(&name)?,
    };
    let by = match kind {
        NameKind::Email => LookupBy::Email(&name),
        NameKind::Username => LookupBy::Username(&name),
        NameKind::Phone => LookupBy::Phone(&name),
    };
    let typed = PasswordAttempt { by, password, is_remembered: remember.unwrap_or(true), callback: target.clone() };
    let outcome = sign_in::sign_in_with_password(&call.context, &typed).await?;
    if kind == NameKind::Phone {
        return outcome.json(|session| json!({ "token": session.id, "user": session.user_json() }));
    }
    outcome.answer(target.as_ref())
}
