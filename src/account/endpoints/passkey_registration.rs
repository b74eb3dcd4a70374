//! Passkeys registered (`WebAuthn` Level 3, section 7.1), named and deleted.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use crate::account::passkey_registration;
use crate::account::passkey_registration::BegunRegistration;
use crate::credentials::webauthn::Algorithm;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::Id;
use crate::platform::time::iso;
use crate::request::origins;
use crate::session::call::Call;
use crate::session::proof;
use crate::users;
use crate::users::passkey_ceremony::{RelyingParty, TIMEOUT, descriptors};
use crate::users::store::passkey::ListedPasskey;

/// The longest name of a passkey, in characters.
const LONGEST_NAME: usize = 100;

fn shown(passkey: &ListedPasskey) -> Value {
    let public_key = Base64UrlUnpadded::decode_vec(&passkey.public_key).unwrap_or_default();
    json!({
        "id": passkey.id,
        "name": passkey.name,
        "publicKey": Base64::encode_string(&public_key),
        "userId": passkey.user_id,
        "credentialID": passkey.credential_id,
        "counter": passkey.counter,
        "deviceType": passkey.device_type,
        "backedUp": passkey.backed_up,
        "transports": passkey.transports.join(","),
        "createdAt": iso(passkey.created_at),
        "aaguid": passkey.aaguid,
    })
}

/// `GET /passkey/generate-register-options`.
///
/// # Errors
/// 400 for a bad `authenticatorAttachment`, 401, 403 for a session that is not fresh, 404.
pub async fn options(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.passkey)?;
    let attachment = call.request.param("authenticatorAttachment").filter(|text| !text.is_empty());
    if attachment.as_deref().is_some_and(|text| !matches!(text, "platform" | "cross-platform")) {
        let text = "[query.authenticatorAttachment] Invalid option: expected one of \"platform\"|\"cross-platform\"";
        return Err(Error::Validation(text.to_owned()));
    }
    let name = call.request.param("name").filter(|name| !name.is_empty() && name.chars().count() <= LONGEST_NAME);
    let context = &call.context;
    let BegunRegistration { authenticated, challenge, passkeys, cookie } =
        passkey_registration::begin_registration(context).await?;
    let user = &authenticated.session.user;
    let mut selection =
        json!({ "residentKey": "preferred", "userVerification": "preferred", "requireResidentKey": false });
    if let Some(attachment) = attachment {
        selection["authenticatorAttachment"] = json!(attachment);
    }
    let algorithms: Vec<Value> = Algorithm::ALL
        .iter()
        .map(|algorithm| json!({ "alg": algorithm.cose_identifier(), "type": "public-key" }))
        .collect();
    let body = json!({
        "challenge": challenge.expose(),
        "rp": { "name": context.tenant().name, "id": RelyingParty::of(context).id },
        "user": {
            "id": Base64UrlUnpadded::encode_string(user.id.as_str().as_bytes()),
            "name": name.as_deref().unwrap_or(&user.email),
            "displayName": user.email,
        },
        "pubKeyCredParams": algorithms,
        "timeout": TIMEOUT,
        "attestation": "none",
        "excludeCredentials": descriptors(&passkeys),
        "authenticatorSelection": selection,
        "extensions": { "credProps": true },
        "hints": [],
    });
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies).with_cookie(cookie))
}

/// `POST /passkey/verify-registration`.
///
/// # Errors
/// 400 for a bad challenge or response or a credential that is registered, 401, 403 for a session that is not fresh, 404.
pub async fn verify(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.passkey)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let response = fields.object("response");
    let name = fields.optional_line("name", LONGEST_NAME);
    fields.finish()?;
    let registered = passkey_registration::register_passkey(&call.context, response, name.as_deref()).await?;
    Ok(Reply::json(200, &shown(&registered.passkey))?.with_cookies(registered.cookies))
}

/// `GET /passkey/list-user-passkeys`.
///
/// # Errors
/// 401, 404, 503.
pub async fn list(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.passkey)?;
    let authenticated = call.session()?;
    let statement = users::store::passkey::of_user(&call.context, &authenticated.session.user.id);
    let passkeys: Vec<ListedPasskey> = call.context.db()?.batch([statement]).await?.rows()?;
    let body: Vec<Value> = passkeys.iter().map(shown).collect();
    Ok(Reply::json(200, &body)?.with_cookies(authenticated.cookies.clone()))
}

/// `POST /passkey/update-passkey`: another's is as unknown as none.
///
/// # Errors
/// 400, 401, 404.
pub async fn rename(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.passkey)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let (id, name) = (fields.required("id", 100), fields.line("name", LONGEST_NAME));
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    proof::refuse_impersonator(&authenticated)?;
    let context = &call.context;
    let user = &authenticated.session.user.id;
    let id = Id::parse(&id).ok_or_else(|| Error::refused(Wire::PASSKEY_NOT_FOUND, "no id"))?;
    let statements =
        [users::store::passkey::rename(context, user, &id, &name), users::store::passkey::one(context, user, &id)];
    let passkey: Option<ListedPasskey> = context.db()?.batch(statements).await?.skip(1).row()?;
    let passkey = passkey.ok_or_else(|| Error::refused(Wire::PASSKEY_NOT_FOUND, "unknown, or another's"))?;
    Ok(Reply::json(200, &json!({ "passkey": shown(&passkey) }))?.with_cookies(authenticated.cookies))
}

/// `POST /passkey/delete-passkey`: another's is as unknown as none.
///
/// # Errors
/// 400, 401, 403 for a session that is not fresh, 404.
pub async fn delete(call: &mut Call) -> Result<Reply> {
    origins::require_open_way(call.context.config.ways_in.passkey)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.required("id", 100);
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    passkey_registration::delete_passkey(&call.context, &authenticated, &id).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(authenticated.cookies))
}
