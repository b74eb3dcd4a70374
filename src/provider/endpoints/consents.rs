//! What a user agreed to, as they see it and take it back.

use serde_json::{Value, json};

use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::platform::time::iso;
use crate::provider::store::consent::ListedConsent;
use crate::provider::{consents, store};
use crate::session::call::Call;

/// `GET /oauth2/get-consents`: the user's, the newest first.
///
/// # Errors
/// 401, 503.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let authenticated = call.session()?;
    let context = &call.context;
    let statement = store::consent::of_user(context, &authenticated.session.user.id);
    let listed: Vec<ListedConsent> = context.db()?.batch([statement]).await?.rows()?;
    let body: Vec<Value> = listed
        .iter()
        .map(|consent| {
            json!({
                "id": consent.id,
                "clientId": consent.client_id,
                "clientName": consent.client_name,
                "userId": authenticated.session.user.id,
                "scopes": consent.scopes,
                "createdAt": iso(consent.created_at),
                "updatedAt": iso(consent.updated_at),
            })
        })
        .collect();
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies.clone()))
}

/// `POST /oauth2/delete-consent`: taken back, and every token of the client's that stands for the user with it.
///
/// # Errors
/// 401, 404 for another's.
pub async fn withdraw(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.required("id", 100);
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    consents::withdraw_consent(&call.context, &authenticated, &id).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(authenticated.cookies))
}
