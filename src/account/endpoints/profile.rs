//! What users keep here beside who they are: profile, preferences, which mails they want.

use serde_json::{Value, json};

use crate::admin;
use crate::admin::store::Kept;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result};
use crate::session::call::Call;

/// What a user keeps here, as clients are shown it.
#[must_use]
pub fn json_of(kept: &Kept) -> Value {
    json!({
        "profile": kept.profile, "preferences": kept.preferences, "emailPreferences": kept.email_preferences,
        "metadata": kept.metadata,
    })
}

/// `GET /profile`: what the user keeps here.
///
/// # Errors
/// 401.
pub async fn show(call: &mut Call) -> Result<Reply> {
    let hash = call.presented()?.hash;
    let statement = admin::store::kept(&call.context.tenant().id, &hash);
    let (authenticated, mut answers) = call.confirmed(vec![statement]).await?;
    let kept: Option<Kept> = answers.row()?;
    let kept = kept.ok_or_else(|| Error::Internal("a session without its user".to_owned()))?;
    Ok(Reply::json(200, &json_of(&kept))?.with_cookies(authenticated.cookies))
}
