//! A user's own profile.

use serde_json::json;

use crate::error::{Error, Result, Wire};
use crate::handlers::Call;
use crate::handlers::authenticate::{remember, snapshot_cookie};
use crate::handlers::sign_up::{LONGEST_IMAGE, LONGEST_NAME};
use crate::http::cookie::Cookie;
use crate::http::fields::Change;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::store;
use crate::store::user::Changes;

/// `POST /update-user`.
///
/// # Errors
/// 400 for bad fields, none, or the e-mail, which changes by proof only; 401.
pub async fn update(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    if fields.has("email") {
        return Err(Error::refused(Wire::EMAIL_CAN_NOT_BE_UPDATED, "email in update-user"));
    }
    let name = match fields.change("name", LONGEST_NAME) {
        Change::Set(name) => Some(name),
        Change::Keep | Change::Clear => None,
    };
    let image = fields.change("image", LONGEST_IMAGE);
    fields.finish()?;
    if name.is_none() && image == Change::Keep {
        return Err(Error::refused(Wire::NO_FIELDS_TO_UPDATE, "nothing to update"));
    }
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let (context, user) = (&call.context, &authenticated.session.user.id);
    let changes = Changes { name, image };
    let statements =
        [store::user::update(context, user, &changes), store::session::load(&context.tenant().id, &authenticated.hash)];
    let mut answers = context.db()?.batch(statements).await?.skip(1);
    let record = store::session::read(&mut answers)?;
    let mut reply = Reply::json(200, &json!({ "status": true }))?.with_cookies(authenticated.cookies);
    // The copies of the session say the new name at once; other sessions follow at their next recheck. Of two cookies
    // of one name a browser keeps the later.
    if let Some(Ok((session, _))) = record.map(|record| record.judge(None, context.now)) {
        remember(context, &authenticated.hash, &session);
        // What no longer fits into a snapshot must not leave the old one to answer.
        let snapshot = snapshot_cookie(context, &authenticated.hash, &session);
        reply = reply.with_cookie(snapshot.unwrap_or_else(|| Cookie::Snapshot.clear(context.is_secure)));
    }
    Ok(reply)
}
