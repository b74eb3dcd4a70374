//! Proving an e-mail address by a mailed link.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::handlers::authenticate::{self, Authentication, Depth};
use crate::handlers::{Call, counting, gate, guard, mailing, opening, reset};
use crate::http::cookie::Cookie;
use crate::http::email;
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::id::{Id, Millis, User};
use crate::jobs::outbox::deliver_later;
use crate::pages::{self, mail};
use crate::secret::{EmailProof, Purpose, Token};
use crate::store;
use crate::store::database::{Statement, StoreError};
use crate::store::rate_limit;
use crate::store::sign_in::By;
use crate::store::verification::Proof;

/// The page that the mailed link leads to. It asks once more: mail scanners follow links, and must prove nothing.
const PAGE: &str = "/verify-email";

/// What a link proves.
#[derive(Serialize, Deserialize)]
struct Claim {
    user_id: Id<User>,
    email: String,
}

/// `POST /send-verification-email`: known and unknown addresses are answered alike.
///
/// # Errors
/// 400 for bad fields, 403 for a bad `callbackURL`, 429.
pub async fn send(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let email = fields.email("email");
    let given = fields.optional("callbackURL", Target::LONGEST);
    fields.finish()?;
    let context = &call.context;
    let target = opening::target(context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    // Whoever is signed in asks about themselves, and may be told.
    if context.cookie(Cookie::Session).is_some()
        && let Authentication::Authenticated(authenticated) = call.visitor(Depth::Database).await?
    {
        let user = &authenticated.session.user;
        if user.email != email {
            return Err(Error::refused(Wire::EMAIL_MISMATCH, "another address than the session's"));
        }
        if user.email_verified {
            return Err(Error::refused(Wire::EMAIL_ALREADY_VERIFIED, "proven already"));
        }
    }
    let user = mailing::addressee(context, "verification", By::Email(&email)).await?;
    // For nobody the same two statements are run, about nobody, or the time taken would tell.
    let user = user.filter(|user| !user.email_verified);
    let is_known = user.is_some();
    let user_id = match user {
        Some(user) => user.user_id,
        None => context.id()?,
    };
    context.db()?.batch(link(context, &user_id, &email, target)?).await?;
    if is_known {
        deliver_later(context);
    }
    Reply::json(200, &json!({ "status": true }))
}

/// `POST /verify-email/send`: mails a link to the signed-in user.
///
/// # Errors
/// 401, 429, 503.
pub async fn send_again(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let given = fields.optional("continue", 4096);
    fields.finish()?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let context = &call.context;
    let user = &authenticated.session.user;
    let target = opening::target(context, given.as_deref(), Wire::INVALID_CALLBACK_URL).ok().flatten();
    if user.email_verified || !email::is_mailbox(&user.email) {
        let target = target.unwrap_or_else(|| Target::own("/account"));
        return Ok(Reply::redirect(303, &target).with_cookies(authenticated.cookies));
    }
    // Counted as every mail to this address is.
    mailing::addressee(context, "verification", By::Email(&user.email)).await?;
    let on = target.as_ref().map_or("/account", Target::as_str).to_owned();
    context.db()?.batch(link(context, &user.id, &user.email, target)?).await?;
    deliver_later(context);
    let page = pages::mailed::proof_sent(&context.frame("Look into your mail"), &user.email, &on);
    Ok(Reply::page(200, page).with_cookies(authenticated.cookies))
}

/// The statements that mail a link to a user: the value, and the mail that carries it, which is written only if the
/// user is there.
///
/// # Errors
/// If the platform has no randomness.
pub fn link(context: &Context, user_id: &Id<User>, email: &str, target: Option<Target>) -> Result<[Statement; 2]> {
    let token: Token<EmailProof> = Token::new(context.random()?);
    let claim = Claim { user_id: user_id.clone(), email: email.to_owned() };
    let payload = serde_json::to_vec(&claim).map_err(|error| Error::Internal(error.to_string()))?;
    let (config, tenant) = (&context.config, context.tenant());
    let expires_at = context.now + config.verification_seconds * 1000;
    let mut url = Target::own(format!("{}{PAGE}", context.auth_origin())).with_query("token", token.expose());
    if let Some(target) = target.map(gate::without_fragment) {
        url = url.with_query("callbackURL", target.as_str());
    }
    let mail = mail::verification(&tenant.name, url.as_str(), config.verification_seconds / 60);
    Ok([
        store::verification::keep(context, &tenant.id, &token, user_id.as_str(), &payload, expires_at)?,
        store::outbox::queue_to_user(context, user_id, &mail, None)?,
    ])
}

/// The same for somebody whose password is known and whose address is not proven, and who may have made up whose it is: the
/// mail is counted as any other to that address, and one too many is not sent.
///
/// # Errors
/// 503.
pub async fn send_counted(context: &Context, user: &Id<User>, email: &str, target: Option<Target>) -> Result<()> {
    let counters = counting::mails(context, "verification", email);
    let mut statements = counters.held(context.now);
    statements.extend(link(context, user, email, target)?);
    match context.db()?.batch(statements).await {
        Err(StoreError::Broken(name)) if name == rate_limit::OVER => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

/// What a link says, and how the user stands whose address it proves.
struct Letter {
    claim: Claim,
    is_proven: bool,
    has_password: bool,
}

async fn read(call: &Call, token: Option<String>) -> Result<Option<Letter>> {
    let context = &call.context;
    let Some(token) = token.as_deref().and_then(Token::<EmailProof>::parse) else {
        return Ok(None);
    };
    let found: Option<Proof> = context.db()?.first(store::verification::look(context, &token.hash())).await?;
    let Some(found) = found else {
        return Ok(None);
    };
    let claim: Claim = serde_json::from_slice(found.used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no claim: {error}")))?;
    let is_theirs = claim.email == found.email;
    let letter = Letter { claim, is_proven: found.is_proven, has_password: found.has_password };
    Ok(is_theirs.then_some(letter))
}

/// How long a browser is known to be the one that an account was made in.
const MAKER_SECONDS: i64 = 7 * 86_400;

/// What the cookie of that browser says.
#[derive(Serialize, Deserialize)]
struct Maker {
    user_id: Id<User>,
    expires_at: Millis,
}

/// The cookie of a browser that an account was made in without being signed in to it.
#[must_use]
pub fn maker_cookie(context: &Context, user_id: &Id<User>) -> String {
    let maker = Maker { user_id: user_id.clone(), expires_at: context.now + MAKER_SECONDS * 1000 };
    let text = context.config.keyring.sign_text(Purpose::Maker, &serde_json::to_vec(&maker).unwrap_or_default());
    Cookie::Maker.set(context.is_secure, &text, Some(MAKER_SECONDS))
}

/// Whether this browser is the account's own: the one that it was made in, or one that is signed in to it. Who proves an
/// address anywhere else is perhaps not who made the account.
async fn is_own_browser(call: &Call, user: &Id<User>) -> Result<bool> {
    let context = &call.context;
    let said = context.cookie(Cookie::Maker).and_then(|text| context.config.keyring.read_text(Purpose::Maker, &text));
    let maker = said.and_then(|payload| serde_json::from_slice::<Maker>(&payload).ok());
    if maker.is_some_and(|maker| maker.user_id == *user && maker.expires_at > context.now) {
        return Ok(true);
    }
    if authenticate::brought(context).is_none() {
        return Ok(false);
    }
    let visitor = call.visitor(Depth::Database).await?;
    Ok(matches!(visitor, Authentication::Authenticated(one)
        if one.session.user.id == *user && one.session.impersonated_by.is_none()))
}

/// Notes that an address was proven, unless it is another by now. Unless this is the account's own browser, the person who made the
/// account loses it: they may have typed somebody else's address, and waited for its owner.
///
/// # Errors
/// 503.
pub async fn prove(call: &Call, user: &Id<User>, email: &str) -> Result<Proven> {
    let context = &call.context;
    let is_own = is_own_browser(call, user).await?;
    let mut statements: Vec<Statement> = Vec::new();
    if !is_own {
        statements.extend(store::user::reclaim(context, user));
    }
    let before = statements.len();
    statements.push(store::user::prove_email(context, user, email));
    let proven: Option<Id<User>> = context.db()?.batch(statements).await?.skip(before).row()?;
    Ok(match (proven, is_own) {
        (None, _) => Proven::No,
        (Some(_), true) => Proven::InTheirBrowser,
        (Some(_), false) => Proven::Elsewhere,
    })
}

/// How the proof of an address ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proven {
    /// The address is another by now.
    No,
    /// It was the account's own browser: the account stays as it is.
    InTheirBrowser,
    /// It was another: what the account was signed in to with before has ended, if the address was not proven already.
    Elsewhere,
}

/// `GET /api/auth/verify-email`: proves the address for a script of a trusted origin; everybody else gets our page, which asks.
///
/// # Errors
/// 401 for a link that is not good and has nowhere to go; 403 for a bad `callbackURL`; 503.
pub async fn verify(call: &mut Call) -> Result<Reply> {
    if !guard::asked_by_script(&call.context, &call.request) {
        return Ok(guard::to_page(&call.request, PAGE));
    }
    let given = call.request.param("callbackURL").filter(|given| !given.is_empty());
    let target = opening::target(&call.context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let is_proven = match read(call, call.request.param("token")).await? {
        Some(letter) => prove(call, &letter.claim.user_id, &letter.claim.email).await? != Proven::No,
        None => false,
    };
    match (is_proven, target) {
        (true, Some(target)) => Ok(Reply::redirect(302, &target)),
        (true, None) => Reply::json(200, &json!({ "status": true, "user": Value::Null })),
        (false, Some(target)) => Ok(Reply::redirect(302, &target.with_query("error", "INVALID_TOKEN"))),
        (false, None) => {
            Err(Error::refused(Wire::EMAIL_NOT_PROVEN, "unknown or expired, or the address is another by now"))
        }
    }
}

/// A link that is not good: told by the front-end that asked for the mail, or on our page.
async fn spent(call: &Call, status: u16, target: Option<&Target>) -> Result<Reply> {
    let context = &call.context;
    if let Some(target) = target.filter(|target| guard::is_elsewhere(context, target)) {
        return Ok(Reply::redirect(status, &target.with_query("error", "INVALID_TOKEN")));
    }
    let user = call.signed_in_user().await?;
    let reader = user.as_ref().map(|user| pages::mailed::Reader {
        email: &user.email,
        is_proven: user.email_verified || !email::is_mailbox(&user.email),
    });
    let target = target.map_or("/account", Target::as_str);
    let frame = context.frame("This link has been used or is too old");
    Ok(Reply::page(400, pages::mailed::spent_proof(&frame, reader, target)))
}

fn confirmed(call: &Call, email: &str, target: Option<&Target>) -> Reply {
    let frame = call.context.frame("Your address is confirmed");
    let target = target.map_or("/account", Target::as_str);
    Reply::page(200, pages::mailed::proven(&frame, email, target))
}

/// `GET /verify-email?token=…`, where the mail leads: asks whether the address is the reader's. Looking proves nothing: mail
/// scanners look as well.
///
/// # Errors
/// 403 for a bad `callbackURL`; 503.
pub async fn page(call: &mut Call) -> Result<Reply> {
    let given = call.request.param("callbackURL").filter(|given| !given.is_empty());
    let target = opening::target(&call.context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let token = call.request.param("token");
    let Some(letter) = read(call, token.clone()).await? else {
        return spent(call, 302, target.as_ref()).await;
    };
    if letter.is_proven {
        return Ok(confirmed(call, &letter.claim.email, target.as_ref()));
    }
    let asked = pages::mailed::Proof {
        token: token.as_deref().unwrap_or_default(),
        callback: target.as_ref().map(Target::as_str),
        email: &letter.claim.email,
        is_own_browser: is_own_browser(call, &letter.claim.user_id).await?,
    };
    Ok(Reply::page(200, pages::mailed::ask_proof(&call.context.frame("Is this your address?"), &asked)))
}

/// `POST /verify-email`: proves the address. In another browser than the account's own, its owner then sets a password.
///
/// # Errors
/// 403 for a bad `callbackURL`; 503.
pub async fn press(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let (token, given) = (fields.optional("token", 200), fields.optional("callbackURL", Target::LONGEST));
    fields.finish()?;
    let target = opening::target(&call.context, given.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let Some(letter) = read(call, token).await? else {
        return spent(call, 303, target.as_ref()).await;
    };
    let Claim { user_id, email } = &letter.claim;
    let proven = prove(call, user_id, email).await?;
    if proven == Proven::No {
        return spent(call, 303, target.as_ref()).await;
    }
    let context = &call.context;
    let lost_password = letter.has_password && !letter.is_proven && context.config.ways_in.password;
    if proven == Proven::Elsewhere && lost_password {
        let token = Token::new(context.random()?);
        context.db()?.batch(store::password_reset::request(context, user_id, email, &token)?).await?;
        let page = Target::own(reset::PAGE).with_query("token", token.expose()).with_query("confirmed", "true");
        return Ok(Reply::redirect(303, &page));
    }
    Ok(match target {
        Some(target) if guard::is_elsewhere(context, &target) => Reply::redirect(303, &target),
        target => confirmed(call, email, target.as_ref()),
    })
}
