//! User names.

use serde_json::json;

use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::http::username;
use crate::http::username::NoUsername;
use crate::platform::error::Result;
use crate::session::call::Call;
use crate::users::sign_in_decision;
use crate::users::store::sign_in::{LookupBy, candidate};

/// `POST /is-username-available`.
///
/// # Errors
/// 400 for bad fields, 422 for what is no user name.
pub async fn is_available(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let typed = fields.required("username", username::LONGEST_READ);
    fields.finish()?;
    let name = username::normalise_username(&typed).map_err(NoUsername::when_asked)?;
    let context = &call.context;
    let taken: Option<sign_in_decision::Candidate> =
        context.db()?.first(candidate(context, LookupBy::Username(&name))).await?;
    Reply::json(200, &json!({ "available": taken.is_none() }))
}
