//! What a user agreed to, as they see it and take it back.

use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::handlers::authenticate::Authenticated;
use crate::handlers::{Call, proof};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::session::iso;
use crate::store;
use crate::store::database::{StoreError, must_change};
use crate::store::oauth::consent::Listed;
use crate::store::record::Severity;

/// `GET /oauth2/get-consents`: the user's, the newest first.
///
/// # Errors
/// 401, 503.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let authenticated = call.session()?;
    let context = &call.context;
    let statement = store::oauth::consent::of_user(context, &authenticated.session.user.id);
    let listed: Vec<Listed> = context.db()?.batch([statement]).await?.rows()?;
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
    take_back(&call.context, &authenticated, &id).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(authenticated.cookies))
}

/// Takes back what a user agreed to.
///
/// # Errors
/// 403 in another's name, 404 for another's.
pub async fn take_back(context: &Context, authenticated: &Authenticated, id: &str) -> Result<()> {
    proof::not_impersonated(authenticated)?;
    let user = &authenticated.session.user.id;
    let (event, details) = (context.row_id()?, json!({ "consent": id }));
    let statements = [
        store::oauth::token::revoke_consented(context, user, id),
        store::oauth::grant::end_consented(context, user, id),
        store::oauth::consent::withdraw(context, user, id),
        must_change(),
        store::record::audit(context, &event, Some(user), "consent.withdrawn", Severity::Low, &details),
    ];
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => Err(Error::refused(Wire::CONSENT_NOT_FOUND, "unknown, or another's")),
        other => Ok(other.map(|_| ())?),
    }
}
