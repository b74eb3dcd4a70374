//! Who may register a passkey, and removing one.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::credentials::webauthn::expectation::Expectation;
use crate::credentials::webauthn::{UnverifiedRegistrationResponse, verify_registration};
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Passkey};
use crate::platform::secret::{PasskeyChallenge, Token};
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::request::store::verification::Used;
use crate::session::authenticate::Authenticated;
use crate::session::{authenticate, proof};
use crate::users::passkey_ceremony::{
    Ceremony, Challenge, RelyingParty, begin_ceremony, read_answered_challenge, take_ceremony,
};
use crate::users::store::passkey::{ListedPasskey, NewPasskey};
use crate::{federation, records, request, users};

pub(crate) fn require_passkey_permission(context: &Context, authenticated: &Authenticated) -> Result<()> {
    proof::refuse_impersonator(authenticated)?;
    proof::require_fresh_session(context, authenticated)
}

/// Deletes a passkey of the session's user, and tells them. Never the last way in.
///
/// # Errors
/// 400 for the last way in,
/// 403 for an impersonating administrator or a session that is not fresh, 404.
pub async fn delete_passkey(context: &Context, authenticated: &Authenticated, id: &str) -> Result<()> {
    require_passkey_permission(context, authenticated)?;
    let not_found = || Error::refused(Wire::PASSKEY_NOT_FOUND, "unknown, or another's");
    let user = &authenticated.session.user.id;
    let id: Id<Passkey> = Id::parse(id).ok_or_else(not_found)?;
    let letter = mail::security_notice(
        &context.tenant().name,
        "A passkey was removed",
        "A passkey was removed from your account. It signs in no more.",
    );
    let details = json!({ "passkey": id });
    let event = context.row_id()?;
    let statements = [
        users::store::passkey::delete(user, &id),
        must_change(),
        federation::store::account::keeps_way_in(context, user),
        records::store::audit::audit(context, &event, Some(user), "passkey.removed", Severity::Medium, &details),
        records::store::outbox::queue_to_user(context, user, &letter, None)?,
    ];
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Err(not_found()),
        Err(StoreError::Broken(name)) if name == federation::store::account::LAST_WAY_IN => {
            return Err(Error::refused(Wire::LAST_WAY_IN, "no other way in"));
        }
        other => other?,
    };
    deliver_later(context);
    Ok(())
}

/// Keeps the passkey of a response to [`begin_registration`], and tells its owner.
///
/// # Errors
/// 400 for a bad challenge or response, or a credential that is registered; 401; 403 for a session that is not fresh; 503.
pub async fn register_passkey(context: &Context, response: Value, name: Option<&str>) -> Result<RegisteredPasskey> {
    let refused = |reason: String| Error::refused(Wire::FAILED_TO_VERIFY_REGISTRATION, reason);
    let response: UnverifiedRegistrationResponse =
        serde_json::from_value(response).map_err(|error| refused(error.to_string()))?;
    let (challenge, binding) = read_answered_challenge(context, response.challenge().as_deref())?;
    let take = request::store::verification::take(context, &challenge.hash(), Some(binding.as_str()));
    let (authenticated, mut answers) = authenticate::require_session(context, vec![take]).await?;
    require_passkey_permission(context, &authenticated)?;
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
        name,
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
    Ok(RegisteredPasskey { passkey: kept, cookies: authenticated.cookies })
}

/// What a browser is asked to make a passkey with.
pub struct BegunRegistration {
    /// The session of the user who asks.
    pub authenticated: Authenticated,
    /// The challenge.
    pub challenge: Token<PasskeyChallenge>,
    /// The passkeys that they have already.
    pub passkeys: Vec<ListedPasskey>,
    /// The `Set-Cookie` line that binds the challenge to the browser.
    pub cookie: String,
}

/// A passkey that was registered.
pub struct RegisteredPasskey {
    /// The passkey.
    pub passkey: ListedPasskey,
    /// `Set-Cookie` lines.
    pub cookies: Vec<String>,
}

/// Begins a registration by the user who is asking.
///
/// # Errors
/// 401, 403 for a session that is not fresh, 429, 503.
pub async fn begin_registration(context: &Context) -> Result<BegunRegistration> {
    let (authenticated, _) = authenticate::require_session(context, Vec::new()).await?;
    require_passkey_permission(context, &authenticated)?;
    let user = &authenticated.session.user;
    let Challenge { challenge, statements: [count, keep], cookie } =
        begin_ceremony(context, &Ceremony::Register(user.id.clone()))?;
    let mut answers = context.db()?.batch([count, keep, users::store::passkey::of_user(context, &user.id)]).await?;
    Challenge::within(context, &mut answers)?;
    let passkeys: Vec<ListedPasskey> = answers.rows()?;
    Ok(BegunRegistration { authenticated, challenge, passkeys, cookie })
}
