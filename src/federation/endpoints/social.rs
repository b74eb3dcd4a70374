//! Signing in through an upstream issuer, and linking one.

use serde_json::json;

use crate::federation::flow::begin::{AuthorizationWish, BegunAuthorization, begin_authorization};
use crate::federation::flow::native::{Believed, Native, believe, refused};
use crate::federation::flow::sign_in::{Arrived, sign_in};
use crate::federation::flow::{End, link as linking};
use crate::federation::request::Purpose;
use crate::federation::service::ServiceType;
use crate::federation::store;
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::d1::Statement;
use crate::platform::error::{Result, Wire};
use crate::request::context::Context;
use crate::request::origins;
use crate::session::call::Call;
use crate::session::proof;

fn redirecting(begun: BegunAuthorization, disable_redirect: bool) -> Result<Reply> {
    let reply =
        Reply::json(200, &json!({ "url": begun.url, "redirect": !disable_redirect }))?.with_cookie(begun.cookie);
    Ok(if disable_redirect { reply } else { reply.with("location", begun.url) })
}

fn named(context: &Context, wish: &AuthorizationWish) -> Statement {
    store::issuer::by_name(&context.tenant().id, &wish.provider)
}

/// `POST /one-tap/callback`: the ID token that Google's own script gave to a page of ours or of a trusted origin.
///
/// # Errors
/// 400, 401 for a bad ID token, 403 for a bad target, 404 without an issuer of Google's, 429, 502.
pub async fn one_tap(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let token = fields.required("idToken", 16 * 1024);
    let callback = fields.optional("callbackURL", Target::LONGEST);
    fields.finish()?;
    let context = &call.context;
    // The page goes there by itself.
    origins::check_target(context, callback.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let issuer = store::issuer::of_service(&context.tenant().id, ServiceType::Google);
    let Believed { upstream, profile, response } = believe(context, issuer, Native::of_page(token)?).await?;
    let tokens = response.tokens(&upstream.login_scopes);
    let Arrived { outcome, .. } = sign_in(context, &upstream, &profile, &tokens).await.map_err(refused)?;
    outcome.json(|session| json!({ "token": session.id, "user": session.user_json() }))
}

/// `POST /sign-in/social`: begins a flow, or believes the ID token that a native app brings.
///
/// # Errors
/// 400, 401 for a bad ID token, 403 for a bad target, 404 for an unknown provider, 429, 502 for one that does not answer.
pub async fn start(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let wish = AuthorizationWish::read(&mut fields);
    let disable_redirect = fields.boolean("disableRedirect").unwrap_or(false);
    let native = fields.take("idToken");
    fields.finish()?;
    let context = &call.context;
    let Some(native) = native else {
        return redirecting(begin_authorization(context, &wish).await?, disable_redirect);
    };
    let Believed { upstream, profile, response } =
        believe(context, named(context, &wish), Native::read(native)?).await?;
    let tokens = response.tokens(&upstream.login_scopes);
    let Arrived { outcome, .. } = sign_in(context, &upstream, &profile, &tokens).await.map_err(refused)?;
    outcome.json(|session| json!({ "redirect": false, "token": session.id, "user": session.user_json() }))
}

/// `POST /link-social`: the same for whoever is signed in. It adds a way in, so the session must be fresh.
///
/// # Errors
/// As [`start`]; 401, 403 for a session that is not fresh, 409 for an identity of somebody else.
pub async fn link(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let wish = AuthorizationWish::read(&mut fields);
    let disable_redirect = fields.boolean("disableRedirect").unwrap_or(false);
    let native = fields.take("idToken");
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let context = &call.context;
    proof::refuse_impersonator(&authenticated)?;
    proof::require_fresh_session(context, &authenticated)?;
    let user = &authenticated.session.user.id;
    if let Some(native) = native {
        let Believed { upstream, profile, response } =
            believe(context, named(context, &wish), Native::read(native)?).await?;
        let tokens = response.tokens(&upstream.login_scopes);
        let linked = linking::link(&call.context, &upstream, &profile, &tokens, user).await;
        let waits = matches!(&linked, Err(End::Failure(failure)) if failure.code == "account_not_confirmed");
        if !waits {
            linked.map_err(refused)?;
        }
        let body = json!({ "url": "", "status": !waits, "redirect": false });
        return Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies));
    }
    let wish = AuthorizationWish { purpose: Purpose::Link(user.clone()), ..wish };
    let begun = begin_authorization(context, &wish).await?;
    Ok(redirecting(begun, disable_redirect)?.with_cookies(authenticated.cookies))
}
