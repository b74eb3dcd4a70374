//! Signing in by a mailed link.

use serde_json::json;

use crate::http::incoming::Media;
use crate::http::page::mailed;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::login::magic_link;
use crate::login::magic_link::{PAGE, Targets};
use crate::platform::error::{Error, Result, Wire};
use crate::request::{errors, origins};
use crate::session::call::Call;
use crate::users::fields::LONGEST_NAME;

/// `POST /sign-in/magic-link`: known and unknown addresses are answered alike.
///
/// # Errors
/// 400 for bad fields, 403 for bad URLs, 404 where links are not a way in, 429.
pub async fn send(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.magic_link)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    let name = fields.optional_name("name", LONGEST_NAME).unwrap_or_default();
    let mut url = |name: &str| fields.optional(name, Target::LONGEST);
    let (callback, on_new, on_error) = (url("callbackURL"), url("newUserCallbackURL"), url("errorCallbackURL"));
    fields.finish()?;
    let context = &call.context;
    let ways = Targets {
        callback: origins::check_target(context, callback.as_deref(), Wire::INVALID_CALLBACK_URL)?,
        on_new: origins::check_target(context, on_new.as_deref(), Wire::INVALID_NEW_USER_CALLBACK_URL)?,
        on_error: origins::check_target(context, on_error.as_deref(), Wire::INVALID_ERROR_CALLBACK_URL)?,
    };
    magic_link::mail_sign_in_link(&call.context, &email, &name, &ways).await?;
    Reply::json(200, &json!({ "status": true }))
}

/// `GET /api/auth/magic-link/verify`: signs in for a script of a trusted origin; everybody else gets our page, which asks.
///
/// # Errors
/// 403 for bad URLs; 503. A link that is not good is told on the page that it leads to.
pub async fn verify(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.magic_link)?;
    if !origins::asked_by_script(&call.context, &call.request) {
        return Ok(origins::redirect_to_page(&call.request, PAGE));
    }
    let context = &call.context;
    let Targets { callback, on_new, on_error } = magic_link::read_targets(context, |name| call.request.param(name))?;
    let result = magic_link::sign_in_by_link(&call.context, call.request.param("token")).await;
    let reply = match (result, callback) {
        (Ok((outcome, is_new)), Some(callback)) => {
            let target = on_new.filter(|_| is_new).unwrap_or(callback);
            outcome.redirect(302, &target)
        }
        (Ok((outcome, _)), None) => outcome.json(
            |session| json!({ "token": session.id, "user": session.user_json(), "session": session.session_json() }),
        )?,
        (Err(error), callback) if error.wire().status < 500 => {
            context.log("/api/auth/magic-link/verify", &error);
            let page = on_error.or(callback).unwrap_or_else(|| Target::own("/api/auth/error"));
            Reply::redirect(302, &page.with_query("error", error.wire().code))
        }
        (Err(error), _) => return Err(error),
    };
    // The token must not go on to wherever the page's links lead.
    Ok(reply.with("referrer-policy", "no-referrer"))
}

/// A link that let nobody in: told where its mail was asked for, or on our page.
async fn refused(call: &Call, status: u16, ways: &Targets, error: &Error) -> Result<Reply> {
    let context = &call.context;
    context.log(PAGE, error);
    let front_end = ways.callback.as_ref().filter(|target| origins::is_elsewhere(context, target));
    if let Some(target) = ways.on_error.as_ref().or(front_end) {
        return Ok(Reply::redirect(status, &target.with_query("error", error.wire().code)));
    }
    if error.wire() != Wire::INVALID_TOKEN {
        return Ok(errors::error_page(context, error));
    }
    let target = ways.callback.as_ref().map_or("/account", Target::as_str);
    let user = call.signed_in_user().await?;
    let frame = context.frame("This link has been used or is too old");
    let signed_in = user.as_ref().map(|user| user.email.as_str());
    Ok(Reply::page(400, mailed::spent_sign_in(&frame, target, signed_in)))
}

/// `GET /sign-in-link?token=…`, where the mail leads: asks whether to sign in. Looking uses nothing up: mail scanners look as
/// well.
///
/// # Errors
/// 403 for bad URLs; 404 where links are not a way in; 503.
pub async fn page(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.magic_link)?;
    let context = &call.context;
    let ways = magic_link::read_targets(context, |name| call.request.param(name))?;
    let text = call.request.param("token").unwrap_or_default();
    let Some(email) = magic_link::load_recipient(context, &text).await? else {
        let error = Error::refused(Wire::INVALID_TOKEN, "unknown, used or expired");
        return refused(call, 302, &ways, &error).await;
    };
    let given =
        [("callbackURL", &ways.callback), ("newUserCallbackURL", &ways.on_new), ("errorCallbackURL", &ways.on_error)];
    let targets: Vec<(&str, &str)> =
        given.into_iter().filter_map(|(name, target)| Some((name, target.as_ref()?.as_str()))).collect();
    let asked = mailed::SignInQuestion { token: &text, email: &email, targets: &targets };
    Ok(Reply::page(200, mailed::ask_sign_in(&context.frame("Sign in?"), &asked)))
}

/// `POST /sign-in-link`: signs in.
///
/// # Errors
/// 403 for bad URLs; 404 where links are not a way in; 503.
pub async fn press(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.magic_link)?;
    let mut fields = call.request.fields(Media::Form).await?;
    let token = fields.optional("token", 200);
    let [callback, on_new, on_error] =
        ["callbackURL", "newUserCallbackURL", "errorCallbackURL"].map(|name| fields.optional(name, Target::LONGEST));
    fields.finish()?;
    let ways = magic_link::read_targets(&call.context, |name| match name {
        "callbackURL" => callback.clone(),
        "newUserCallbackURL" => on_new.clone(),
        _ => on_error.clone(),
    })?;
    match magic_link::sign_in_by_link(&call.context, token).await {
        Ok((outcome, is_new)) => {
            let home = Target::own("/account");
            let target = ways.on_new.as_ref().filter(|_| is_new).or(ways.callback.as_ref()).unwrap_or(&home);
            Ok(outcome.redirect(303, target))
        }
        Err(error) if error.wire().status < 500 => refused(call, 303, &ways, &error).await,
        Err(error) => Err(error),
    }
}
