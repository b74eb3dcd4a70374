//! The page on which failed upstream sign-ins end.

use crate::http::page::error;
use crate::http::page::error::{ErrorText, NextStep};
use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::session::call::Call;

/// `GET /error`: where a failed upstream sign-in ends when no other page was named for it.
///
/// # Errors
/// None.
pub async fn page(call: &mut Call) -> Result<Reply> {
    let code = call.request.param("error").unwrap_or_default();
    let (title, text) = error::words_for_code(&code);
    let next = NextStep::new("/login", "Start again");
    let told = ErrorText { text, detail: None, next, request_id: call.context.request_id() };
    Ok(Reply::page(200, error::page(&call.context.frame(title), &told)))
}
