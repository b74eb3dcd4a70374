//! Clients, as administrators of their tenant see and change them.

use serde_json::{Value, json};

use crate::error::{Error, Result, Wire};
use crate::handlers::Call;
use crate::handlers::admin::administrator;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::secret::{ClientSecret, Token};
use crate::session::iso;
use crate::store;
use crate::store::database::{Statement, StoreError, must_change};
use crate::store::oauth::client::Listed;
use crate::store::record::Severity;

/// How long the secret before the new one stays good, in milliseconds: a day to change over.
const CHANGING_OVER: i64 = 86_400_000;

fn shown(client: &Listed) -> Value {
    json!({
        "client_id": client.client_id,
        "client_name": client.name,
        "token_endpoint_auth_method": client.auth_method,
        "redirect_uris": client.redirect_uris,
        "grant_types": client.grant_types,
        "scope": client.scopes.join(" "),
        "disabled": client.disabled,
        "skip_consent": client.skips_consent,
        "user_id": client.user_id,
        "created_at": iso(client.created_at),
        "updated_at": iso(client.updated_at),
    })
}

fn not_found() -> Error {
    Error::refused(Wire::CLIENT_NOT_FOUND, "unknown, or another tenant's")
}

/// `GET /oauth2/get-clients`: those of the tenant.
///
/// # Errors
/// 401, 403.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let more = vec![store::oauth::client::of_tenant(&call.context)];
    let mut administrator = administrator(call, more).await?;
    let clients: Vec<Listed> = administrator.answers.rows()?;
    let body: Vec<Value> = clients.iter().map(shown).collect();
    Ok(Reply::json(200, &body)?.with_cookies(administrator.authenticated.cookies))
}

/// `GET /oauth2/get-client?client_id=…`.
///
/// # Errors
/// 401, 403, 404.
pub async fn show(call: &mut Call) -> Result<Reply> {
    let id = call.request.param("client_id").unwrap_or_default();
    let mut administrator = administrator(call, vec![store::oauth::client::one(&call.context, &id)]).await?;
    let client: Option<Listed> = administrator.answers.row()?;
    let client = client.ok_or_else(not_found)?;
    Ok(Reply::json(200, &shown(&client))?.with_cookies(administrator.authenticated.cookies))
}

/// Changes a client of the tenant's by `statement`, which changes nothing of another's.
async fn change(call: &Call, event: &str, id: &str, statements: Vec<Statement>) -> Result<Vec<String>> {
    let administrator = administrator(call, Vec::new()).await?;
    let context = &call.context;
    let user = &administrator.authenticated.session.user.id;
    let (row, details) = (context.row_id()?, json!({ "client_id": id }));
    let mut all = statements;
    all.push(must_change());
    all.push(store::record::audit(context, &row, Some(user), event, Severity::Medium, &details));
    match context.db()?.batch(all).await {
        Err(StoreError::Unchanged) => return Err(not_found()),
        other => other?,
    };
    Ok(administrator.authenticated.cookies)
}

async fn named(call: &mut Call) -> Result<(String, Option<bool>)> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.required("client_id", 500);
    let disabled = fields.boolean("disabled");
    fields.finish()?;
    Ok((id, disabled))
}

/// `POST /oauth2/client/rotate-secret`: another secret, shown once; the one before is good for a day more.
///
/// # Errors
/// 401, 403, 404 also for a client without a secret.
pub async fn rotate_secret(call: &mut Call) -> Result<Reply> {
    let (id, _) = named(call).await?;
    let secret: Token<ClientSecret> = Token::new(call.context.random()?);
    let until = call.context.now + CHANGING_OVER;
    let rotate = store::oauth::client::rotate_secret(&call.context, &id, &secret.hash(), until);
    let cookies = change(call, "client.secret_rotated", &id, vec![rotate]).await?;
    let body = json!({ "client_id": id, "client_secret": secret.expose(), "client_secret_expires_at": 0 });
    Ok(Reply::json(200, &body)?.with_cookies(cookies))
}

/// `POST /admin/oauth2/disable-client`: `disabled` or not. Its tokens are worth nothing while it is.
///
/// # Errors
/// 400, 401, 403, 404.
pub async fn disable(call: &mut Call) -> Result<Reply> {
    let (id, disabled) = named(call).await?;
    let disabled = disabled.unwrap_or(true);
    let statement = store::oauth::client::disable(&call.context, &id, disabled);
    let event = if disabled { "client.disabled" } else { "client.enabled" };
    let cookies = change(call, event, &id, vec![statement]).await?;
    Ok(Reply::json(200, &json!({ "client_id": id, "disabled": disabled }))?.with_cookies(cookies))
}

/// `POST /oauth2/delete-client`: with its tokens and what was agreed to.
///
/// # Errors
/// 401, 403, 404.
pub async fn delete(call: &mut Call) -> Result<Reply> {
    let (id, _) = named(call).await?;
    let statement = store::oauth::client::delete(&call.context, &id);
    let cookies = change(call, "client.deleted", &id, vec![statement]).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(cookies))
}
