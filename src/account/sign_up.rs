//! Creating a user with a password.

use serde_json::json;

use crate::account::verification;
use crate::credentials::password::Password;
use crate::http::redirect::Target;
use crate::platform::d1::StoreError;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, User};
use crate::platform::secret::{Invited, TokenHash};
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::request::password_hash;
use crate::session::open::{Opened, Opening, OpeningError};
use crate::session::{open, proof};
use crate::users::fields::Names;
use crate::users::limits;
use crate::users::person::Person;
use crate::users::store::sign_up::NewUser;
use crate::{records, tenants, users};

/// Who wants an account.
pub struct Applicant {
    /// Lower-case address.
    pub email: String,
    /// Name.
    pub name: String,
    /// Picture URL.
    pub image: Option<String>,
    /// User name.
    pub names: Names,
    /// Password.
    pub password: Password,
    /// Whether the cookie outlives the browser.
    pub is_remembered: bool,
    /// Where the mailed link leads in the end.
    pub callback: Option<Target>,
    /// The guest who becomes a user by this.
    pub guest: Option<Id<User>>,
    /// The invitation that was mailed to the address: it lets its reader sign up where nobody else may, and proves the address.
    pub invitation: Option<TokenHash<Invited>>,
}

impl Applicant {
    /// Somebody with a name, an address and a password, and nothing else.
    #[must_use]
    pub fn new(email: String, name: String, password: Password) -> Self {
        Self {
            email,
            name,
            image: None,
            names: Names::default(),
            password,
            is_remembered: true,
            callback: None,
            guest: None,
            invitation: None,
        }
    }
}

/// How a sign-up ends.
pub enum SignedUp {
    /// In a session.
    Opened(Box<Opened>),
    /// In a mail: the address must be proven first. It may have been somebody's already, which nobody is told.
    Mailed(Box<Person>),
}

/// Creates a user with a password and signs them in. Whether the address is free is decided by the insert alone:
/// of fifty at once, one is let in. Where addresses must be proven first, nobody is signed in, and a known address is
/// answered as an unknown one.
///
/// # Errors
/// 400 for a password that is too short, too long or in a breach; 403 where nobody may sign up; 422 for a name or an address that is taken; 429; 503.
pub async fn create_user(context: &Context, applicant: &Applicant) -> Result<SignedUp> {
    let config = &context.config;
    let is_invited = applicant.invitation.is_some();
    if !(config.sign_up_open || is_invited) || !config.ways_in.password {
        return Err(Error::refused(Wire::SIGN_UP_DISABLED, "SIGN_UP is closed"));
    }
    proof::check_password_length(context, &applicant.password)?;
    let name = applicant.names.username.as_deref();
    let counters = limits::sign_up_counters(context, &applicant.email);
    let loaded = users::store::sign_up::load(context, &counters, &applicant.email, name).await?;
    if let Some(retry_after) = loaded.windows.network.retry_after(config.limit_sign_up, context.now) {
        return Err(Error::TooManyRequests { retry_after, limit: "sign-up by network" });
    }
    if !loaded.tenant_is_active {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "tenant is not active"));
    }
    // Before the address is looked at: a taken name must not be refused for unknown addresses alone.
    if loaded.username_is_taken {
        return Err(Error::refused(Wire::USERNAME_TAKEN, "user name is taken"));
    }
    proof::check_password_breach(context, &applicant.password, None).await?;
    let hash = password_hash::hash_password(context, &applicant.password).await?;
    // Where addresses must be proven, what becomes of a guest must not tell whether the address was known.
    let guest = applicant.guest.as_ref().filter(|_| !config.require_verified_email || is_invited);
    let names = &applicant.names;
    let user_id = match guest {
        Some(guest) => guest.clone(),
        None => context.id()?,
    };
    let asks_proof = config.require_verified_email && !is_invited;
    if let (true, Some(known)) = (asks_proof, &loaded.candidate) {
        let told = mail::already_registered(&context.tenant().name, context.auth_origin().as_str());
        let details = json!({ "known": true });
        let id = context.row_id()?;
        let event = records::store::audit::audit(
            context,
            &id,
            Some(&known.user_id),
            "sign_up.address_taken",
            Severity::Low,
            &details,
        );
        let mut statements = vec![event];
        if limits::check_limits(context, &loaded.windows, &counters, ["sign-up by network", "mails to one address"])
            .is_ok()
        {
            statements.push(records::store::outbox::queue_to_user(context, &known.user_id, &told, None)?);
        }
        context.db()?.batch(statements).await?;
        deliver_later(context);
        return Ok(SignedUp::Mailed(Box::new(answer_unproven_address(context, &user_id, applicant))));
    }
    let user = NewUser {
        image: applicant.image.as_deref(),
        username: names.username.as_deref(),
        display_username: names.display_username.as_deref(),
        was_guest: guest.is_some(),
        email_verified: is_invited,
        ..NewUser::new(&user_id, &applicant.email, &applicant.name)
    };
    let mut statements = Vec::new();
    if let Some(invitation) = &applicant.invitation {
        // One that was taken back meanwhile lets nobody in.
        statements.push(tenants::store::invitation::must_be_open(context, invitation, &applicant.email));
    }
    statements.extend(users::store::sign_up::create(context, &user)?);
    statements.push(users::store::sign_up::add_password(context, &context.id()?, &user_id, hash.expose()));
    let details = json!({ "method": "password" });
    statements.push(records::store::audit::created(context, &context.row_id()?, &user_id, &applicant.email, &details));
    if !is_invited {
        statements.extend(verification::make_verification_link(
            context,
            &user_id,
            &applicant.email,
            applicant.callback.clone(),
        )?);
    }
    if asks_proof {
        // Whoever was quicker with the same address is told by mail, as above, and nobody else is.
        match context.db()?.batch(statements).await {
            Err(StoreError::Conflict(column)) if column == "user.email" => (),
            other => drop(other.map_err(|error| answer_taken_address(error.into()))?),
        }
        deliver_later(context);
        return Ok(SignedUp::Mailed(Box::new(answer_unproven_address(context, &user_id, applicant))));
    }
    let opening = Opening {
        is_remembered: applicant.is_remembered,
        last_method: Some("email"),
        while_email: Some(&applicant.email),
        otherwise: Wire::USER_ALREADY_EXISTS,
        ..Opening::new(&user_id, "password", &["pwd"])
    };
    let opened = open::open_session(context, &opening, statements).await.map_err(answer_taken_address)?;
    deliver_later(context);
    Ok(SignedUp::Opened(Box::new(opened)))
}

/// What somebody was quicker to take.
fn answer_taken_address(error: OpeningError) -> Error {
    match error {
        OpeningError::Conflict(column) if column == "user.username" => {
            Error::refused(Wire::USERNAME_TAKEN, "user name is taken")
        }
        OpeningError::Conflict(column) => Error::refused(Wire::USER_ALREADY_EXISTS, format!("{column} is taken")),
        OpeningError::Other(error) => error,
    }
}

/// The user as the answer shows them, made of what was typed alone: the same whether the address was known or not.
fn answer_unproven_address(context: &Context, id: &Id<User>, applicant: &Applicant) -> Person {
    Person {
        id: id.clone(),
        name: applicant.name.clone(),
        email: applicant.email.clone(),
        email_verified: false,
        image: applicant.image.clone(),
        username: applicant.names.username.clone(),
        display_username: applicant.names.display_username.clone(),
        phone_number: None,
        phone_number_verified: false,
        two_factor_enabled: false,
        is_anonymous: false,
        created_at: context.now,
        updated_at: context.now,
    }
}
