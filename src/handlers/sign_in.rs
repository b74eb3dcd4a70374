//! Sign-in with a password, by address, user name or phone number.

use serde_json::{Value, json};

use crate::context::{Context, nfkc};
use crate::credentials::password::{LONGEST_READ, Password};
use crate::credentials::sign_in::{self, Candidate, Refusal};
use crate::error::{Error, Result, Wire};
use crate::handlers::opening::{self, Opening, Outcome};
use crate::handlers::{Call, counting, guard, verification};
use crate::hashing;
use crate::http::email::{LONGEST as LONGEST_EMAIL, is_mailbox};
use crate::http::incoming::Media;
use crate::http::phone;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::http::username::{self, NoUsername};
use crate::id::{Id, User};
use crate::jobs::outbox::deliver_later;
use crate::pages::mail;
use crate::secret::Secret;
use crate::session::LiveSession;
use crate::store;
use crate::store::database::Statement;
use crate::store::record::Attempt;
use crate::store::sign_in::By;

/// What was typed.
pub struct Typed<'a> {
    /// Whose password it is.
    pub by: By<'a>,
    /// Password.
    pub password: Password,
    /// Whether the cookie outlives the browser.
    pub is_remembered: bool,
    /// Where a link leads that proves the address, if it must be proven first.
    pub callback: Option<Target>,
}

impl Typed<'_> {
    /// The one refusal for whatever is wrong.
    const fn refusal(&self) -> Wire {
        match self.by {
            By::Email(_) | By::MagicLink(_) => Wire::INVALID_EMAIL_OR_PASSWORD,
            By::Username(_) => Wire::INVALID_USERNAME_OR_PASSWORD,
            By::Phone(_) => Wire::INVALID_PHONE_NUMBER_OR_PASSWORD,
        }
    }
}

/// What kind of name a password is given with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Email,
    Username,
    Phone,
}

/// `POST /sign-in/email`.
///
/// # Errors
/// 400 for bad fields, 401 for bad credentials, 403 for a bad `callbackURL` or a banned user, 429.
pub async fn email(call: &mut Call) -> Result<Reply> {
    by_name(call, Kind::Email).await
}

/// `POST /sign-in/username`.
///
/// # Errors
/// As [`email`]; 422 for what is no user name.
pub async fn username(call: &mut Call) -> Result<Reply> {
    by_name(call, Kind::Username).await
}

/// `POST /sign-in/phone-number`.
///
/// # Errors
/// As [`email`]; 400 for what is no phone number; 404 where phones are not a way in.
pub async fn phone_number(call: &mut Call) -> Result<Reply> {
    guard::open_way(call.context.config.ways_in.phone)?;
    by_name(call, Kind::Phone).await
}

async fn by_name(call: &mut Call, kind: Kind) -> Result<Reply> {
    if !call.context.config.ways_in.password {
        return Err(Error::refused(Wire::EMAIL_PASSWORD_DISABLED, "SIGN_IN_WITH is without password"));
    }
    let mut fields = call.request.fields(Media::Both).await?;
    let name = match kind {
        Kind::Email => fields.email("email"),
        Kind::Username => fields.required("username", username::LONGEST_READ),
        Kind::Phone => fields.required("phoneNumber", phone::LONGEST_READ),
    };
    let password = Password::new(fields.required("password", LONGEST_READ), nfkc);
    let remember = fields.boolean("rememberMe");
    let callback = fields.optional("callbackURL", Target::LONGEST);
    fields.finish()?;
    let target = opening::target(&call.context, callback.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let name = match kind {
        Kind::Email => name,
        Kind::Username => username::normalise(&name).map_err(NoUsername::when_asked)?,
        Kind::Phone => phone::number(&name)?,
    };
    let by = match kind {
        Kind::Email => By::Email(&name),
        Kind::Username => By::Username(&name),
        Kind::Phone => By::Phone(&name),
    };
    let typed = Typed { by, password, is_remembered: remember.unwrap_or(true), callback: target.clone() };
    let outcome = with_password(&call.context, &typed).await?;
    if kind == Kind::Phone {
        return outcome.json(|session| json!({ "token": session.id, "user": session.user_json() }));
    }
    outcome.answer(target.as_ref())
}

impl Outcome {
    /// The answer of `sign-in/…`: the session's handle and user, and where to go.
    ///
    /// # Errors
    /// None that happens.
    pub fn answer(self, target: Option<&Target>) -> Result<Reply> {
        let is_open = matches!(self, Self::Opened(_));
        let reply = self.json(|session| body(session, target))?;
        Ok(match target.filter(|_| is_open) {
            Some(target) => reply.with("location", target.as_str().to_owned()),
            None => reply,
        })
    }
}

fn body(session: &LiveSession, target: Option<&Target>) -> Value {
    let mut body = json!({ "redirect": target.is_some(), "token": session.id, "user": session.user_json() });
    if let Some(target) = target {
        body["url"] = json!(target.as_str());
    }
    body
}

/// Signs in: one batch counts and loads, the decision is pure, one batch commits.
///
/// # Errors
/// 401, 403 or 429; what exactly was wrong is in the log and in `login_history`.
pub async fn with_password(context: &Context, typed: &Typed<'_>) -> Result<Outcome> {
    let config = &context.config;
    let counters = counting::passwords(context, typed.by.text());
    let loaded = store::sign_in::load(context, typed.by, &counters).await?;
    guard::within(context, &loaded.windows, &counters, ["sign-in by network", "sign-in by account"])?;
    let candidate = loaded.candidate.as_ref();
    let stored = candidate.and_then(|candidate| candidate.password_hash.clone()).map(Secret::new);
    // The hash is computed for unknown users as well, or the time taken would tell them apart.
    let compared = hashing::verify(context, &typed.password, stored.as_ref()).await?;
    // Whoever gave no address has a number, which was proven.
    let has_mailbox = candidate.is_some_and(|candidate| is_mailbox(&candidate.email));
    let requires_proof = config.require_verified_email && has_mailbox && !matches!(typed.by, By::Phone(_));
    let decision = sign_in::decide(candidate, compared.is_right, requires_proof, context.now);
    let user_id = match decision {
        Ok(user_id) => user_id,
        Err(refusal) => return Err(refuse(context, typed, candidate, refusal).await?),
    };
    if !loaded.tenant_is_active {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    // Ten colleagues behind one address who all know their passwords are nobody who guesses.
    let is_trusted = candidate.is_some_and(|candidate| candidate.is_trusted);
    let mut before = counters.succeeded(is_trusted, context.now);
    let mut hash = stored;
    // A hash from elsewhere becomes one of ours now that the password is at hand, unless it was changed meanwhile.
    if let (true, Some(old)) = (compared.needs_upgrade, hash.as_ref()) {
        let new = hashing::hash(context, &typed.password).await?;
        before.push(store::password::upgrade(context, &user_id, old.expose(), new.expose()));
        hash = Some(new);
    }
    let opening = Opening {
        is_remembered: typed.is_remembered,
        while_password: hash.as_ref().map(|hash| hash.expose().as_str()),
        otherwise: typed.refusal(),
        last_method: matches!(typed.by, By::Email(_)).then_some("email"),
        ..Opening::new(&user_id, "password", &["pwd"])
    };
    match opening::open_or_ask(context, &opening, before).await.map_err(Error::from) {
        // Another sign-in with the same password was quicker to hash it anew: the next try finds that hash.
        Err(error) if compared.needs_upgrade && error.wire() == typed.refusal() => {
            Box::pin(with_password(context, typed)).await
        }
        other => other,
    }
}

/// Records a refusal and says it: vaguely, but to whoever knows the password.
async fn refuse(
    context: &Context,
    typed: &Typed<'_>,
    candidate: Option<&Candidate>,
    refusal: Refusal,
) -> Result<Error> {
    let user_id = candidate.map(|candidate| &candidate.user_id);
    let attempt = Attempt { user_id, session_id: None, failure: Some(refusal.as_str()), method: "password" };
    let mut statements: Vec<Statement> = vec![store::record::login(context, &context.row_id()?, attempt)];
    // An unknown user's batch is as long as a known one's: it does not show in the time taken.
    let guessed = candidate.filter(|_| refusal == Refusal::WrongPassword);
    let nobody = context.id()?;
    statements.extend(counted(context, guessed.map_or(&nobody, |candidate| &candidate.user_id))?);
    store::sign_in::record(context.db()?, statements).await?;
    if let (Refusal::EmailNotVerified, Some(candidate)) = (refusal, candidate) {
        // They know the password: what is missing is the click on a link, and here is another. One more round trip, for them
        // alone, and the refusal is written whatever becomes of it.
        verification::send_counted(context, &candidate.user_id, &candidate.email, typed.callback.clone()).await?;
    }
    deliver_later(context);
    let wire = match refusal {
        Refusal::Suspended | Refusal::NotActive => Wire::BANNED_USER,
        Refusal::EmailNotVerified => Wire::EMAIL_NOT_VERIFIED,
        Refusal::UnknownUser | Refusal::NoPassword | Refusal::WrongPassword | Refusal::Locked => typed.refusal(),
    };
    Ok(Error::refused(wire, refusal.as_str()))
}

/// The statements that count a wrong guess, lock the account at every so many, and tell its owner.
///
/// # Errors
/// If the platform has no randomness.
pub fn counted(context: &Context, user: &Id<User>) -> Result<[Statement; 3]> {
    let told = mail::locked(&context.tenant().name, context.auth_origin().as_str());
    Ok([
        store::sign_in::failed(context, user),
        store::record::locked(context, &context.row_id()?, user),
        store::outbox::queue_if_locked(context, user, &told)?,
    ])
}

/// Reads an address or a user name off a form, without problems: what is malformed is simply nobody's.
#[must_use]
pub fn typed_name(name: &str) -> String {
    name.trim().to_ascii_lowercase().chars().take(LONGEST_EMAIL).collect()
}
