//! The system account of an issuer, as administrators see and connect it.

use serde_json::{Value, json};

use crate::federation::flow::begin::{AuthorizationWish, begin_authorization_with};
use crate::federation::flow::token_endpoint::revoke;
use crate::federation::issuers::{load_issuer_as_administrator, may_change};
use crate::federation::request::Purpose;
use crate::federation::store;
use crate::federation::store::issuer::Upstream;
use crate::federation::store::system_account::{Connected, Shown};
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Issuer};
use crate::platform::secret::{ServiceToken, Token};
use crate::platform::time::iso;
use crate::records::store::audit::Severity;
use crate::session::call::Call;
use crate::session::proof;
use crate::{records, session};

fn none() -> Error {
    Error::refused(Wire::SYSTEM_ACCOUNT_NOT_FOUND, "none is connected")
}

/// `GET /admin/issuers/:id/system-account`.
///
/// # Errors
/// 401, 403, 404.
pub async fn show(call: &mut Call) -> Result<Reply> {
    let (administrator, record) = load_issuer_as_administrator(&call.context, call.segment.as_deref()).await?;
    // Whose account it is, is its keepers' business: reading is guarded as writing.
    may_change(&administrator, &record)?;
    let id: Id<Issuer> = Id::trusted(record.id);
    let shown: Option<Shown> = call.context.db()?.first(store::system_account::show(&id)).await?;
    let shown = shown.ok_or_else(none)?;
    let body: Value = json!({
        "subject": shown.subject,
        "email": shown.email,
        "username": shown.username,
        "grantedScopes": shown.granted_scopes.split_whitespace().collect::<Vec<_>>(),
        "hasServiceToken": shown.has_service_token,
        "updatedBy": shown.updated_by,
        "createdAt": iso(shown.created_at),
        "updatedAt": iso(shown.updated_at),
    });
    Ok(Reply::json(200, &body)?.with_cookies(administrator.authenticated.cookies))
}

/// `POST /admin/issuers/:id/system-account`: begins the flow that connects one, with the issuer's offline scopes and
/// parameters.
///
/// # Errors
/// 401, 403 also for a session that is not fresh or a bad target, 404, 502.
pub async fn connect(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let callback_url = fields.optional("callbackURL", Target::LONGEST);
    let error_callback_url = fields.optional("errorCallbackURL", Target::LONGEST);
    let disable_redirect = fields.boolean("disableRedirect").unwrap_or(false);
    fields.finish()?;
    let (administrator, record) = load_issuer_as_administrator(&call.context, call.segment.as_deref()).await?;
    may_change(&administrator, &record)?;
    let context = &call.context;
    proof::require_fresh_session(context, &administrator.authenticated)?;
    let id: Id<Issuer> = Id::trusted(record.id);
    let upstream: Option<Upstream> = context.db()?.first(store::issuer::by_id(&context.tenant().id, &id)).await?;
    // The flow ends at the issuer's own path, which is there only while it is enabled.
    let upstream = upstream.filter(|_| record.enabled);
    let upstream = upstream.ok_or_else(|| Error::refused(Wire::PROVIDER_NOT_FOUND, "switched off"))?;
    let purpose = Purpose::SystemAccount(administrator.authenticated.session.user.id.clone());
    let wish = AuthorizationWish { purpose, callback_url, error_callback_url, ..AuthorizationWish::default() };
    let begun = begin_authorization_with(context, upstream, &wish).await?;
    let body = json!({ "url": begun.url, "redirect": !disable_redirect });
    Ok(Reply::json(200, &body)?.with_cookie(begun.cookie).with_cookies(administrator.authenticated.cookies))
}

/// `DELETE /admin/issuers/:id/system-account`: the issuer is told as well.
///
/// # Errors
/// 401, 403, 404.
pub async fn disconnect(call: &mut Call) -> Result<Reply> {
    let (administrator, record) = load_issuer_as_administrator(&call.context, call.segment.as_deref()).await?;
    may_change(&administrator, &record)?;
    let context = &call.context;
    let id: Id<Issuer> = Id::trusted(record.id);
    let connected: Option<Connected> = context.db()?.first(store::system_account::of_issuer(&id)).await?;
    let connected = connected.ok_or_else(none)?;
    let user = &administrator.authenticated.session.user.id;
    let (event, details) = (context.row_id()?, json!({ "issuer": record.name }));
    let mut statements = vec![session::store::permission::holds_still(&administrator.permit)];
    statements.extend(store::system_account::disconnect(&id));
    let name = "system_account.disconnected";
    statements.push(records::store::audit::audit(context, &event, Some(user), name, Severity::High, &details));
    context.db()?.batch(statements).await?;
    revoke(context, &connected.issuer, &connected.refresh_token(context)?).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(administrator.authenticated.cookies))
}

/// `POST /admin/issuers/:id/service-token`: a new token for the services of the platform, shown this once; the one before
/// is good for nothing any more.
///
/// # Errors
/// 401, 403 also for a session that is not fresh, 404.
pub async fn service_token(call: &mut Call) -> Result<Reply> {
    call.request.fields(Media::Json).await?.finish()?;
    let (administrator, record) = load_issuer_as_administrator(&call.context, call.segment.as_deref()).await?;
    may_change(&administrator, &record)?;
    let context = &call.context;
    proof::require_fresh_session(context, &administrator.authenticated)?;
    let id: Id<Issuer> = Id::trusted(record.id);
    let token: Token<ServiceToken> = Token::new(context.random()?);
    let user = &administrator.authenticated.session.user.id;
    let (event, details) = (context.row_id()?, json!({ "issuer": record.name }));
    let name = "system_account.service_token";
    let statements = [
        session::store::permission::holds_still(&administrator.permit),
        store::system_account::set_service_token(context, &id, &token.hash(), user),
        must_change(),
        records::store::audit::audit(context, &event, Some(user), name, Severity::High, &details),
    ];
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Err(none()),
        other => other?,
    };
    let body = json!({ "serviceToken": token.expose() });
    Ok(Reply::json(200, &body)?.with_cookies(administrator.authenticated.cookies))
}
