//! Tells a client that a session has ended (OpenID Connect Back-Channel Logout 1.0).

use serde_json::Value;
use worker::Env;

use crate::jose;
use crate::platform::config::Config;
use crate::platform::d1::Database;
use crate::platform::error;
use crate::platform::id::{Id, Millis};
use crate::platform::outbound_url::check_url;
use crate::platform::random::random;
use crate::provider::logout::{TYPE, claims};
use crate::provider::store::logout::{LogoutRecipient, told};
use crate::provider::subject::{session_identifier, subject_identifier};
use crate::request::fetch::OWN;
use crate::request::post::{Body, post_to_service};
use crate::request::store::directory::is_own;

/// How long a logout token is good, in seconds (section 2.4 advises two minutes at most).
const SECONDS: i64 = 120;

/// Sends a logout token, made anew for each attempt.
///
/// # Errors
/// What went wrong: it is noted in the row, and tried again.
pub async fn send_logout_token(env: &Env, db: &Database, config: &Config, id: &str, now: Millis) -> Result<(), String> {
    let found: Option<LogoutRecipient> = db.first(told(id)).await.map_err(|error| format!("{error:?}"))?;
    // The client is gone: there is nobody to tell.
    let Some(told) = found else {
        return Ok(());
    };
    // Judged here as well: the setting may have been changed since it was registered.
    let url = check_url(&told.uri, config.development)?;
    if is_own(env, config, db.binding(), &url, now).await.map_err(|error| format!("{error:?}"))? {
        return Err(format!("{url}: {OWN}"));
    }
    let issuer = config.auth_origin_of(told.auth_host.as_deref());
    let salt = told.is_pairwise.then_some(told.pairwise_salt.as_str());
    let user = subject_identifier(salt, &told.user, &told.redirect_uris);
    let session = session_identifier(salt, &told.session, &told.client_id);
    let describe = |error: error::Error| error.to_string();
    let jti: Id<()> = Id::new(now, random().map_err(describe)?);
    let claims = claims(issuer.as_str(), &told.client_id, &user, &session, jti.as_str());
    let signer = jose::store::signer_of((db, config), &told.tenant_id, told.algorithm, now).await.map_err(describe)?;
    let token = signer.sign_as(TYPE, Value::Object(claims), now, SECONDS).await.map_err(describe)?;
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", &token).finish();
    post_to_service(url.as_str(), None, id, Body::Form(form)).await
}
