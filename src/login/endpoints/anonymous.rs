//! Guests: users without credentials, until they sign up.

use serde_json::json;

use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::request::origins;
use crate::session::authenticate::{Authentication, Depth, forget};
use crate::session::call::Call;
use crate::session::open::{Opening, cleared};
use crate::session::store::session::Which;
use crate::session::{open, proof};
use crate::users::store::sign_up::NewUser;
use crate::{request, session, users};

/// `POST /sign-in/anonymous`.
///
/// # Errors
/// 400 for whoever is a guest already, 404 where guests are not welcome, 429.
pub async fn sign_in(call: &mut Call) -> Result<Reply> {
    origins::open_way(call.context.config.ways_in.anonymous)?;
    call.request.fields(Media::Json).await?.finish()?;
    if let Authentication::Authenticated(one) = call.visitor(Depth::Database).await?
        && one.session.user.is_anonymous
    {
        return Err(Error::refused(Wire::ANONYMOUS_AGAIN, "a guest already"));
    }
    let context = &call.context;
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
    let opened = open::open(context, &Opening::new(&user_id, "anonymous", &[]), statements).await?;
    let body = json!({ "token": opened.session.id, "user": opened.session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
}

/// `POST /delete-anonymous-user`.
///
/// # Errors
/// 401, 403 for whoever is no guest, 404 where guests are not welcome.
pub async fn delete(call: &mut Call) -> Result<Reply> {
    origins::open_way(call.context.config.ways_in.anonymous)?;
    call.request.fields(Media::Json).await?.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    proof::not_impersonated(&authenticated)?;
    let context = &call.context;
    let user = &authenticated.session.user;
    if !user.is_anonymous {
        return Err(Error::refused(Wire::NOT_ANONYMOUS, "no guest"));
    }
    let mut statements = vec![session::store::session::revoke(context, &user.id, Which::All, "user_deleted", None)];
    statements.extend(users::store::user::delete(context, &user.id, "deleted by themselves"));
    let mut answers = context.db()?.batch(statements).await?;
    forget(context, session::store::session::revoked(&mut answers)?);
    Ok(Reply::json(200, &json!({ "success": true }))?.with_cookies(cleared(context)))
}
