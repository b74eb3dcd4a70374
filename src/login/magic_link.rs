//! Mailing a link that signs in.

use serde::{Deserialize, Serialize};

use crate::gate::sign_in;
use crate::http::redirect::Target;
use crate::login::sign_in_or_up;
use crate::login::sign_in_or_up::ProvenArrival;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::secret::{MagicLink, Token};
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::request::context::Context;
use crate::request::origins;
use crate::request::store::verification::{Claim, Used};
use crate::session::authenticate;
use crate::session::authenticate::identify_guest;
use crate::session::open::Outcome;
use crate::users::addressee;
use crate::users::sign_in_decision::Candidate;
use crate::users::store::sign_in::LookupBy;
use crate::{records, request, users};

/// The page that the mailed link leads to. It asks once more: mail scanners follow links, and must use none up.
pub const PAGE: &str = "/sign-in-link";

/// What the link knows beside its address.
#[derive(Serialize, Deserialize)]
pub struct SignInLetter {
    pub(crate) email: String,
    pub(crate) name: String,
    /// The guest who asked for it: a link that somebody else sent makes nobody's guest theirs.
    pub(crate) guest: Option<Id<User>>,
}

/// Where a link leads.
#[derive(Default)]
pub struct Targets {
    /// In the end.
    pub callback: Option<Target>,
    /// Somebody new.
    pub on_new: Option<Target>,
    /// Whom it did not let in.
    pub on_error: Option<Target>,
}

/// Mails a link to whoever has the address, or may have an account with it.
///
/// # Errors
/// 429, 503.
pub async fn mail_sign_in_link(context: &Context, email: &str, name: &str, ways: &Targets) -> Result<()> {
    let user = addressee::load_addressee(context, "magic-link", LookupBy::Email(email)).await?;
    let token: Token<MagicLink> = Token::new(context.random()?);
    let letter = SignInLetter {
        email: email.to_owned(),
        name: name.trim().to_owned(),
        guest: authenticate::identify_guest(context).await?,
    };
    let payload = serde_json::to_vec(&letter).map_err(|error| Error::Internal(error.to_string()))?;
    let (config, tenant) = (&context.config, context.tenant());
    let url = format!("{}{PAGE}", context.auth_origin());
    let mut url = Target::own(url).with_query("token", token.expose());
    let home = Target::own("/account");
    let callback = sign_in::without_fragment(ways.callback.clone().unwrap_or(home));
    url = url.with_query("callbackURL", callback.as_str());
    for (name, target) in [("newUserCallbackURL", &ways.on_new), ("errorCallbackURL", &ways.on_error)] {
        if let Some(target) = target {
            url = url.with_query(name, target.as_str());
        }
    }
    let expires_at = context.now + config.magic_link_seconds * 1000;
    // The same is written for whoever gets none, but for the mail's recipient: the time taken tells nothing.
    let is_welcome = user.is_some() || config.sign_up_open;
    let mail = mail::magic_link(&tenant.name, url.as_str(), config.magic_link_seconds / 60);
    let user_id = user.as_ref().map(|user| &user.user_id);
    let mut statements =
        vec![request::store::verification::keep(context, &tenant.id, &token, email, &payload, expires_at)?];
    if is_welcome {
        statements.push(records::store::outbox::queue(context, user_id, email, &mail)?);
    }
    context.db()?.batch(statements).await?;
    deliver_later(context);
    Ok(())
}

/// Reads where a link leads.
///
/// # Errors
/// The refusal of a target that is not trusted.
pub fn read_targets(context: &Context, mut given: impl FnMut(&str) -> Option<String>) -> Result<Targets> {
    let mut target = |name: &str, refusal: Wire| {
        origins::check_target(context, given(name).filter(|given| !given.is_empty()).as_deref(), refusal)
    };
    Ok(Targets {
        callback: target("callbackURL", Wire::INVALID_CALLBACK_URL)?,
        on_new: target("newUserCallbackURL", Wire::INVALID_NEW_USER_CALLBACK_URL)?,
        on_error: target("errorCallbackURL", Wire::INVALID_ERROR_CALLBACK_URL)?,
    })
}

/// The address that a link was mailed to, if the link is still good.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn load_recipient(context: &Context, token: &str) -> Result<Option<String>> {
    let Some(token) = Token::<MagicLink>::parse(token) else {
        return Ok(None);
    };
    let peek = request::store::verification::peek(context, &token.hash(), None);
    let used: Option<Used> = context.db()?.first(peek).await?;
    Ok(used.and_then(|used| used.identifier))
}

/// Uses a link up and signs its user in, or makes a user of its address. Answers whether they are new.
///
/// # Errors
/// 400 for a link that is not good, 403 for a user who is not active or where nobody may sign up, 503.
pub async fn sign_in_by_link(context: &Context, token: Option<String>) -> Result<(Outcome, bool)> {
    let invalid = |reason: &str| Error::refused(Wire::INVALID_TOKEN, reason);
    let token: Option<Token<MagicLink>> = token.and_then(|token| Token::parse(&token));
    let hash = token.ok_or_else(|| invalid("not of our making"))?.hash();
    let statements = [
        request::store::verification::peek(context, &hash, None),
        users::store::sign_in::tenant_is_active(&context.tenant().id),
        users::store::sign_in::candidate(context, LookupBy::MagicLink(hash.as_str())),
    ];
    let mut answers = context.db()?.batch(statements).await?;
    let used: Option<Used> = answers.row()?;
    let used = used.ok_or_else(|| invalid("unknown, used or expired"))?;
    if !answers.row::<bool>()?.unwrap_or(false) {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    let candidate: Option<Candidate> = answers.row()?;
    let letter: SignInLetter = serde_json::from_slice(used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no letter: {error}")))?;
    let here = if letter.guest.is_some() { identify_guest(context).await? } else { None };
    let guest = here.filter(|here| letter.guest.as_ref() == Some(here));
    let arrival = ProvenArrival {
        email: &letter.email,
        phone_number: None,
        name: &letter.name,
        image: None,
        method: "magic-link",
        amr: &["email"],
        claim: Some(Claim { id: &used.id, if_changed: false }),
        otherwise: Wire::INVALID_TOKEN,
        guest: guest.as_ref().filter(|_| candidate.is_none()),
        absorbs_guest: guest.is_some(),
    };
    sign_in_or_up::sign_in_or_up(context, &arrival, candidate.as_ref()).await
}
