//! Proving once more who is there, before something sensitive; and whether a new password will do.

use serde_json::json;

use crate::credentials::password::{LONGEST_READ, Password};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::unicode::nfkc;
use crate::session::call::Call;
use crate::session::proof;

/// `POST /verify-password`.
///
/// # Errors
/// 400 for a wrong password, or a user without one; 401, 429.
pub async fn verify(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let typed = Password::new(fields.required("password", LONGEST_READ), nfkc);
    fields.finish()?;
    let proof = proof::prove_by_password(&call.context, Some(&typed), "verify-password", Vec::new()).await?;
    proof::refuse_impersonator(&proof.authenticated)?;
    if proof.current.is_none() {
        return Err(Error::refused(Wire::INVALID_PASSWORD, "user without a password"));
    }
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(proof.authenticated.cookies))
}
