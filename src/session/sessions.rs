//! Ending sessions.

use serde_json::json;

use crate::access::action::Permit;
use crate::platform::error::Result;
use crate::platform::id::{Id, User};
use crate::records::deliver::deliver_later;
use crate::records::store::audit::Severity;
use crate::records::store::outbox::has_logouts;
use crate::request::context::Context;
use crate::session::authenticate::{Authentication, Depth, Ticket, delete_session_copies};
use crate::session::cookies::clear_session_cookies;
use crate::session::live_session::LiveSession;
use crate::session::store::deed::Deed;
use crate::session::store::permission::holds_still;
use crate::session::store::session::WhichSessions;
use crate::session::{authenticate, impersonation, multi_session, store};
use crate::{records, request};

/// The header in which `get-session` carries a JWT, where that is switched on.
pub const SET_AUTH_JWT: &str = "set-auth-jwt";

/// Ends the session of this request, if there is one, and those of the browser's other accounts; answers the cookies that
/// go with them.
///
/// # Errors
/// 503.
pub async fn end_current_session(context: &Context) -> Result<Vec<String>> {
    let mut gone = Vec::from(clear_session_cookies(context));
    // What ends sessions is done whether or not this one has ended by itself.
    context.db()?.let_go();
    gone.extend(multi_session::end_other_accounts(context).await?);
    gone.extend(impersonation::end_session_aside(context).await?);
    let authenticated = match authenticate::identify_visitor(context, Depth::Database).await? {
        Authentication::Authenticated(authenticated) => authenticated,
        // What keeps it from holding here and now may pass, an address, a suspension, a policy: signed out is signed out.
        Authentication::Rejected(_) => {
            let Ok(Ticket { hash, .. }) = authenticate::require_ticket(context) else {
                return Ok(gone);
            };
            let statements = [store::session::end_family(context, &hash, "signed_out"), has_logouts(context.now)];
            let mut answers = context.db()?.batch(statements).await?;
            delete_session_copies(context, store::session::revoked(&mut answers)?);
            if answers.row()? == Some(true) {
                deliver_later(context);
            }
            return Ok(gone);
        }
        Authentication::NotPresented => return Ok(gone),
    };
    context.db()?.let_go();
    let session = &authenticated.session;
    // A protected host's session ends with the one that it hangs on, and so do its siblings: signed out is signed out.
    let id = session.parent_id.as_ref().unwrap_or(&session.id);
    end_sessions(context, session, WhichSessions::One(id), ("signed_out", None)).await?;
    Ok(gone)
}

pub(crate) async fn end_sessions(
    context: &Context,
    session: &LiveSession,
    which: WhichSessions<'_>,
    (reason, permit): (&str, Option<Permit>),
) -> Result<()> {
    let event = match which {
        WhichSessions::One(_) => "session.ended",
        WhichSessions::All | WhichSessions::AllBut(_) => "sessions.ended",
    };
    let user = &session.user.id;
    let details = json!({ "reason": reason, "by_session": session.id });
    // The administrator who acts as somebody did it, and not they.
    let audit = if session.impersonated_by.is_some() {
        let deed = Deed { event, severity: Severity::Medium, subject: Some(user), details };
        store::deed::deed(context, &session.tenant_id, session, &deed)?
    } else {
        records::store::audit::audit(context, &context.row_id()?, Some(user), event, Severity::Low, &details)
    };
    let mut statements =
        vec![store::session::revoke(context, user, which, reason, None), audit, has_logouts(context.now)];
    // Ending all sessions ends what was begun in them as well: a change of address waits for no session.
    if !matches!(which, WhichSessions::One(_)) {
        statements.push(request::store::verification::forget(context, user));
    }
    statements.extend(permit.iter().map(holds_still));
    let mut answers = context.db()?.batch(statements).await?;
    delete_session_copies(context, store::session::revoked(&mut answers)?);
    if answers.skip(1).row()? == Some(true) {
        deliver_later(context);
    }
    Ok(())
}

/// The sessions of a user that can be ended.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn list_sessions(context: &Context, user: &Id<User>) -> Result<Vec<store::session::ListedSession>> {
    let statement = store::session::list(&context.tenant().id, user, context.now);
    Ok(context.db()?.batch([statement]).await?.rows()?)
}
