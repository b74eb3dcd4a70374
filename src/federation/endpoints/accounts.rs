//! Linked identities: listed, unlinked, and what their issuers give.

use serde_json::{Value, json};

use crate::federation::flow::access_token::{AccessToken, get_or_refresh_access_token};
use crate::federation::flow::begin::with_endpoints;
use crate::federation::flow::identify::read_profile;
use crate::federation::flow::token_endpoint::revoke;
use crate::federation::store::account::{Holding, Linked, RefreshToken};
use crate::federation::store::issuer::Upstream;
use crate::federation::{profile, store};
use crate::http::fields::Fields;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Account, Id, User};
use crate::platform::secret;
use crate::platform::time::iso;
use crate::records;
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::call::Call;
use crate::session::{authenticate, proof};

/// `GET /list-accounts`.
///
/// # Errors
/// 401, 503.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let authenticated = call.session()?;
    let (tenant, user) = (&call.context.tenant().id, &authenticated.session.user.id);
    let mut answers = call.context.db()?.batch([store::account::of_user(tenant, user)]).await?;
    let body: Vec<Value> = answers
        .rows::<Linked>()?
        .iter()
        .map(|account| {
            json!({
                "id": account.id,
                "providerId": account.provider,
                "accountId": account.subject,
                "userId": user,
                "scopes": words(account.scope.as_deref()),
                "createdAt": iso(account.created_at),
                "updatedAt": iso(account.updated_at),
            })
        })
        .collect();
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies.clone()))
}

fn words(scope: Option<&str>) -> Vec<&str> {
    scope.unwrap_or_default().split_whitespace().collect()
}

fn not_found() -> Error {
    Error::refused(Wire::ACCOUNT_NOT_FOUND, "unknown, or another's")
}

/// `accountId` of the protocol's bodies: our id of the account. `userId` is for servers, which have none here.
fn account_id(fields: &mut Fields) -> Option<String> {
    let id = fields.optional("accountId", 255);
    if id.is_none() {
        // The reference's words for a body that has neither of its two forms.
        fields.refuse("", "Invalid input");
    }
    id
}

async fn holding(context: &Context, user: &Id<User>, id: &str) -> Result<Holding> {
    let id: Id<Account> = Id::parse(id).ok_or_else(not_found)?;
    let holding: Option<Holding> = context.db()?.first(store::account::holding(context, user, &id)).await?;
    holding.ok_or_else(not_found)
}

/// The account that a body names, for whoever is signed in.
async fn asked(call: &mut Call) -> Result<(authenticate::Authenticated, Holding)> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = account_id(&mut fields);
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    proof::refuse_impersonator(&authenticated)?;
    let holding = holding(&call.context, &authenticated.session.user.id, &id.unwrap_or_default()).await?;
    Ok((authenticated, holding))
}

fn issuer(holding: &Holding) -> Result<&Upstream> {
    holding.issuer.as_ref().ok_or_else(|| Error::refused(Wire::PROVIDER_NOT_SUPPORTED, "a password, or switched off"))
}

/// `POST /get-access-token`: the issuer's access token, refreshed if it is about to end.
///
/// # Errors
/// 400 without an account or a token, 401, 502.
pub async fn get_access_token(call: &mut Call) -> Result<Reply> {
    let (authenticated, holding) = asked(call).await?;
    issuer(&holding)?;
    let context = &call.context;
    let found = get_or_refresh_access_token(context, &authenticated.session.user.id, holding, false).await?;
    Ok(Reply::json(200, &token_json(context, &found)?)?.with_cookies(authenticated.cookies))
}

fn token_json(context: &Context, found: &AccessToken) -> Result<Value> {
    let id_token = found.holding.id_token(context)?;
    Ok(json!({
        "accessToken": found.token.expose(),
        "accessTokenExpiresAt": found.expires_at.map(iso),
        "scopes": words(Some(&found.scope)),
        "idToken": id_token.as_ref().map(secret::Secret::expose),
    }))
}

/// `POST /refresh-token`: a new access token, now. The refresh token stays here.
///
/// # Errors
/// As [`get_access_token`].
pub async fn refresh_token(call: &mut Call) -> Result<Reply> {
    let (authenticated, holding) = asked(call).await?;
    let provider = issuer(&holding)?.name.clone();
    let context = &call.context;
    let found = get_or_refresh_access_token(context, &authenticated.session.user.id, holding, true).await;
    let found = found.map_err(|error| match error {
        Error::Refused { wire, reason } if wire == Wire::FAILED_TO_GET_ACCESS_TOKEN => {
            Error::Refused { wire: Wire::FAILED_TO_REFRESH_ACCESS_TOKEN, reason }
        }
        other => other,
    })?;
    let mut body = token_json(context, &found)?;
    body["providerId"] = json!(provider);
    body["accountId"] = json!(found.holding.subject);
    body["scope"] = json!(found.scope);
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies))
}

/// `GET /account-info?accountId=…`: what the issuer says of the account's owner now.
///
/// # Errors
/// 400 without an account or a token, 401 also if the issuer does not say, 403 for an impersonating administrator, 502.
pub async fn info(call: &mut Call) -> Result<Reply> {
    let id = call.request.param("accountId").unwrap_or_default();
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    // It is asked with the user's own token, which is nobody else's to use.
    proof::refuse_impersonator(&authenticated)?;
    let context = &call.context;
    let user = &authenticated.session.user.id;
    let holding = holding(context, user, &id).await?;
    let upstream = holding.issuer.clone();
    let upstream = upstream.ok_or_else(|| Error::refused(Wire::PROVIDER_NOT_CONFIGURED, "a password"))?;
    let found = get_or_refresh_access_token(context, user, holding, false).await?;
    let no_info = |reason: String| Error::refused(Wire::NO_USER_INFO, reason);
    let (upstream, writes) = with_endpoints(context, upstream).await?;
    if !writes.is_empty() {
        context.db()?.batch(writes).await?;
    }
    let said = read_profile(context, &upstream, found.token.expose()).await.map_err(no_info)?;
    let said = said.ok_or_else(|| no_info("issuer without userinfo_endpoint".to_owned()))?;
    let (subject, data) = (found.holding.subject, Value::Object(said.clone()));
    let read = profile::described(said, &upstream.mapping(), &subject);
    let profile = read.ok_or_else(|| no_info("of another subject".to_owned()))?;
    let body = json!({
        "user": {
            "id": profile.subject,
            "name": profile.name,
            "email": profile.email,
            "image": profile.picture,
            "emailVerified": profile.email_verified,
        },
        "data": data,
    });
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies))
}

/// `POST /unlink-account`: never the last way in. The issuer is told that its tokens are not wanted any more.
///
/// # Errors
/// 400 for an unknown account or the last one, 401, 403 for a session that is not fresh.
pub async fn unlink(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.required("accountId", 255);
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let context = &call.context;
    proof::refuse_impersonator(&authenticated)?;
    proof::require_fresh_session(context, &authenticated)?;
    let user = &authenticated.session.user.id;
    let holding = holding(context, user, &id).await?;
    let label = holding.label.as_deref().unwrap_or("Your password");
    let details = json!({ "account": holding.id, "issuer": label, "subject": holding.subject });
    let text = format!("{label} was taken from your account, and signs you in no more.");
    let letter = mail::security_notice(&context.tenant().name, "A way of signing in was removed", &text);
    let event = context.row_id()?;
    let statements = [
        store::account::refresh_tokens(&holding.id),
        store::account::unlink(context, user, &holding.id),
        must_change(),
        records::store::audit::audit(context, &event, Some(user), "account.unlinked", Severity::Medium, &details),
        records::store::outbox::queue_to_user(context, user, &letter, None)?,
    ];
    let mut answers = match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => {
            return Err(Error::refused(Wire::FAILED_TO_UNLINK_LAST_ACCOUNT, "no other way in"));
        }
        other => other?,
    };
    deliver_later(context);
    let tokens: Vec<RefreshToken> = answers.rows()?;
    for token in &tokens {
        if let Some(upstream) = &holding.issuer {
            revoke(context, upstream, &token.open(context)?).await?;
        }
    }
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(authenticated.cookies))
}
