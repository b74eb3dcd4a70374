//! Passkeys registered (`WebAuthn` Level 3, section 7.1), named and deleted.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::account::passkey_registration;
use crate::credentials::webauthn::expectation::Expectation;
use crate::credentials::webauthn::{Algorithm, UnverifiedRegistrationResponse, verify_registration};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::StoreError;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Passkey};
use crate::platform::time::iso;
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::request::origins;
use crate::request::store::verification::Used;
use crate::session::call::Call;
use crate::session::proof;
use crate::users::passkey_ceremony::{
    Ceremony, Challenge, RelyingParty, TIMEOUT, begin_ceremony, descriptors, read_answered_challenge, take_ceremony,
};
use crate::users::store::passkey::{ListedPasskey, NewPasskey};
use crate::{records, request, users};

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
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let context = &call.context;
    passkey_registration::require_passkey_permission(context, &authenticated)?;
    let user = &authenticated.session.user;
    let Challenge { challenge, statements: [count, keep], cookie } =
        begin_ceremony(context, &Ceremony::Register(user.id.clone()))?;
    let mut answers = context.db()?.batch([count, keep, users::store::passkey::of_user(context, &user.id)]).await?;
    Challenge::within(context, &mut answers)?;
    let passkeys: Vec<ListedPasskey> = answers.rows()?;
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
    let context = &call.context;
    let refused = |reason: String| Error::refused(Wire::FAILED_TO_VERIFY_REGISTRATION, reason);
    let response: UnverifiedRegistrationResponse =
        serde_json::from_value(response).map_err(|error| refused(error.to_string()))?;
    let (challenge, binding) = read_answered_challenge(context, response.challenge().as_deref())?;
    let take = request::store::verification::take(context, &challenge.hash(), Some(binding.as_str()));
    let (authenticated, mut answers) = call.confirmed(vec![take]).await?;
    passkey_registration::require_passkey_permission(context, &authenticated)?;
    let user = &authenticated.session.user;
    let begun: Option<Used> = answers.row()?;
    match take_ceremony(context, begun.as_ref())? {
        Ceremony::Register(owner) if owner == user.id => (),
        Ceremony::Register(_) => return Err(Error::refused(Wire::PASSKEY_OF_ANOTHER, "begun by another user")),
        Ceremony::Authenticate(_) => {
            return Err(Error::refused(Wire::CHALLENGE_NOT_FOUND, "a challenge for signing in"));
        }
    }
    let rp = RelyingParty::of(context);
    let expected = Expectation {
        challenge: challenge.expose(),
        origins: &rp.origins(),
        rp_id: &rp.id,
        require_user_verification: false,
    };
    let credential = verify_registration(&response, &expected).map_err(|error| refused(error.to_string()))?;
    let id: Id<Passkey> = context.id()?;
    let new = NewPasskey {
        id: &id,
        user_id: &user.id,
        rp_id: &rp.id,
        credential_id: &Base64UrlUnpadded::encode_string(&credential.credential_id),
        public_key: &Base64UrlUnpadded::encode_string(&credential.public_key),
        aaguid: &Uuid::from_bytes(credential.aaguid).hyphenated().to_string(),
        name: name.as_deref(),
        credential: &credential,
    };
    let details = json!({ "passkey": id, "aaguid": new.aaguid });
    let event = context.row_id()?;
    let letter = mail::security_notice(
        &context.tenant().name,
        "A passkey was added",
        "A passkey was added to your account. It signs in without a password.",
    );
    let statements = [
        users::store::passkey::keep(context, &new),
        records::store::audit::audit(context, &event, Some(&user.id), "passkey.added", Severity::Medium, &details),
        records::store::outbox::queue_to_user(context, &user.id, &letter, None)?,
        users::store::passkey::one(context, &user.id, &id),
    ];
    let mut answers = match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(_)) => {
            return Err(Error::refused(Wire::PREVIOUSLY_REGISTERED, "the credential is somebody's"));
        }
        other => other?.skip(3),
    };
    deliver_later(context);
    let kept: Option<ListedPasskey> = answers.row()?;
    let kept = kept.ok_or_else(|| Error::Internal("passkey: not there after it was kept".to_owned()))?;
    Ok(Reply::json(200, &shown(&kept))?.with_cookies(authenticated.cookies))
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
