//! Sign-in with e-mail and password.

use serde_json::json;

use crate::context::{Context, nfkc};
use crate::credentials::password::{self, Password};
use crate::credentials::sign_in::{self, Candidate, Refusal};
use crate::error::{Error, Result, Wire};
use crate::handlers::Call;
use crate::handlers::opening::{self, Opened, Opening};
use crate::http::email::LONGEST as LONGEST_EMAIL;
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::secret::Secret;
use crate::store;
use crate::store::database::Statement;
use crate::store::rate_limit;
use crate::store::record::Attempt;
use crate::store::sign_in::Counters;

/// What was typed.
pub struct Typed {
    /// Lower-case address.
    pub email: String,
    /// Password.
    pub password: Password,
    /// Whether the cookie outlives the browser.
    pub is_remembered: bool,
}

/// `POST /sign-in/email`.
///
/// # Errors
/// 400 for bad fields, 401 for bad credentials, 403 for a bad `callbackURL` or a banned user, 429.
pub async fn email(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Both).await?;
    let email = fields.email("email");
    let password = Password::new(fields.required("password", password::LONGEST_READ), nfkc);
    let remember = fields.boolean("rememberMe");
    let callback = fields.optional("callbackURL", Target::LONGEST);
    fields.finish()?;
    let target = opening::target(&call.context, callback.as_deref(), Wire::INVALID_CALLBACK_URL)?;
    let typed = Typed { email, password, is_remembered: remember.unwrap_or(true) };
    let opened = with_password(&call.context, &typed).await?;
    let mut body = json!({
        "redirect": target.is_some(),
        "token": opened.session.id,
        "user": opened.session.user_json(),
    });
    let Some(target) = target else {
        return Ok(Reply::json(200, &body)?.with_cookies(opened.cookies));
    };
    body["url"] = json!(target.as_str());
    Ok(Reply::json(200, &body)?.with_cookies(opened.cookies).with("location", target.as_str().to_owned()))
}

/// Signs in: one batch counts and loads, the decision is pure, one batch commits.
///
/// # Errors
/// 401, 403 or 429; what exactly was wrong is in the log and in `login_history`.
pub async fn with_password(context: &Context, typed: &Typed) -> Result<Opened> {
    let (config, tenant) = (&context.config, &context.tenant().id);
    let network = rate_limit::key(config, "sign-in:network", tenant.as_str(), &context.client().network());
    // By the address typed, not by the user found: known and unknown ones are limited alike.
    let account = rate_limit::key(config, "sign-in:account", tenant.as_str(), &typed.email);
    let counters =
        Counters { network: (&network, config.limit_sign_in), account: (&account, config.limit_sign_in_account) };
    let loaded = store::sign_in::load(context, &typed.email, &counters).await?;
    let over = loaded.network.retry_after(config.limit_sign_in, context.now).map(|wait| (wait, "sign-in by network"));
    let over = over.or_else(|| {
        let wait = loaded.account?.retry_after(config.limit_sign_in_account, context.now)?;
        Some((wait, "sign-in by account"))
    });
    if let Some((retry_after, limit)) = over {
        return Err(Error::TooManyRequests { retry_after, limit });
    }
    let candidate = loaded.candidate.as_ref();
    let stored = candidate.and_then(|candidate| candidate.password_hash.clone()).map(Secret::new);
    // The hash is computed for unknown users as well, or the time taken would tell them apart.
    let is_right = password::verify(&typed.password, stored.as_ref())?;
    let user_id = match sign_in::decide(candidate, is_right, context.now) {
        Ok(user_id) => user_id,
        Err(refusal) => return Err(refuse(context, candidate, refusal).await?),
    };
    if !loaded.tenant_is_active {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    let opening = Opening {
        user_id: &user_id,
        method: "password",
        amr: &["pwd"],
        is_remembered: typed.is_remembered,
        while_password: stored.as_ref().map(|hash| hash.expose().as_str()),
    };
    Ok(opening::open(context, &opening, vec![rate_limit::reset(&account)]).await?)
}

/// Records a refusal and says it: vaguely, but to whoever knows the password.
async fn refuse(context: &Context, candidate: Option<&Candidate>, refusal: Refusal) -> Result<Error> {
    let user_id = candidate.map(|candidate| &candidate.user_id);
    let attempt = Attempt { user_id, session_id: None, failure: Some(refusal.as_str()), method: "password" };
    let mut statements: Vec<Statement> = vec![store::record::login(context, &context.row_id()?, attempt)];
    // An unknown user's batch is as long as a known one's: it does not show in the time taken.
    let guessed = candidate.filter(|_| refusal == Refusal::WrongPassword);
    let nobody = context.id()?;
    let counted = guessed.map_or(&nobody, |candidate| &candidate.user_id);
    statements.push(store::sign_in::failed(context, counted));
    statements.push(store::record::locked(context, &context.row_id()?, counted));
    store::sign_in::record(context.db()?, statements).await?;
    let wire = match refusal {
        Refusal::Suspended | Refusal::NotActive => Wire::BANNED_USER,
        Refusal::UnknownUser | Refusal::NoPassword | Refusal::WrongPassword | Refusal::Locked => {
            Wire::INVALID_EMAIL_OR_PASSWORD
        }
    };
    Ok(Error::refused(wire, refusal.as_str()))
}

/// Reads an address and a password off a form, without problems: what is malformed is simply not right.
#[must_use]
pub fn typed(email: &str, password: String, is_remembered: bool) -> Typed {
    let email = crate::http::email::normalise(email).unwrap_or_else(|| email.chars().take(LONGEST_EMAIL).collect());
    Typed { email, password: Password::new(password, nfkc), is_remembered }
}
