//! Linked identities.

use serde_json::{Value, json};

use crate::error::Result;
use crate::handlers::Call;
use crate::http::reply::Reply;
use crate::session::iso;
use crate::store;

/// `GET /list-accounts`.
///
/// # Errors
/// 401, 503.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let authenticated = call.session()?;
    let (tenant, user) = (&call.context.tenant().id, &authenticated.session.user.id);
    let mut answers = call.context.db()?.batch([store::user::accounts(tenant, user)]).await?;
    let body: Vec<Value> = answers
        .rows::<store::user::Linked>()?
        .iter()
        .map(|account| {
            let scopes: Vec<&str> = account.scope.as_deref().unwrap_or_default().split_whitespace().collect();
            json!({
                "id": account.id,
                "providerId": account.provider,
                "accountId": account.subject,
                "userId": user,
                "scopes": scopes,
                "createdAt": iso(account.created_at),
                "updatedAt": iso(account.updated_at),
            })
        })
        .collect();
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies.clone()))
}
