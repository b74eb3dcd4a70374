//! Deleting one's own account: by password, or by a mailed link.

use serde_json::json;

use crate::credentials::password::{LONGEST_READ, Password};
use crate::http::email;
use crate::http::incoming::Media;
use crate::http::page::mailed;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::d1::StoreError;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::secret::{Deletion, Token};
use crate::platform::unicode::nfkc;
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::request::origins;
use crate::session::authenticate::{Authentication, Depth, delete_session_copies};
use crate::session::call::Call;
use crate::session::cookies::clear_session_cookies;
use crate::session::proof;
use crate::session::store::session::WhichSessions;
use crate::users::person::Person;
use crate::{records, request, session, tenants, users};

/// The page that the mailed link leads to. It asks once more: mail scanners follow links, and so do browsers ahead of time.
const PAGE: &str = "/delete-account";

/// `POST /delete-user`: with the password, at once; without one, by a mailed link. A user without a mailbox needs a fresh
/// session.
///
/// # Errors
/// 400 for a wrong password or a session too old, 401, 403 for a bad `callbackURL`, 404 for a bad token, 429.
pub async fn request(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let given = fields.optional("callbackURL", Target::LONGEST);
    let password = fields.optional("password", LONGEST_READ).map(|typed| Password::new(typed, nfkc));
    let token = fields.optional("token", 200);
    fields.finish()?;
    let target = origins::check_target(&call.context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    if let Some(token) = token {
        let (authenticated, _) = call.confirmed(Vec::new()).await?;
        proof::refuse_impersonator(&authenticated)?;
        by_token(call, &authenticated.session.user, &token).await?;
        return deleted(call);
    }
    if password.is_some() {
        let proof = proof::prove_by_password(&call.context, password.as_ref(), "delete-user", Vec::new()).await?;
        proof::refuse_impersonator(&proof.authenticated)?;
        if proof.current.is_none() {
            return Err(Error::refused(Wire::CREDENTIAL_ACCOUNT_NOT_FOUND, "user without a password"));
        }
        carry_out(&call.context, &proof.authenticated.session.user, "password").await?;
        return deleted(call);
    }
    let context = &call.context;
    let limit = context.config.limit_mail;
    let count = request::store::rate_limit::count_for_session(context, "delete-user", &call.presented()?.hash, limit);
    let (authenticated, mut answers) = call.confirmed(vec![count]).await?;
    proof::refuse_impersonator(&authenticated)?;
    let user = &authenticated.session.user;
    let window: Option<request::store::rate_limit::Window> = answers.row()?;
    if let Some(retry_after) = window.and_then(|window| window.retry_after(limit, context.now)) {
        return Err(Error::TooManyRequests { retry_after, limit: "delete-user by account" });
    }
    if !has_mailbox(user) {
        if !authenticated.session.is_fresh(&context.config, context.now) {
            return Err(Error::refused(Wire::SESSION_EXPIRED, "signed in too long ago"));
        }
        carry_out(context, user, "session").await?;
        return deleted(call);
    }
    send_link(context, user, target.as_ref()).await?;
    let body = json!({ "success": true, "message": "Verification email sent" });
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies))
}

/// Whether mail reaches a user: not a guest, nor somebody with a number alone.
fn has_mailbox(user: &Person) -> bool {
    !user.is_anonymous && email::is_mailbox(&user.email)
}

fn deleted(call: &Call) -> Result<Reply> {
    Ok(Reply::json(200, &json!({ "success": true, "message": "User deleted" }))?
        .with_cookies(clear_session_cookies(&call.context)))
}

async fn send_link(context: &Context, user: &Person, target: Option<&Target>) -> Result<()> {
    let token: Token<Deletion> = Token::new(context.random()?);
    let expires_at = context.now + context.config.deletion_seconds * 1000;
    let (tenant, id) = (context.tenant(), user.id.as_str());
    let keep = request::store::verification::keep(context, &tenant.id, &token, id, b"{}", expires_at)?;
    let url = Target::own(format!("{}{PAGE}", context.auth_origin()));
    let mut url = url.with_query("token", token.expose());
    if let Some(target) = target {
        url = url.with_query("callbackURL", target.as_str());
    }
    let letter = mail::deletion(&tenant.name, url.as_str());
    context.db()?.batch([keep, records::store::outbox::queue(context, Some(&user.id), &user.email, &letter)?]).await?;
    deliver_later(context);
    Ok(())
}

/// `GET /api/auth/delete-user/callback`: deletes for a script of a trusted origin in a browser that is signed in as the one to be
/// deleted; everybody else gets our page, which asks.
///
/// # Errors
/// 403 for a bad `callbackURL`, 404 signed out or for a bad token; 503.
pub async fn callback(call: &mut Call) -> Result<Reply> {
    if !origins::asked_by_script(&call.context, &call.request) {
        return Ok(origins::redirect_to_page(&call.request, PAGE));
    }
    let given = call.request.param("callbackURL").filter(|given| !given.is_empty());
    let target = origins::check_target(&call.context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let Authentication::Authenticated(authenticated) = call.visitor(Depth::Database).await? else {
        return Err(Error::refused(Wire::FAILED_TO_GET_USER_INFO, "not signed in"));
    };
    proof::refuse_impersonator(&authenticated)?;
    let token = call.request.param("token").unwrap_or_default();
    by_token(call, &authenticated.session.user, &token).await?;
    match target {
        Some(target) => Ok(Reply::redirect(302, &target).with_cookies(clear_session_cookies(&call.context))),
        None => deleted(call),
    }
}

fn spent(call: &Call, user: &Person) -> Reply {
    Reply::page(400, mailed::spent_deletion(&call.context.frame("This link has been used or is too old"), &user.email))
}

/// `GET /delete-account?token=…`, where the mail leads: asks once more, in a browser that is signed in as the one to be deleted.
/// Looking deletes nobody: mail scanners look as well.
///
/// # Errors
/// 403 for a bad `callbackURL`; 503.
pub async fn page(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let given = call.request.param("callbackURL").filter(|given| !given.is_empty());
    let target = origins::check_target(context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let Authentication::Authenticated(authenticated) = call.visitor(Depth::Database).await? else {
        let login = Target::own("/login").with_query("continue", call.request.path_and_query());
        return Ok(Reply::redirect(303, &login));
    };
    let user = &authenticated.session.user;
    let text = call.request.param("token").unwrap_or_default();
    let Some(token) = Token::<Deletion>::parse(&text) else {
        return Ok(spent(call, user));
    };
    let peek = request::store::verification::peek(context, &token.hash(), Some(user.id.as_str()));
    let link: Option<request::store::verification::Used> = context.db()?.first(peek).await?;
    if link.is_none() {
        return Ok(spent(call, user));
    }
    let frame = context.frame("Delete your account?");
    let page = mailed::ask_deletion(&frame, &text, target.as_ref().map(Target::as_str), &user.email);
    Ok(Reply::page(200, page))
}

/// `POST /delete-account`: deletes.
///
/// # Errors
/// 403 for a bad `callbackURL` and for an administrator in somebody else's session; 503.
pub async fn press(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let text = fields.optional("token", 200).unwrap_or_default();
    let given = fields.optional("callbackURL", Target::LONGEST);
    fields.finish()?;
    let target = origins::check_target(&call.context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let Authentication::Authenticated(authenticated) = call.visitor(Depth::Database).await? else {
        let back = Target::own(PAGE).with_query("token", &text);
        return Ok(Reply::redirect(303, &Target::own("/login").with_query("continue", back.as_str())));
    };
    proof::refuse_impersonator(&authenticated)?;
    let user = &authenticated.session.user;
    match by_token(call, user, &text).await {
        Err(error) if error.wire() == Wire::DELETION_TOKEN => {
            call.context.log(PAGE, &error);
            return Ok(spent(call, user));
        }
        other => other?,
    }
    let reply = match target {
        Some(target) => Reply::redirect(303, &target),
        None => Reply::page(200, mailed::deleted(&call.context.frame("Your account is deleted"))),
    };
    Ok(reply.with_cookies(clear_session_cookies(&call.context)))
}

async fn by_token(call: &Call, user: &Person, token: &str) -> Result<()> {
    let context = &call.context;
    let bad = |reason: &str| Error::refused(Wire::DELETION_TOKEN, reason);
    let token: Token<Deletion> = Token::parse(token).ok_or_else(|| bad("not of our making"))?;
    let take = request::store::verification::take(context, &token.hash(), Some(user.id.as_str()));
    let link: Option<request::store::verification::Used> = context.db()?.first(take).await?;
    link.ok_or_else(|| bad("unknown, used, expired, or another's"))?;
    carry_out(context, user, "mail").await
}

/// Deletes the user: every session ends, and they are told.
async fn carry_out(context: &Context, user: &Person, by: &str) -> Result<()> {
    let id: &Id<User> = &user.id;
    let details = json!({ "by": by });
    let mut statements = vec![
        session::store::session::revoke(context, id, WhichSessions::All, "user_deleted", None),
        tenants::store::member::leaves_none_ownerless(id),
        records::store::audit::audit(context, &context.row_id()?, Some(id), "user.deleted", Severity::High, &details),
    ];
    statements.extend(users::store::user::delete(context, id, "deleted by themselves"));
    statements.push(request::store::verification::forget(context, id));
    if has_mailbox(user) {
        let letter = mail::security_notice(
            &context.tenant().name,
            "Your account was deleted",
            "Your account was deleted, as you asked.",
        );
        statements.push(records::store::outbox::queue(context, Some(id), &user.email, &letter)?);
    }
    let mut answers = match context.db()?.batch(statements).await {
        Err(StoreError::Broken(name)) if name == tenants::store::member::WITHOUT_OWNER => {
            return Err(Error::refused(Wire::ONLY_OWNER, "the only owner of an organization with members"));
        }
        other => other?,
    };
    delete_session_copies(context, session::store::session::revoked(&mut answers)?);
    deliver_later(context);
    Ok(())
}
