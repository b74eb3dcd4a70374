//! What registering a passkey and signing in with one have in common: challenge, relying party, answer (`WebAuthn`, section 7).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::cookie::Cookie;
use crate::platform::d1::{Answers, Statement};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Millis, User};
use crate::platform::origin::Origin;
use crate::platform::secret::{BrowserBinding, PasskeyChallenge, Token, TokenHash};
use crate::request;
use crate::request::context::Context;
use crate::request::store::verification::Used;
use crate::users::store::passkey::ListedPasskey;

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
        let window: Option<request::store::rate_limit::Window> = answers.row()?;
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
pub fn begin_ceremony(context: &Context, ceremony: &Ceremony) -> Result<Challenge> {
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
    let key =
        request::store::rate_limit::key(&context.config, "challenge", tenant.as_str(), &context.client().network());
    let about = binding.hash();
    let keep =
        request::store::verification::keep_within(context, &challenge, about.as_str(), &payload, until, (&key, limit))?;
    let cookie = Cookie::Passkey.set(context.is_secure, binding.expose(), Some(CHALLENGE_LIFE / 1000));
    Ok(Challenge { challenge, statements: [request::store::rate_limit::count(&key, limit, context.now), keep], cookie })
}

/// The challenge that a response claims to answer, and the browser that brings it.
///
/// # Errors
/// 400 `CHALLENGE_NOT_FOUND` if it is not of our making, or no ceremony was begun in this browser.
pub fn read_answered_challenge(
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
pub fn take_ceremony(context: &Context, used: Option<&Used>) -> Result<Ceremony> {
    let used = used.ok_or_else(|| Error::refused(Wire::CHALLENGE_NOT_FOUND, "unknown, used, expired or another's"))?;
    serde_json::from_slice(used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no ceremony: {error}")))
}

/// `PublicKeyCredentialDescriptorJSON` of passkeys (section 5.8.3).
#[must_use]
pub fn descriptors(passkeys: &[ListedPasskey]) -> Vec<Value> {
    let descriptor = |passkey: &ListedPasskey| json!({ "id": passkey.credential_id, "transports": passkey.transports, "type": "public-key" });
    passkeys.iter().map(descriptor).collect()
}
