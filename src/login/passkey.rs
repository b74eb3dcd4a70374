//! Signing in with a passkey (`WebAuthn` Level 3, section 7.2).

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use crate::credentials::webauthn::expectation::Expectation;
use crate::credentials::webauthn::{
    Assertion, StoredCredential, UnverifiedAuthenticationResponse, WebauthnError, verify_authentication,
};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::secret::{PasskeyChallenge, Token};
use crate::records::store::audit::{Attempt, Severity};
use crate::request::context::Context;
use crate::request::store::verification::{Claim, Used};
use crate::session::authenticate::{Authentication, Depth, identify_visitor};
use crate::session::open;
use crate::session::open::{Opening, Outcome};
use crate::users::passkey_ceremony;
use crate::users::passkey_ceremony::{Ceremony, Challenge, RelyingParty};
use crate::users::person::user_is_active;
use crate::users::store::passkey::{ListedPasskey, PresentedPasskey};
use crate::{records, request, users};

/// What a browser is asked for an assertion with.
pub struct AuthenticationOptions {
    /// The challenge, in base64url.
    pub challenge: Token<PasskeyChallenge>,
    /// The passkeys of the user who is signed in; none where the browser is to find one.
    pub passkeys: Vec<ListedPasskey>,
    /// The `Set-Cookie` line that binds the challenge to the browser.
    pub cookie: String,
}

/// Begins an authentication: of the user who is signed in, or of anybody whose passkey the browser finds.
///
/// # Errors
/// 429; 503.
pub async fn begin_authentication(context: &Context) -> Result<AuthenticationOptions> {
    let user = match identify_visitor(context, Depth::Snapshot).await? {
        Authentication::Authenticated(authenticated) => Some(authenticated.session.user.id),
        _ => None,
    };
    let Challenge { challenge, statements, cookie } =
        passkey_ceremony::begin_ceremony(context, &Ceremony::Authenticate(user.clone()))?;
    let mut statements = Vec::from(statements);
    statements.extend(user.as_ref().map(|user| users::store::passkey::of_user(context, user)));
    let mut answers = context.db()?.batch(statements).await?;
    Challenge::within(context, &mut answers)?;
    let passkeys: Vec<ListedPasskey> = if user.is_some() { answers.rows()? } else { Vec::new() };
    Ok(AuthenticationOptions { challenge, passkeys, cookie })
}

/// Signs in by an assertion. With user verification it is two factors in one (possession, and a PIN or a finger);
/// without, a user who has a second factor is asked for it.
///
/// # Errors
/// 400 for a bad challenge or response, 401 for an unknown credential, 403 for a banned user, 429.
pub async fn sign_in_with_passkey(context: &Context, response: Value) -> Result<Outcome> {
    let refused = |reason: String| Error::refused(Wire::AUTHENTICATION_FAILED, reason);
    let response: UnverifiedAuthenticationResponse = serde_json::from_value(response)
        .map_err(|error| Error::refused(Wire::CHALLENGE_NOT_FOUND, error.to_string()))?;
    let (challenge, binding) = passkey_ceremony::read_answered_challenge(context, response.challenge().as_deref())?;
    let peek = request::store::verification::peek(context, &challenge.hash(), Some(binding.as_str()));
    let credential_id = response.credential_id().map(|id| Base64UrlUnpadded::encode_string(&id)).unwrap_or_default();
    let limit = context.config.limit_sign_in;
    let key = request::store::rate_limit::key(
        &context.config,
        "sign-in:network",
        context.tenant().id.as_str(),
        &context.client().network(),
    );
    let statements = [
        request::store::rate_limit::count(&key, limit, context.now),
        peek,
        users::store::passkey::presented(context, &credential_id),
        users::store::sign_in::tenant_is_active(&context.tenant().id),
    ];
    let mut answers = context.db()?.batch(statements).await?;
    let window: Option<request::store::rate_limit::Window> = answers.row()?;
    if let Some(retry_after) = window.and_then(|window| window.retry_after(limit, context.now)) {
        return Err(Error::TooManyRequests { retry_after, limit: "passkeys by network" });
    }
    let begun: Option<Used> = answers.row()?;
    let ceremony = passkey_ceremony::take_ceremony(context, begun.as_ref())?;
    let claim = begun.as_ref().map(|begun| Claim { id: &begun.id, if_changed: false });
    let presented: Option<PresentedPasskey> = answers.row()?;
    let tenant_is_active: bool = answers.row()?.unwrap_or(false);
    let Ceremony::Authenticate(expected) = ceremony else {
        return Err(Error::refused(Wire::CHALLENGE_NOT_FOUND, "a challenge of a registration"));
    };
    let Some(presented) = presented else {
        spend_challenge(context, claim).await?;
        return Err(Error::refused(Wire::PASSKEY_UNKNOWN, "no such credential here"));
    };
    let user: &Id<User> = &presented.passkey.user_id;
    // Section 7.2, step 6: where nobody was known before, the response must say whose it is.
    if expected.is_none() && !response.has_user_handle() {
        spend_challenge(context, claim).await?;
        return Err(refused("no user handle".to_owned()));
    }
    if expected.is_some_and(|expected| expected != *user) {
        spend_challenge(context, claim).await?;
        return Err(refused("of another user than the one who is signed in".to_owned()));
    }
    let assertion = match verify_assertion(context, &response, &presented, challenge.expose()) {
        Ok(assertion) => assertion,
        Err(error) => {
            record_failure(context, &presented, &error, claim).await?;
            return Err(refused(error.to_string()));
        }
    };
    if !user_is_active(&presented.status, presented.suspended_until, context.now) {
        return Err(Error::refused(Wire::BANNED_USER, "user is not active"));
    }
    if !tenant_is_active {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    let before = vec![
        request::store::rate_limit::give_back(&key, context.now),
        users::store::passkey::used(context, &presented.passkey.id, assertion.counter, assertion.backed_up),
    ];
    // One that verified nobody when it was made may have got its PIN from whoever found it.
    let is_two = assertion.user_verified && presented.uv_initialized;
    let amr: &[&str] = if is_two { &["pop", "user", "mfa"] } else { &["pop", "user"] };
    let opening = Opening {
        last_method: Some("passkey"),
        otherwise: Wire::CHALLENGE_NOT_FOUND,
        // The statement before it is the counter's.
        claim: claim.map(|claim| Claim { if_changed: true, ..claim }),
        ..Opening::new(user, "passkey", amr)
    };
    if is_two {
        let opened = open::open_session(context, &opening, before).await.map_err(Error::from)?;
        return Ok(Outcome::Opened(Box::new(opened)));
    }
    Ok(open::open_session_or_ask(context, &opening, before).await?)
}

/// Whatever was wrong with the answer, its challenge is over.
async fn spend_challenge(context: &Context, claim: Option<Claim<'_>>) -> Result<()> {
    if let Some(claim) = claim {
        context.db()?.batch([request::store::verification::claim(context, claim, &context.id()?)]).await?;
    }
    Ok(())
}

fn verify_assertion(
    context: &Context,
    response: &UnverifiedAuthenticationResponse,
    presented: &PresentedPasskey,
    challenge: &str,
) -> std::result::Result<Assertion, WebauthnError> {
    let decode = |text: &str| Base64UrlUnpadded::decode_vec(text).unwrap_or_default();
    let rp = RelyingParty::of(context);
    let (credential_id, public_key) = (decode(&presented.passkey.credential_id), decode(&presented.passkey.public_key));
    let stored = StoredCredential {
        credential_id: &credential_id,
        public_key: &public_key,
        counter: presented.passkey.counter,
        user_handle: presented.passkey.user_id.as_str().as_bytes(),
        backup_eligible: presented.passkey.device_type == "multiDevice",
    };
    let expected = Expectation {
        challenge,
        origins: &rp.origins(),
        // As it was when the passkey was made: on any other it would not answer.
        rp_id: &presented.rp_id,
        require_user_verification: false,
    };
    verify_authentication(response, &stored, &expected)
}

async fn record_failure(
    context: &Context,
    presented: &PresentedPasskey,
    error: &WebauthnError,
    claim: Option<Claim<'_>>,
) -> Result<()> {
    let user = &presented.passkey.user_id;
    let attempt =
        Attempt { user_id: Some(user), session_id: None, failure: Some("passkey_not_verified"), method: "passkey" };
    let mut statements = vec![records::store::audit::login(context, &context.row_id()?, attempt)];
    // Whatever was wrong with the answer, its challenge is over.
    if let Some(claim) = claim {
        statements.push(request::store::verification::claim(context, claim, &context.id()?));
    }
    if let WebauthnError::CounterWentBack { stored, presented: counter } = error {
        // The key signed, and the counter went back: there are two of it.
        let details = json!({ "passkey": presented.passkey.id, "stored": stored, "presented": counter });
        let id = context.row_id()?;
        let event = "passkey.counter_went_back";
        statements.push(records::store::audit::audit(context, &id, Some(user), event, Severity::High, &details));
    }
    context.db()?.batch(statements).await?;
    Ok(())
}
