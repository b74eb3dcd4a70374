//! Guests: users without credentials, until they sign up.

use crate::platform::error::{Error, Result, Wire};
use crate::request::context::Context;
use crate::session::authenticate::{Authentication, Depth, delete_session_copies, identify_visitor, require_session};
use crate::session::open::{Opened, Opening};
use crate::session::store::session::WhichSessions;
use crate::session::{open, proof};
use crate::users::store::sign_up::NewUser;
use crate::{request, session, users};

/// Opens a session of a new guest.
///
/// # Errors
/// 400 for somebody who is a guest already, 403 where nobody may sign up, 429, 503.
pub async fn sign_in_as_guest(context: &Context) -> Result<Opened> {
    if let Authentication::Authenticated(one) = identify_visitor(context, Depth::Database).await?
        && one.session.user.is_anonymous
    {
        return Err(Error::refused(Wire::ANONYMOUS_AGAIN, "a guest already"));
    }
    let config = &context.config;
    if !config.sign_up_open {
        return Err(Error::refused(Wire::SIGN_UP_DISABLED, "SIGN_UP is closed"));
    }
    let key = request::store::rate_limit::key(
        config,
        "sign-up:network",
        context.tenant().id.as_str(),
        &context.client().network(),
    );
    let statements = [
        request::store::rate_limit::count(&key, config.limit_sign_up, context.now),
        users::store::sign_in::tenant_is_active(&context.tenant().id),
    ];
    let mut answers = context.db()?.batch(statements).await?;
    let window: Option<request::store::rate_limit::Window> = answers.row()?;
    if let Some(retry_after) = window.and_then(|window| window.retry_after(config.limit_sign_up, context.now)) {
        return Err(Error::TooManyRequests { retry_after, limit: "guests by network" });
    }
    if !answers.row()?.unwrap_or(false) {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    let user_id = context.id()?;
    let email = format!("{user_id}@anonymous.placeholder.invalid");
    let user = NewUser { is_anonymous: true, ..NewUser::new(&user_id, &email, "Anonymous") };
    let statements = users::store::sign_up::create(context, &user)?;
    Ok(open::open_session(context, &Opening::new(&user_id, "anonymous", &[]), statements).await?)
}

/// Deletes the guest who is asking, and ends their sessions.
///
/// # Errors
/// 401, 403 for somebody who is no guest, 503.
pub async fn delete_guest(context: &Context) -> Result<()> {
    let (authenticated, _) = require_session(context, Vec::new()).await?;
    proof::refuse_impersonator(&authenticated)?;
    let user = &authenticated.session.user;
    if !user.is_anonymous {
        return Err(Error::refused(Wire::NOT_ANONYMOUS, "no guest"));
    }
    let mut statements =
        vec![session::store::session::revoke(context, &user.id, WhichSessions::All, "user_deleted", None)];
    statements.extend(users::store::user::delete(context, &user.id, "deleted by themselves"));
    let mut answers = context.db()?.batch(statements).await?;
    delete_session_copies(context, session::store::session::revoked(&mut answers)?);
    Ok(())
}
