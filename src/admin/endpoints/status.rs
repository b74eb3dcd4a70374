//! What may become of a user: suspended, deactivated, back again, removed; each with its reason, time and author.

use serde_json::json;

use crate::access::action::Action;
use crate::admin::store::{PoolUser, Transition};
use crate::admin::users::{
    UserAdministrator, authorize_user_admin, load_user, refuse_ownerless, user_field, user_not_found,
};
use crate::admin::{store, users as users_of_pool};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::records::deliver::deliver_later;
use crate::records::store::audit::Severity;
use crate::session::authenticate::delete_session_copies;
use crate::session::call::Call;
use crate::session::store::session::WhichSessions;
use crate::users::person::user_is_active;
use crate::{request, session, tenants, users};

/// The longest reason, in characters.
const LONGEST_REASON: usize = 1000;

/// The longest suspension, in seconds: a century.
const LONGEST_SUSPENSION: i64 = 3_155_760_000;

/// `POST /admin/ban-user`: suspends a user, for `banExpiresIn` seconds or until it is lifted. Their sessions end.
///
/// # Errors
/// 400 for oneself or whoever is deactivated, 401, 403, 404.
pub async fn ban(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = user_field(&mut fields);
    let reason = fields.optional_line("banReason", LONGEST_REASON);
    if fields.is_null("banExpiresIn") {
        fields.refuse("banExpiresIn", "Invalid input: expected number, received null");
    }
    let seconds = fields.number("banExpiresIn", (0, LONGEST_SUSPENSION)).filter(|seconds| *seconds > 0);
    fields.finish()?;
    let reason = reason.unwrap_or_else(|| "No reason".to_owned());
    let until = seconds.map(|seconds| call.context.now + seconds * 1000);
    let to = Transition { status: "suspended", reason: Some(&reason), until };
    end(call, &id, &to, ("user.suspended", Severity::High)).await
}

/// `POST /admin/unban-user`.
///
/// # Errors
/// 401, 403, 404.
pub async fn unban(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = user_field(&mut fields);
    fields.finish()?;
    let to = Transition { status: "active", reason: None, until: None };
    take_back(call, &id, "suspended", &to, ("user.restored", Severity::Medium)).await
}

/// `POST /admin/reactivate-user`: takes a deactivation back, and no suspension.
///
/// # Errors
/// 401, 403, 404.
pub async fn reactivate(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = user_field(&mut fields);
    fields.finish()?;
    let to = Transition { status: "active", reason: None, until: None };
    take_back(call, &id, "inactive", &to, ("user.reactivated", Severity::Medium)).await
}

/// `POST /admin/deactivate-user`: the account stays, and nobody signs in with it.
///
/// # Errors
/// 400 for oneself or whoever is banned, 401, 403, 404.
pub async fn deactivate(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = user_field(&mut fields);
    let reason = fields.optional_line("reason", LONGEST_REASON);
    fields.finish()?;
    let to = Transition { status: "inactive", reason: reason.as_deref(), until: None };
    end(call, &id, &to, ("user.deactivated", Severity::Medium)).await
}

/// Keeps a user out. One who is kept out already, and otherwise, stays so until that is taken back: the end of a suspension
/// must let in nobody who was deactivated, nor a reactivation whoever was banned.
async fn end(call: &Call, id: &str, to: &Transition<'_>, event: (&str, Severity)) -> Result<Reply> {
    let (overseer, target) = target(call, id).await?;
    let now = call.context.now;
    if target.person.id == overseer.acting.standing.user_id {
        return Err(Error::refused(Wire::CANNOT_BAN_YOURSELF, "oneself"));
    }
    match target.status.as_str() {
        "inactive" if to.status != "inactive" => Err(Error::refused(Wire::USER_IS_DEACTIVATED, "inactive")),
        "suspended" if to.status != "suspended" && !user_is_active("suspended", target.suspended_until, now) => {
            Err(Error::refused(Wire::USER_IS_BANNED, "suspended"))
        }
        _ => change(call, &overseer, &target, to, event).await,
    }
}

/// Lets a user in again who has this status; nobody else is changed.
async fn take_back(call: &Call, id: &str, from: &str, to: &Transition<'_>, event: (&str, Severity)) -> Result<Reply> {
    let (overseer, target) = target(call, id).await?;
    if target.status != from {
        return overseer.acting.answer(&json!({ "user": users_of_pool::user_json(&target, call.context.now) }));
    }
    change(call, &overseer, &target, to, event).await
}

async fn target(call: &Call, id: &str) -> Result<(UserAdministrator, PoolUser)> {
    let overseer = authorize_user_admin(&call.context, Action::BanUser).await?;
    let target = load_user(&call.context, id).await?;
    overseer.may_act_upon(&target, Action::BanUser)?;
    Ok((overseer, target))
}

/// The transition from what was read, and from nothing else: of two at once, one happens.
async fn change(
    call: &Call,
    overseer: &UserAdministrator,
    target: &PoolUser,
    to: &Transition<'_>,
    (event, severity): (&str, Severity),
) -> Result<Reply> {
    let context = &call.context;
    let user = &target.person.id;
    let ends = to.status != "active";
    let mut statements = vec![
        session::store::permission::holds_still(&overseer.permit),
        session::store::permission::covers_still(&overseer.permit, &[], Some(user)),
    ];
    if ends {
        statements.push(tenants::store::member::keeps_owner(overseer.acting.tenant(), user, &[]));
    }
    statements.push(store::transition(context, &overseer.permit, user, &target.status, to));
    statements.push(must_change());
    let skipped = statements.len();
    if ends {
        statements.push(session::store::session::revoke(context, user, WhichSessions::All, event, None));
        // They would open everything again once the user is let in again, and nobody would think of them.
        statements.push(session::store::api_key::disable_of(context, user, None));
        statements.push(request::store::verification::forget(context, user));
    }
    let details = json!({ "before": target.status, "after": to.status, "reason": to.reason, "until": to.until });
    statements.push(overseer.audited(context, user, event, (severity, details))?);
    statements.push(store::find(context, user));
    let mut answers = match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Err(Error::refused(Wire::USER_CHANGED, "changed meanwhile")),
        other => other.map_err(refuse_ownerless)?.skip(skipped),
    };
    if ends {
        delete_session_copies(context, session::store::session::revoked(&mut answers)?);
        deliver_later(context);
    }
    let record: Option<PoolUser> = answers.last()?;
    let body = json!({ "user": users_of_pool::user_json(&record.ok_or_else(user_not_found)?, context.now) });
    Ok(Reply::json(200, &body)?.with_cookies(overseer.acting.authenticated.cookies.clone()))
}

/// `POST /admin/remove-user`: softly, as if they had done it themselves. Cron deletes what is left after
/// `USER_RETENTION_SECONDS`.
///
/// # Errors
/// 400 for oneself or the last owner, 401, 403, 404.
pub async fn remove(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = user_field(&mut fields);
    let reason = fields.optional_line("reason", LONGEST_REASON);
    fields.finish()?;
    let overseer = authorize_user_admin(&call.context, Action::RemoveUser).await?;
    let context = &call.context;
    let target = load_user(context, &id).await?;
    let user = &target.person.id;
    if *user == overseer.acting.standing.user_id {
        return Err(Error::refused(Wire::CANNOT_REMOVE_YOURSELF, "oneself"));
    }
    overseer.may_act_upon(&target, Action::RemoveUser)?;
    let why = reason.as_deref().unwrap_or("deleted by an administrator");
    let mut statements = vec![
        session::store::session::revoke(context, user, WhichSessions::All, "user_deleted", None),
        session::store::permission::holds_still(&overseer.permit),
        session::store::permission::covers_still(&overseer.permit, &[], Some(user)),
        tenants::store::member::leaves_none_ownerless(user),
    ];
    statements.extend(users::store::user::delete_by(context, user, &overseer.acting.standing.user_id, why));
    statements.push(request::store::verification::forget(context, user));
    statements.push(overseer.audited(context, user, "user.deleted", (Severity::High, json!({ "reason": reason })))?);
    let mut answers = context.db()?.batch(statements).await.map_err(refuse_ownerless)?;
    delete_session_copies(context, session::store::session::revoked(&mut answers)?);
    deliver_later(context);
    overseer.acting.answer(&json!({ "success": true }))
}
