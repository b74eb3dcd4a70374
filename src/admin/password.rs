//! The password of a user, set by an administrator.

use serde_json::Value;

use crate::access::action::Action;
use crate::admin::users::{authorize_user_admin, load_user};
use crate::credentials::password::Password;
use crate::http::email;
use crate::platform::error::Result;
use crate::platform::unicode::nfkc;
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::request::password_hash;
use crate::session::authenticate::delete_session_copies;
use crate::session::proof;
use crate::session::store::session::WhichSessions;
use crate::tenants::caller::ActingMember;
use crate::{records, request, session};

/// Sets the password of a user, and ends every session of theirs and the links that would set another. Answers who did it.
///
/// # Errors
/// 400 for a password that is too short, too long or in a breach; 401; 403; 404; 503.
pub async fn set_user_password(context: &Context, id: &str, typed: String) -> Result<ActingMember> {
    let overseer = authorize_user_admin(context, Action::SetUserPassword).await?;
    let target = load_user(context, id).await?;
    let user = &target.person.id;
    overseer.may_act_upon(&target, Action::SetUserPassword)?;
    let password = Password::new(typed, nfkc);
    proof::check_password_length(context, &password)?;
    proof::check_password_breach(context, &password, Some(user)).await?;
    let hash = password_hash::hash_password(context, &password).await?;
    let mut statements = vec![
        session::store::session::revoke(context, user, WhichSessions::All, "password_set", None),
        session::store::permission::holds_still(&overseer.permit),
        session::store::permission::covers_still(&overseer.permit, &[], Some(user)),
        crate::users::store::password::set(context, &context.id()?, user, hash.expose()),
        crate::users::store::password_reset::revoke(context, user, None, "password_set"),
        crate::users::store::second_factor::distrust(context, user, None),
        crate::users::store::second_factor::mailed_codes_again(context, user, hash.expose()),
        request::store::verification::forget(context, user),
        crate::users::store::code::forget(context, &target.person.email, target.person.phone_number.as_deref()),
        crate::users::store::sign_in::unlock(context, user),
        overseer.audited(context, user, "password.set_by_administrator", (Severity::High, Value::Null))?,
    ];
    // Whoever had got in may have let software in that would stay.
    statements.push(session::store::api_key::disable_of(context, user, None));
    statements.extend(session::store::session::revoke_user(context, user, "password_set", None));
    if email::is_mailbox(&target.person.email) {
        let letter = mail::security_notice(
            &context.tenant().name,
            "Your password was set",
            "An administrator set a new password for your account, and ended its sessions.",
        );
        statements.push(records::store::outbox::queue(context, Some(user), &target.person.email, &letter)?);
    }
    let mut answers = context.db()?.batch(statements).await?;
    delete_session_copies(context, session::store::session::revoked(&mut answers)?);
    deliver_later(context);
    Ok(overseer.acting)
}
