//! Changing a password by the one before.

use crate::credentials::password::Password;
use crate::platform::error::{Error, Result, Wire};
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::request::context::Context;
use crate::request::password_hash;
use crate::session::authenticate::delete_session_copies;
use crate::session::open::{Opened, Opening};
use crate::session::proof::PasswordProof;
use crate::session::store::session::WhichSessions;
use crate::session::{open, proof};
use crate::{records, request, session, users};

/// Changes the password of the user who is asking, and ends their other sessions. Opens a session in the place of this one.
///
/// # Errors
/// 400 for a wrong password, and for a new one that is too short, too long or in a breach; 401; 403; 429; 503.
pub async fn change_password(context: &Context, current: &Password, new: &Password) -> Result<Opened> {
    proof::check_password_length(context, new)?;
    let PasswordProof { authenticated, current, .. } =
        proof::prove_by_password(context, Some(current), "change-password", Vec::new()).await?;
    proof::refuse_impersonator(&authenticated)?;
    let stored =
        current.ok_or_else(|| Error::refused(Wire::CREDENTIAL_ACCOUNT_NOT_FOUND, "user without a password"))?;
    proof::check_password_breach(context, new, Some(&authenticated.session.user.id)).await?;
    let hash = password_hash::hash_password(context, new).await?;
    let session = &authenticated.session;
    let user = &session.user.id;
    let told = mail::password_changed(&context.tenant().name);
    let mut statements = vec![
        users::store::password::replace(context, user, stored.expose(), hash.expose()),
        users::store::password::record_change(context, &context.row_id()?, user, hash.expose()),
        session::store::session::revoke(context, user, WhichSessions::All, "password_changed", Some(hash.expose())),
        users::store::password_reset::revoke(context, user, None, "password_changed"),
        users::store::second_factor::distrust(context, user, Some(hash.expose())),
        users::store::second_factor::mailed_codes_again(context, user, hash.expose()),
        request::store::verification::forget(context, user),
        records::store::outbox::queue_to_user(context, user, &told, Some(hash.expose()))?,
    ];
    // A thief who knew the old password may have let software in that would stay, or made a key that would.
    statements.push(session::store::api_key::disable_of(context, user, Some(hash.expose())));
    statements.extend(session::store::session::revoke_user(context, user, "password_changed", Some(hash.expose())));
    let amr: Vec<&str> = session.amr.iter().map(String::as_str).collect();
    let opening = Opening {
        is_remembered: session.is_remembered,
        // Of two changes at once one holds, and only that one's session is opened.
        while_password: Some(hash.expose()),
        // Whoever lost the race compared a password that is not current any more.
        otherwise: Wire::INVALID_PASSWORD,
        ..Opening::new(user, &session.login_method, &amr)
    };
    let opened = open::open_session(context, &opening, statements).await.map_err(Error::from)?;
    delete_session_copies(context, vec![authenticated.hash.clone()]);
    deliver_later(context);
    Ok(opened)
}
