//! Clients registered: by themselves (RFC 7591), or by an administrator.

use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::handlers::Call;
use crate::handlers::admin::administrator;
use crate::http::reply::Reply;
use crate::id::{Id, OauthClient, User};
use crate::oauth::problem::{Code, Problem};
use crate::oauth::registration::{judge, shown};
use crate::secret::{ClientSecret, Token};
use crate::store;
use crate::store::rate_limit;
use crate::store::record::Severity;

async fn metadata(call: &mut Call) -> Result<Map<String, Value>> {
    let mut fields = call.request.fields(crate::http::incoming::Media::Json).await?;
    let names: Vec<String> = fields.names().map(str::to_owned).collect();
    Ok(names.into_iter().filter_map(|name| fields.take(&name).map(|value| (name, value))).collect())
}

async fn register(context: &Context, metadata: &Map<String, Value>, by: Option<&Id<User>>) -> Result<Value> {
    let new = judge(metadata, by.is_some(), context.config.development)?;
    let id: Id<OauthClient> = context.id()?;
    let client_id = context.row_id()?;
    let secret = if new.auth_method.has_secret() { Some(Token::<ClientSecret>::new(context.random()?)) } else { None };
    let hash = secret.as_ref().map(Token::hash);
    let details = json!({ "client_id": client_id, "name": new.name });
    let event = context.row_id()?;
    let statements = [
        store::oauth::client::create(
            context,
            &id,
            &client_id,
            hash.as_ref().map(crate::secret::TokenHash::as_str),
            &new,
            by,
        ),
        store::record::audit(context, &event, by, "client.registered", Severity::Medium, &details),
    ];
    context.db()?.batch(statements).await?;
    let mut body = shown(&client_id, &new);
    body["client_id_issued_at"] = json!(context.now / 1000);
    if let Some(secret) = secret {
        body["client_secret"] = json!(secret.expose());
        body["client_secret_expires_at"] = json!(0);
    }
    if let Value::Object(members) = &mut body {
        members.retain(|_, value| !value.is_null());
    }
    Ok(body)
}

/// `POST /oauth2/register` (RFC 7591, section 3.1), where it is open.
///
/// # Errors
/// 400, 403 where it is closed, 429.
pub async fn by_client(call: &mut Call) -> Result<Reply> {
    if !call.context.config.registration_open {
        return Err(Problem::new(Code::AccessDenied, "registration is closed").into());
    }
    let metadata = metadata(call).await?;
    let context = &call.context;
    let limit = context.config.limit_sign_up;
    let tenant = context.tenant().id.as_str();
    let key = rate_limit::key(&context.config, "register-client", tenant, &context.client().network());
    let window: Option<rate_limit::Window> = context.db()?.first(rate_limit::count(&key, limit, context.now)).await?;
    if let Some(retry_after) = window.and_then(|window| window.retry_after(limit, context.now)) {
        return Err(Error::TooManyRequests { retry_after, limit: "clients by network" });
    }
    Reply::json(201, &register(context, &metadata, None).await?)
}

/// `POST /admin/oauth2/create-client`: the same by an administrator of the tenant, who may say more.
///
/// # Errors
/// 400, 401, 403.
pub async fn by_administrator(call: &mut Call) -> Result<Reply> {
    let metadata = metadata(call).await?;
    let administrator = administrator(call, Vec::new()).await?;
    let session = &administrator.authenticated.session;
    if session.user.is_anonymous {
        return Err(Error::refused(Wire::FORBIDDEN, "a guest"));
    }
    let body = register(&call.context, &metadata, Some(&session.user.id)).await?;
    Ok(Reply::json(201, &body)?.with_cookies(administrator.authenticated.cookies))
}
