//! The session of a user whose data has just changed.

use serde_json::json;

use crate::access::action::Action;
use crate::http::cookie::Cookie;
use crate::http::fields::Change;
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::authenticate::{Authenticated, judge_session, snapshot_cookie, write_session_copy};
use crate::session::live_session::JudgedSession;
use crate::session::store::deed::Deed;
use crate::session::{authenticate, impersonation, proof};
use crate::users::profile::Patches;
use crate::users::store::user::UserNameChanges;
use crate::{admin, federation, session, users};

/// The session as D1 has it now, for the answer that changed its user: the copies say so at once, and other sessions
/// follow at their next recheck. Its `Set-Cookie` lines; of two cookies of one name a browser keeps the later.
///
/// # Errors
/// 503.
pub async fn refresh_session_copy(context: &Context, authenticated: &Authenticated) -> Result<Vec<String>> {
    let record = session::store::session::find(context.db()?, &context.tenant().id, &authenticated.hash).await?;
    let mut cookies = authenticated.cookies.clone();
    if let Some(Ok(JudgedSession { session, .. })) = record.map(|record| judge_session(context, record)) {
        write_session_copy(context, &authenticated.hash, &session);
        let snapshot = snapshot_cookie(context, &authenticated.hash, &session);
        cookies.push(snapshot.unwrap_or_else(|| Cookie::Snapshot.clear(context.is_secure)));
    }
    Ok(cookies)
}

/// What somebody would change of themselves.
pub struct UserWish {
    /// Names and picture.
    pub changes: UserNameChanges,
    /// Fields of the profile.
    pub patches: Patches,
    /// Whether their number is taken away.
    pub clears_phone: bool,
}

/// Changes the user who is asking. The `Set-Cookie` lines of their session.
///
/// # Errors
/// 400 for a user name that is taken, more than is kept of a user, and a number that is their only way in; 401; 403 for an
/// administrator in the user's name who may not change users; 503.
pub async fn update_user(context: &Context, wish: UserWish) -> Result<Vec<String>> {
    let UserWish { changes, patches, clears_phone } = wish;
    let (authenticated, _) = authenticate::require_session(context, Vec::new()).await?;
    if changes.username != Change::Keep || clears_phone {
        // What somebody signs in by is theirs to change.
        proof::refuse_impersonator(&authenticated)?;
    }
    let user = &authenticated.session.user.id;
    let mut statements = Vec::new();
    if let Some(permit) =
        impersonation::require_own_permission(context, &authenticated.session, Action::UpdateUser).await?
    {
        let deed = Deed {
            event: "user.changed",
            severity: Severity::Medium,
            subject: Some(user),
            details: json!({ "name": changes.name }),
        };
        statements.push(session::store::permission::holds_still(&permit));
        statements.push(session::store::deed::deed(context, permit.tenant(), &authenticated.session, &deed)?);
    }
    statements.push(users::store::user::update(context, user, &changes));
    if !patches.is_empty() {
        statements.extend([admin::store::patch(context, user, &patches), must_change()]);
    }
    if clears_phone {
        statements.extend([
            users::store::user::change_phone(context, user, None),
            federation::store::account::keeps_way_in(context, user),
        ]);
    }
    let skipped = statements.len();
    statements.push(session::store::session::load(&context.tenant().id, &authenticated.hash));
    let mut answers = match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(column)) if column == "user.username" => {
            return Err(Error::refused(Wire::USERNAME_TAKEN, "user name is taken"));
        }
        Err(StoreError::Broken(name)) if name == federation::store::account::LAST_WAY_IN => {
            return Err(Error::refused(Wire::LAST_WAY_IN, "no other way in than the number"));
        }
        Err(StoreError::Unchanged) => {
            return Err(Error::Validation("[body] Too big: more than is kept of a user".to_owned()));
        }
        other => other?.skip(skipped),
    };
    let record = session::store::session::read(&mut answers)?;
    let mut cookies = authenticated.cookies;
    // The copies of the session say the new name at once; other sessions follow at their next recheck. Of two cookies
    // of one name a browser keeps the later.
    if let Some(Ok(JudgedSession { session, .. })) = record.map(|record| judge_session(context, record)) {
        write_session_copy(context, &authenticated.hash, &session);
        // What no longer fits into a snapshot must not leave the old one to answer.
        let snapshot = snapshot_cookie(context, &authenticated.hash, &session);
        cookies.push(snapshot.unwrap_or_else(|| Cookie::Snapshot.clear(context.is_secure)));
    }
    Ok(cookies)
}
