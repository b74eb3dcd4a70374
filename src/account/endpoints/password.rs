//! Changing a password.

use serde_json::json;

use crate::credentials::password;
use crate::credentials::password::Password;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::unicode::nfkc;
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::request::password_hash;
use crate::session::authenticate::delete_session_copies;
use crate::session::call::Call;
use crate::session::open::Opening;
use crate::session::proof::PasswordProof;
use crate::session::store::session::WhichSessions;
use crate::session::{open, proof};
use crate::{records, request, session, users};

/// `POST /change-password`: every session, every token of a client and every key of the user's ends, and a new session begins for the caller. `revokeOtherSessions` changes
/// nothing here: whoever knew the old password may hold one of the others.
///
/// # Errors
/// 400 for bad fields, a bad new password or a wrong current one, 401, 429.
pub async fn change(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let current = Password::new(fields.required("currentPassword", password::LONGEST_READ), nfkc);
    let new = Password::new(fields.required("newPassword", password::LONGEST_READ), nfkc);
    fields.boolean("revokeOtherSessions");
    fields.finish()?;
    let context = &call.context;
    proof::check_password_length(context, &new)?;
    let PasswordProof { authenticated, current, .. } =
        proof::prove_by_password(&call.context, Some(&current), "change-password", Vec::new()).await?;
    proof::refuse_impersonator(&authenticated)?;
    let stored =
        current.ok_or_else(|| Error::refused(Wire::CREDENTIAL_ACCOUNT_NOT_FOUND, "user without a password"))?;
    proof::check_password_breach(context, &new, Some(&authenticated.session.user.id)).await?;
    let hash = password_hash::hash_password(context, &new).await?;
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
    let body = json!({ "token": opened.session.id, "user": opened.session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
}
