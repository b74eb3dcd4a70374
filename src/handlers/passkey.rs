//! Signing in with a passkey (`WebAuthn` Level 3, section 7.2), and what both ceremonies share.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::context::Context;
use crate::credentials::webauthn::{
    Assertion, Expectation, StoredCredential, UnverifiedAuthenticationResponse, WebauthnError, verify_authentication,
};
use crate::error::{Error, Result, Wire};
use crate::handlers::authenticate::{Authentication, Depth};
use crate::handlers::opening::{self, Opening, Outcome};
use crate::handlers::{Call, guard};
use crate::http::cookie::Cookie;
use crate::http::incoming::Media;
use crate::http::origin::Origin;
use crate::http::reply::Reply;
use crate::id::{Id, Millis, User};
use crate::secret::{BrowserBinding, PasskeyChallenge, Token, TokenHash};
use crate::session::user_is_active;
use crate::store;
use crate::store::database::{Answers, Statement};
use crate::store::passkey::{Listed, Presented};
use crate::store::rate_limit;
use crate::store::record::{Attempt, Severity};
use crate::store::verification::{Claim, Used};

/// Life of a challenge, in milliseconds.
const CHALLENGE_LIFE: Millis = 300_000;

/// What the browser is told to wait at most, in milliseconds.
pub const TIMEOUT: u32 = 60_000;

/// What a challenge was made for: one for signing in registers nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ceremony {
    /// Registration, by this user.
    Register(Id<User>),
    /// Authentication; of this user, if somebody is signed in already.
    Authenticate(Option<Id<User>>),
}

/// The RP ID and origins of a tenant.
pub struct RelyingParty {
    /// RP ID (section 4).
    pub id: String,
    /// Origins, in full.
    pub origins: Vec<String>,
}

impl RelyingParty {
    /// The tenant's own, or what follows from its auth host: that host, with the trusted front-ends on it and below.
    #[must_use]
    pub fn of(context: &Context) -> Self {
        let here = context.auth_origin();
        let settings = &context.tenant().passkey;
        let id = settings.rp_id.clone().or_else(|| context.config.passkey_rp_id.clone());
        let id = id.unwrap_or_else(|| here.host().to_owned());
        let below = |origin: &Origin| {
            origin.host() == id || origin.host().strip_suffix(&id).is_some_and(|head| head.ends_with('.'))
        };
        let asking = context.header("Origin").and_then(|said| Origin::parse(&said));
        let asking = asking.filter(|origin| context.config.trusts(origin));
        let origins = match &settings.origins {
            Some(origins) => origins.clone(),
            None => std::iter::once(&here)
                .chain(context.config.named_origins())
                // One of those that a pattern stands for: the one that asks.
                .chain(asking.as_ref())
                .filter(|origin| below(origin))
                .map(|origin| origin.as_str().to_owned())
                .collect(),
        };
        Self { id, origins }
    }

    /// The origins as the ceremonies take them.
    #[must_use]
    pub fn origins(&self) -> Vec<&str> {
        self.origins.iter().map(String::as_str).collect()
    }
}

/// A ceremony that is begun.
pub struct Challenge {
    /// The challenge.
    pub challenge: Token<PasskeyChallenge>,
    /// What counts it and keeps it; their answers are for [`Challenge::within`].
    pub statements: [Statement; 2],
    /// The cookie that ties it to this browser.
    pub cookie: String,
}

impl Challenge {
    /// Whether it was kept: takes the answers of its statements.
    ///
    /// # Errors
    /// 429 for a network that begins too many.
    pub fn within(context: &Context, answers: &mut Answers) -> Result<()> {
        let window: Option<rate_limit::Window> = answers.row()?;
        let _: Option<()> = answers.row()?;
        match window.and_then(|window| window.retry_after(context.config.limit_challenge, context.now)) {
            Some(retry_after) => Err(Error::TooManyRequests { retry_after, limit: "passkey ceremonies by network" }),
            None => Ok(()),
        }
    }
}

/// A challenge of this browser.
///
/// # Errors
/// If the platform has no randomness.
pub fn challenge(context: &Context, ceremony: &Ceremony) -> Result<Challenge> {
    let challenge: Token<PasskeyChallenge> = Token::new(context.random()?);
    // One binding a browser, not a ceremony: conditional UI waits while somebody presses a button.
    let binding: Option<Token<BrowserBinding>> = context.cookie(Cookie::Passkey).and_then(|text| Token::parse(&text));
    let binding = match binding {
        Some(binding) => binding,
        None => Token::new(context.random()?),
    };
    let payload = serde_json::to_vec(ceremony).map_err(|error| Error::Internal(error.to_string()))?;
    let (tenant, until) = (&context.tenant().id, context.now + CHALLENGE_LIFE);
    let limit = context.config.limit_challenge;
    let key = rate_limit::key(&context.config, "challenge", tenant.as_str(), &context.client().network());
    let about = binding.hash();
    let keep = store::verification::keep_within(context, &challenge, about.as_str(), &payload, until, (&key, limit))?;
    let cookie = Cookie::Passkey.set(context.is_secure, binding.expose(), Some(CHALLENGE_LIFE / 1000));
    Ok(Challenge { challenge, statements: [rate_limit::count(&key, limit, context.now), keep], cookie })
}

/// The challenge that a response claims to answer, and the browser that brings it.
///
/// # Errors
/// 400 `CHALLENGE_NOT_FOUND` if it is not of our making, or no ceremony was begun in this browser.
pub fn answered(
    context: &Context,
    claimed: Option<&str>,
) -> Result<(Token<PasskeyChallenge>, TokenHash<BrowserBinding>)> {
    let not_found = |reason: &str| Error::refused(Wire::CHALLENGE_NOT_FOUND, reason);
    let challenge: Option<Token<PasskeyChallenge>> = claimed.and_then(Token::parse);
    let challenge = challenge.ok_or_else(|| not_found("no challenge of our making"))?;
    let binding: Option<Token<BrowserBinding>> = context.cookie(Cookie::Passkey).and_then(|text| Token::parse(&text));
    let binding = binding.ok_or_else(|| not_found("no ceremony was begun in this browser"))?;
    Ok((challenge, binding.hash()))
}

/// What the challenge was made for.
///
/// # Errors
/// 400 `CHALLENGE_NOT_FOUND` if it was unknown, used, expired or another browser's.
pub fn taken(context: &Context, used: Option<&Used>) -> Result<Ceremony> {
    let used = used.ok_or_else(|| Error::refused(Wire::CHALLENGE_NOT_FOUND, "unknown, used, expired or another's"))?;
    serde_json::from_slice(used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no ceremony: {error}")))
}

/// `PublicKeyCredentialDescriptorJSON` of passkeys (section 5.8.3).
#[must_use]
pub fn descriptors(passkeys: &[Listed]) -> Vec<Value> {
    let descriptor = |passkey: &Listed| json!({ "id": passkey.credential_id, "transports": passkey.transports, "type": "public-key" });
    passkeys.iter().map(descriptor).collect()
}

/// `GET /passkey/generate-authenticate-options`: for whoever is signed in, of their own passkeys; else of whichever the
/// browser finds (discoverable credentials, conditional UI).
///
/// # Errors
/// 404 where passkeys are not a way in; 429; 503.
pub async fn options(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.passkey)?;
    let context = &call.context;
    let user = match call.visitor(Depth::Snapshot).await? {
        Authentication::Authenticated(authenticated) => Some(authenticated.session.user.id),
        _ => None,
    };
    let Challenge { challenge, statements, cookie } = challenge(context, &Ceremony::Authenticate(user.clone()))?;
    let mut statements = Vec::from(statements);
    statements.extend(user.as_ref().map(|user| store::passkey::of_user(context, user)));
    let mut answers = context.db()?.batch(statements).await?;
    Challenge::within(context, &mut answers)?;
    let passkeys: Vec<Listed> = if user.is_some() { answers.rows()? } else { Vec::new() };
    let mut body = json!({
        "rpId": RelyingParty::of(context).id,
        "challenge": challenge.expose(),
        "timeout": TIMEOUT,
        "userVerification": "preferred",
    });
    if !passkeys.is_empty() {
        body["allowCredentials"] = json!(descriptors(&passkeys));
    }
    Ok(Reply::json(200, &body)?.with_cookie(cookie))
}

/// `POST /passkey/verify-authentication`.
///
/// # Errors
/// 400 for a bad challenge or response, 401 for an unknown credential, 403 for a banned user, 404, 429.
pub async fn verify(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.passkey)?;
    let mut fields = call.request.fields(Media::Json).await?;
    let response = fields.object("response");
    fields.finish()?;
    let outcome = sign_in(&call.context, response).await?;
    outcome.json(|session| json!({ "session": session.session_json(), "user": session.user_json() }))
}

/// Signs in by an assertion. With user verification it is two factors in one (possession, and a PIN or a finger);
/// without, a user who has a second factor is asked for it.
async fn sign_in(context: &Context, response: Value) -> Result<Outcome> {
    let refused = |reason: String| Error::refused(Wire::AUTHENTICATION_FAILED, reason);
    let response: UnverifiedAuthenticationResponse = serde_json::from_value(response)
        .map_err(|error| Error::refused(Wire::CHALLENGE_NOT_FOUND, error.to_string()))?;
    let (challenge, binding) = answered(context, response.challenge().as_deref())?;
    let peek = store::verification::peek(context, &challenge.hash(), Some(binding.as_str()));
    let credential_id = response.credential_id().map(|id| Base64UrlUnpadded::encode_string(&id)).unwrap_or_default();
    let limit = context.config.limit_sign_in;
    let key =
        rate_limit::key(&context.config, "sign-in:network", context.tenant().id.as_str(), &context.client().network());
    let statements = [
        rate_limit::count(&key, limit, context.now),
        peek,
        store::passkey::presented(context, &credential_id),
        store::sign_in::tenant_is_active(&context.tenant().id),
    ];
    let mut answers = context.db()?.batch(statements).await?;
    let window: Option<rate_limit::Window> = answers.row()?;
    if let Some(retry_after) = window.and_then(|window| window.retry_after(limit, context.now)) {
        return Err(Error::TooManyRequests { retry_after, limit: "passkeys by network" });
    }
    let begun: Option<Used> = answers.row()?;
    let ceremony = taken(context, begun.as_ref())?;
    let claim = begun.as_ref().map(|begun| Claim { id: &begun.id, if_changed: false });
    let presented: Option<Presented> = answers.row()?;
    let tenant_is_active: bool = answers.row()?.unwrap_or(false);
    let Ceremony::Authenticate(expected) = ceremony else {
        return Err(Error::refused(Wire::CHALLENGE_NOT_FOUND, "a challenge of a registration"));
    };
    let Some(presented) = presented else {
        spend(context, claim).await?;
        return Err(Error::refused(Wire::PASSKEY_UNKNOWN, "no such credential here"));
    };
    let user: &Id<User> = &presented.passkey.user_id;
    // Section 7.2, step 6: where nobody was known before, the response must say whose it is.
    if expected.is_none() && !response.has_user_handle() {
        spend(context, claim).await?;
        return Err(refused("no user handle".to_owned()));
    }
    if expected.is_some_and(|expected| expected != *user) {
        spend(context, claim).await?;
        return Err(refused("of another user than the one who is signed in".to_owned()));
    }
    let assertion = match check(context, &response, &presented, challenge.expose()) {
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
        rate_limit::give_back(&key, context.now),
        store::passkey::used(context, &presented.passkey.id, assertion.counter, assertion.backed_up),
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
        let opened = opening::open(context, &opening, before).await.map_err(Error::from)?;
        return Ok(Outcome::Opened(Box::new(opened)));
    }
    Ok(opening::open_or_ask(context, &opening, before).await?)
}

/// Whatever was wrong with the answer, its challenge is over.
async fn spend(context: &Context, claim: Option<Claim<'_>>) -> Result<()> {
    if let Some(claim) = claim {
        context.db()?.batch([store::verification::claim(context, claim, &context.id()?)]).await?;
    }
    Ok(())
}

fn check(
    context: &Context,
    response: &UnverifiedAuthenticationResponse,
    presented: &Presented,
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
    presented: &Presented,
    error: &WebauthnError,
    claim: Option<Claim<'_>>,
) -> Result<()> {
    let user = &presented.passkey.user_id;
    let attempt =
        Attempt { user_id: Some(user), session_id: None, failure: Some("passkey_not_verified"), method: "passkey" };
    let mut statements = vec![store::record::login(context, &context.row_id()?, attempt)];
    // Whatever was wrong with the answer, its challenge is over.
    if let Some(claim) = claim {
        statements.push(store::verification::claim(context, claim, &context.id()?));
    }
    if let WebauthnError::CounterWentBack { stored, presented: counter } = error {
        // The key signed, and the counter went back: there are two of it.
        let details = json!({ "passkey": presented.passkey.id, "stored": stored, "presented": counter });
        let id = context.row_id()?;
        let event = "passkey.counter_went_back";
        statements.push(store::record::audit(context, &id, Some(user), event, Severity::High, &details));
    }
    context.db()?.batch(statements).await?;
    Ok(())
}
