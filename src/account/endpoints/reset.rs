//! A forgotten password: a link by mail, and a new password by the link.

use serde_json::json;

use crate::account::reset;
use crate::account::reset::PAGE;
use crate::credentials::password::{LONGEST_READ, Password};
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::error::{Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::secret::{Reset, Token};
use crate::platform::unicode::nfkc;
use crate::request::origins;
use crate::session::call::Call;
use crate::users;

/// `POST /request-password-reset`: known and unknown addresses are answered alike, after the same round trips.
///
/// # Errors
/// 400 for bad fields, 403 for a bad `redirectTo`, 429.
pub async fn request(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    let given = fields.optional("redirectTo", Target::LONGEST);
    fields.finish()?;
    let target = origins::check_target(&call.context, given.as_deref(), Wire::INVALID_REDIRECT_URL)?;
    reset::send_reset_link(&call.context, &email, target).await?;
    Reply::json(
        200,
        &json!({ "status": true, "message": "If this email exists in our system, check your email for the reset link" }),
    )
}

/// `GET /reset-password/:token`: from the mail to the page that asks for the new password. Looking uses nothing up:
/// mail scanners look as well.
///
/// # Errors
/// 403 for a bad `callbackURL`; 503.
pub async fn follow(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let given = call.request.param("callbackURL");
    let target = origins::check_target(context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let target = target.unwrap_or_else(|| Target::own(PAGE));
    let token: Option<Token<Reset>> = call.segment.as_deref().and_then(Token::parse);
    let user: Option<Id<User>> = match &token {
        Some(token) => context.db()?.first(users::store::password_reset::look(context, &token.hash())).await?,
        None => None,
    };
    let target = match (&token, user) {
        (Some(token), Some(_)) => target.with_query("token", token.expose()),
        _ => target.with_query("error", "INVALID_TOKEN"),
    };
    // The token must not go on to wherever the page's links lead.
    Ok(Reply::redirect(302, &target).with("referrer-policy", "no-referrer"))
}

/// `POST /reset-password`.
///
/// # Errors
/// 400 for bad fields, a bad password, or a link that is not good any more.
pub async fn reset(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let new = Password::new(fields.required("newPassword", LONGEST_READ), nfkc);
    let token = fields.optional("token", 200);
    fields.finish()?;
    let token = token.or_else(|| call.request.param("token")).unwrap_or_default();
    reset::reset_password(&call.context, &token, &new).await?;
    Reply::json(200, &json!({ "status": true }))
}
