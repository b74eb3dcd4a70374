//! Whoever proved to own an address or a number by mail or text message: signed in, or up.

use serde_json::json;

use crate::platform::d1::Statement;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::records::deliver::deliver_later;
use crate::records::store::audit::Attempt;
use crate::request::context::Context;
use crate::request::store::verification::Claim;
use crate::session::open;
use crate::session::open::{Opening, OpeningError, Outcome};
use crate::users::sign_in_decision::Candidate;
use crate::users::store::sign_up::NewUser;
use crate::users::{limits, sign_in_decision};
use crate::{records, users};

/// What was proven, and by what.
pub struct ProvenArrival<'a> {
    /// Lower-case address; one that stands for a number where that was proven.
    pub email: &'a str,
    /// The number that was proven; none if it was the address.
    pub phone_number: Option<&'a str>,
    /// The name of somebody new.
    pub name: &'a str,
    /// The picture of somebody new.
    pub image: Option<&'a str>,
    /// As the session keeps it.
    pub method: &'a str,
    /// References.
    pub amr: &'a [&'a str],
    /// What is used up by it, if that was not done already.
    pub claim: Option<Claim<'a>>,
    /// What whoever comes too late, or may not come in, is told.
    pub otherwise: Wire,
    /// The guest who becomes a user by this.
    pub guest: Option<&'a Id<User>>,
    /// Whether a guest is one no more once they are signed in as somebody who was known.
    pub absorbs_guest: bool,
}

/// Signs in whom the address belongs to, or makes a user of them. Answers whether they are new.
///
/// # Errors
/// `otherwise` if there is nobody and sign-up is closed, or somebody was quicker; 403 for a user who is not active.
pub async fn sign_in_or_up(
    context: &Context,
    arrival: &ProvenArrival<'_>,
    candidate: Option<&Candidate>,
) -> Result<(Outcome, bool)> {
    let Some(known) = candidate else {
        return sign_up(context, arrival).await.map(|outcome| (outcome, true));
    };
    // A lock is against who guesses at the password. A link cannot be guessed, and codes are so few, and each tried so seldom,
    // that they need none: else anybody could keep the account's owner out of it.
    let refusal = sign_in_decision::decide_admission(known, context.now).err();
    if let Some(refusal) = refusal {
        let attempt = Attempt {
            user_id: Some(&known.user_id),
            session_id: None,
            failure: Some(refusal.as_str()),
            method: arrival.method,
        };
        context.db()?.batch([records::store::audit::login(context, &context.row_id()?, attempt)]).await?;
        return Err(Error::refused(Wire::BANNED_USER, refusal.as_str()));
    }
    let mut before = limits::forget_statements(context, arrival.phone_number.unwrap_or(arrival.email));
    if arrival.phone_number.is_none() {
        // Whoever made this account without proving the address may be somebody else, who waits for its owner to come.
        before.extend(users::store::user::reclaim(context, &known.user_id));
        before.push(users::store::user::prove_email(context, &known.user_id, arrival.email));
    }
    let opened = open::open_session_or_ask(context, &opening(arrival, &known.user_id), before).await;
    opened.map(|outcome| (outcome, false)).map_err(Error::from)
}

fn opening<'a>(arrival: &ProvenArrival<'a>, user_id: &'a Id<User>) -> Opening<'a> {
    Opening {
        claim: arrival.claim,
        absorbs_guest: arrival.absorbs_guest,
        otherwise: arrival.otherwise,
        last_method: arrival.phone_number.is_none().then_some(arrival.method),
        ..Opening::new(user_id, arrival.method, arrival.amr)
    }
}

async fn sign_up(context: &Context, arrival: &ProvenArrival<'_>) -> Result<Outcome> {
    if !context.config.sign_up_open {
        return Err(Error::refused(arrival.otherwise, "nobody, and SIGN_UP is closed"));
    }
    let user_id = match arrival.guest {
        Some(guest) => guest.clone(),
        None => context.id()?,
    };
    let user = NewUser {
        email_verified: arrival.phone_number.is_none(),
        image: arrival.image,
        phone_number: arrival.phone_number,
        was_guest: arrival.guest.is_some(),
        ..NewUser::new(&user_id, arrival.email, arrival.name)
    };
    let mut before: Vec<Statement> = users::store::sign_up::create(context, &user)?;
    before.extend(limits::forget_statements(context, arrival.phone_number.unwrap_or(arrival.email)));
    let details = json!({ "method": arrival.method });
    before.push(records::store::audit::created(context, &context.row_id()?, &user_id, arrival.email, &details));
    let opening = Opening { while_email: Some(arrival.email), ..opening(arrival, &user_id) };
    match open::open_session_or_ask(context, &opening, before).await {
        // Of two first links at once, one makes the user; the other can be asked for again.
        Err(OpeningError::Conflict(column)) => Err(Error::refused(arrival.otherwise, format!("{column} is taken"))),
        other => {
            deliver_later(context);
            Ok(other?)
        }
    }
}
