//! Changing a password.

use serde_json::json;

use crate::context::nfkc;
use crate::credentials::password::{self, Password};
use crate::error::{Error, Result, Wire};
use crate::handlers::Call;
use crate::handlers::authenticate::forget;
use crate::handlers::opening::{self, Opening};
use crate::handlers::proof::{self, Proof};
use crate::hashing;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::jobs::outbox::deliver_later;
use crate::pages::mail;
use crate::store;
use crate::store::session::Which;

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
    proof::acceptable_length(context, &new)?;
    let Proof { authenticated, current, .. } =
        proof::by_password(call, Some(&current), "change-password", Vec::new()).await?;
    proof::not_impersonated(&authenticated)?;
    let stored =
        current.ok_or_else(|| Error::refused(Wire::CREDENTIAL_ACCOUNT_NOT_FOUND, "user without a password"))?;
    proof::not_breached(context, &new, Some(&authenticated.session.user.id)).await?;
    let hash = hashing::hash(context, &new).await?;
    let session = &authenticated.session;
    let user = &session.user.id;
    let told = mail::password_changed(&context.tenant().name);
    let mut statements = vec![
        store::password::replace(context, user, stored.expose(), hash.expose()),
        store::password::record_change(context, &context.row_id()?, user, hash.expose()),
        store::session::revoke(context, user, Which::All, "password_changed", Some(hash.expose())),
        store::password_reset::revoke(context, user, None, "password_changed"),
        store::second_factor::distrust(context, user, Some(hash.expose())),
        store::second_factor::mailed_codes_again(context, user, hash.expose()),
        store::verification::forget(context, user),
        store::outbox::queue_to_user(context, user, &told, Some(hash.expose()))?,
    ];
    // A thief who knew the old password may have let software in that would stay, or made a key that would.
    statements.push(store::api_key::disable_of(context, user, Some(hash.expose())));
    statements.extend(store::oauth::token::revoke_user(context, user, "password_changed", Some(hash.expose())));
    let amr: Vec<&str> = session.amr.iter().map(String::as_str).collect();
    let opening = Opening {
        is_remembered: session.is_remembered,
        // Of two changes at once one holds, and only that one's session is opened.
        while_password: Some(hash.expose()),
        // Whoever lost the race compared a password that is not current any more.
        otherwise: Wire::INVALID_PASSWORD,
        ..Opening::new(user, &session.login_method, &amr)
    };
    let opened = opening::open(context, &opening, statements).await.map_err(Error::from)?;
    forget(context, vec![authenticated.hash.clone()]);
    deliver_later(context);
    let body = json!({ "token": opened.session.id, "user": opened.session.user_json() });
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies))
}
