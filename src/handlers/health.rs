//! Whether the Worker runs.

use crate::error::Result;
use crate::handlers::Call;
use crate::http::reply::Reply;

/// `GET /ok`.
///
/// # Errors
/// None.
pub async fn ok(_call: &mut Call) -> Result<Reply> {
    Reply::json(200, &serde_json::json!({ "ok": true }))
}
