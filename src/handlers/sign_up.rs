//! Sign-up with e-mail and password.

use serde_json::json;

use crate::context::{Context, nfkc};
use crate::credentials::password::{self, Password};
use crate::error::{Error, Result, Wire};
use crate::handlers::opening::{self, Opened, Opening, OpeningError};
use crate::handlers::{Call, verification};
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::jobs::outbox::deliver_later;
use crate::store;
use crate::store::rate_limit;
use crate::store::record::Severity;
use crate::store::sign_up::NewUser;

/// The longest name, in characters.
pub const LONGEST_NAME: usize = 256;

/// The longest picture URL, in characters.
pub const LONGEST_IMAGE: usize = 2048;

/// Who wants an account.
pub struct Applicant {
    /// Lower-case address.
    pub email: String,
    /// Name.
    pub name: String,
    /// Picture URL.
    pub image: Option<String>,
    /// Password.
    pub password: Password,
    /// Whether the cookie outlives the browser.
    pub is_remembered: bool,
    /// Where the mailed link leads in the end.
    pub callback: Option<Target>,
}

/// `POST /sign-up/email`.
///
/// # Errors
/// 400 for bad fields or a bad password, 403 for a bad `callbackURL`, 422 if the address is taken, 429.
pub async fn email(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Both).await?;
    let name = fields.line("name", LONGEST_NAME);
    let email = fields.email("email");
    let password = Password::new(fields.required("password", password::LONGEST_READ), nfkc);
    let image = fields.optional("image", LONGEST_IMAGE);
    let remember = fields.boolean("rememberMe");
    let callback = fields.optional("callbackURL", Target::LONGEST);
    fields.finish()?;
    let callback = opening::target(&call.context, callback.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let applicant = Applicant { email, name, image, password, is_remembered: remember.unwrap_or(true), callback };
    let opened = create(&call.context, &applicant).await?;
    let body = json!({ "token": opened.session.id, "user": opened.session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
}

/// Whether a new password is acceptable.
///
/// # Errors
/// `PASSWORD_TOO_SHORT`, `PASSWORD_TOO_LONG`.
pub fn check_new_password(context: &Context, password: &Password) -> Result<()> {
    let length = password.length();
    if length < context.config.password_min {
        return Err(Error::refused(Wire::PASSWORD_TOO_SHORT, format!("{length} characters")));
    }
    if length > context.config.password_max {
        return Err(Error::refused(Wire::PASSWORD_TOO_LONG, format!("{length} characters")));
    }
    Ok(())
}

/// Creates a user with a password and signs them in. Whether the address is free is decided by the insert alone:
/// of fifty at once, one is let in.
///
/// # Errors
/// As [`email`].
pub async fn create(context: &Context, applicant: &Applicant) -> Result<Opened> {
    if !context.config.sign_up_open {
        return Err(Error::refused(Wire::SIGN_UP_DISABLED, "SIGN_UP is closed"));
    }
    check_new_password(context, &applicant.password)?;
    let (config, tenant) = (&context.config, &context.tenant().id);
    let network = rate_limit::key(config, "sign-up:network", tenant.as_str(), &context.client().network());
    let loaded = store::sign_up::load(context, &network, config.limit_sign_up).await?;
    if let Some(retry_after) = loaded.network.retry_after(config.limit_sign_up, context.now) {
        return Err(Error::TooManyRequests { retry_after, limit: "sign-up by network" });
    }
    if !loaded.tenant_is_active {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    let hash = password::hash(&applicant.password, context.random()?)?;
    let user_id = context.id()?;
    let user = NewUser {
        id: &user_id,
        email: &applicant.email,
        email_verified: false,
        name: &applicant.name,
        first_name: None,
        last_name: None,
        image: applicant.image.as_deref(),
    };
    let mut statements = Vec::from(store::sign_up::create(context, &user)?);
    statements.push(store::sign_up::add_password(context, &context.id()?, &user_id, hash.expose()));
    let details = json!({ "method": "password" });
    let event =
        store::record::audit(context, &context.row_id()?, Some(&user_id), "user.created", Severity::Low, &details);
    statements.push(event);
    statements.extend(verification::link(context, &user_id, &applicant.email, applicant.callback.clone())?);
    let opening = Opening {
        user_id: &user_id,
        method: "password",
        amr: &["pwd"],
        is_remembered: applicant.is_remembered,
        while_password: None,
    };
    match opening::open(context, &opening, statements).await {
        Err(OpeningError::Conflict(column)) if column == "user.email" => {
            Err(Error::refused(Wire::USER_ALREADY_EXISTS, "address is taken"))
        }
        other => {
            let opened = other?;
            deliver_later(context);
            Ok(opened)
        }
    }
}
