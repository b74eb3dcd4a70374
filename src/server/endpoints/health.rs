//! Whether the Worker runs.

use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::session::call::Call;

/// `GET /ok`.
///
/// # Errors
/// None.
pub async fn ok(_call: &mut Call) -> Result<Reply> {
    Reply::json(200, &serde_json::json!({ "ok": true }))
}
