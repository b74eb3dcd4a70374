//! Signing in with a password.

use crate::account::verification;
use crate::credentials::password::Password;
use crate::http::email::{LONGEST as LONGEST_EMAIL, is_mailbox};
use crate::http::redirect::Target;
use crate::platform::d1::Statement;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::secret::Secret;
use crate::records::deliver::deliver_later;
use crate::records::store::audit::Attempt;
use crate::request::context::Context;
use crate::request::password_hash;
use crate::session::open;
use crate::session::open::{Opening, Outcome};
use crate::users::sign_in_decision::{Candidate, Refusal};
use crate::users::store::sign_in::LookupBy;
use crate::users::{limits, lockout, sign_in_decision};
use crate::{records, users};

/// What was typed.
pub struct PasswordAttempt<'a> {
    /// Whose password it is.
    pub by: LookupBy<'a>,
    /// Password.
    pub password: Password,
    /// Whether the cookie outlives the browser.
    pub is_remembered: bool,
    /// Where a link leads that proves the address, if it must be proven first.
    pub callback: Option<Target>,
}

impl PasswordAttempt<'_> {
    /// The one refusal for whatever is wrong.
    const fn refusal(&self) -> Wire {
        match self.by {
            LookupBy::Email(_) | LookupBy::MagicLink(_) => Wire::INVALID_EMAIL_OR_PASSWORD,
            LookupBy::Username(_) => Wire::INVALID_USERNAME_OR_PASSWORD,
            LookupBy::Phone(_) => Wire::INVALID_PHONE_NUMBER_OR_PASSWORD,
        }
    }
}

/// Signs in: one batch counts and loads, the decision is pure, one batch commits.
///
/// # Errors
/// 401, 403 or 429; what exactly was wrong is in the log and in `login_history`.
pub async fn sign_in_with_password(context: &Context, typed: &PasswordAttempt<'_>) -> Result<Outcome> {
    let config = &context.config;
    let counters = limits::password_counters(context, typed.by.text());
    let loaded = users::store::sign_in::load(context, typed.by, &counters).await?;
    limits::check_limits(context, &loaded.windows, &counters, ["sign-in by network", "sign-in by account"])?;
    let candidate = loaded.candidate.as_ref();
    let stored = candidate.and_then(|candidate| candidate.password_hash.clone()).map(Secret::new);
    // The hash is computed for unknown users as well, or the time taken would tell them apart.
    let compared = password_hash::verify_password(context, &typed.password, stored.as_ref()).await?;
    // Whoever gave no address has a number, which was proven.
    let has_mailbox = candidate.is_some_and(|candidate| is_mailbox(&candidate.email));
    let requires_proof = config.require_verified_email && has_mailbox && !matches!(typed.by, LookupBy::Phone(_));
    let decision = sign_in_decision::decide_sign_in(candidate, compared.is_right, requires_proof, context.now);
    let user_id = match decision {
        Ok(user_id) => user_id,
        Err(refusal) => return Err(record_refusal(context, typed, candidate, refusal).await?),
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
        let new = password_hash::hash_password(context, &typed.password).await?;
        before.push(users::store::password::upgrade(context, &user_id, old.expose(), new.expose()));
        hash = Some(new);
    }
    let opening = Opening {
        is_remembered: typed.is_remembered,
        while_password: hash.as_ref().map(|hash| hash.expose().as_str()),
        otherwise: typed.refusal(),
        last_method: matches!(typed.by, LookupBy::Email(_)).then_some("email"),
        ..Opening::new(&user_id, "password", &["pwd"])
    };
    match open::open_session_or_ask(context, &opening, before).await.map_err(Error::from) {
        // Another sign-in with the same password was quicker to hash it anew: the next try finds that hash.
        Err(error) if compared.needs_upgrade && error.wire() == typed.refusal() => {
            Box::pin(sign_in_with_password(context, typed)).await
        }
        other => other,
    }
}

/// Records a refusal and says it: vaguely, but to whoever knows the password.
async fn record_refusal(
    context: &Context,
    typed: &PasswordAttempt<'_>,
    candidate: Option<&Candidate>,
    refusal: Refusal,
) -> Result<Error> {
    let user_id = candidate.map(|candidate| &candidate.user_id);
    let attempt = Attempt { user_id, session_id: None, failure: Some(refusal.as_str()), method: "password" };
    let mut statements: Vec<Statement> = vec![records::store::audit::login(context, &context.row_id()?, attempt)];
    // An unknown user's batch is as long as a known one's: it does not show in the time taken.
    let guessed = candidate.filter(|_| refusal == Refusal::WrongPassword);
    let nobody = context.id()?;
    statements
        .extend(lockout::failed_sign_in_statements(context, guessed.map_or(&nobody, |candidate| &candidate.user_id))?);
    users::store::sign_in::record(context.db()?, statements).await?;
    if let (Refusal::EmailNotVerified, Some(candidate)) = (refusal, candidate) {
        // They know the password: what is missing is the click on a link, and here is another. One more round trip, for them
        // alone, and the refusal is written whatever becomes of it.
        verification::send_counted_verification(context, &candidate.user_id, &candidate.email, typed.callback.clone())
            .await?;
    }
    deliver_later(context);
    let wire = match refusal {
        Refusal::Suspended | Refusal::NotActive => Wire::BANNED_USER,
        Refusal::EmailNotVerified => Wire::EMAIL_NOT_VERIFIED,
        Refusal::UnknownUser | Refusal::NoPassword | Refusal::WrongPassword | Refusal::Locked => typed.refusal(),
    };
    Ok(Error::refused(wire, refusal.as_str()))
}

/// Reads an address or a user name off a form, without problems: what is malformed is simply nobody's.
#[must_use]
pub fn normalise_typed_name(name: &str) -> String {
    name.trim().to_ascii_lowercase().chars().take(LONGEST_EMAIL).collect()
}
