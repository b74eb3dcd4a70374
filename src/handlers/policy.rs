//! A tenant's security policy: read when it is written, and asked where somebody comes in.

use serde_json::Value;

use crate::access::network::IpRefusal;
use crate::access::policy::{Facts, Requirement, SecurityPolicy};
use crate::context::Context;
use crate::error::{Error, Result, Wire};
use crate::handlers::keyed;
use crate::session::{LiveSession, has_two_factors};
use crate::store::access::Standing;

/// Reads a policy that somebody would set.
///
/// # Errors
/// 400 with the path of each key that is wrong.
pub fn read(given: &Value) -> Result<SecurityPolicy> {
    SecurityPolicy::parse(given).map_err(|problems| {
        let texts = problems.iter().map(|problem| match problem.path.as_str() {
            "" => format!("[body.securityPolicy] {}", problem.text),
            path => format!("[body.securityPolicy.{path}] {}", problem.text),
        });
        Error::Validation(texts.collect::<Vec<_>>().join("; "))
    })
}

/// The policy of the tenant that was asked, as the isolate remembers it.
///
/// # Errors
/// [`Error::Internal`] for one that cannot be read: nobody gets in by it.
pub fn here(context: &Context) -> Result<&SecurityPolicy> {
    context
        .tenant()
        .policy()
        .ok_or_else(|| Error::Internal(format!("tenant {}: security_policy cannot be read", context.tenant().id)))
}

fn refused(refusal: IpRefusal) -> Error {
    Error::refused(Wire::ADDRESS_NOT_ALLOWED, refusal.as_str())
}

/// Whether the client's address may come in here at all.
///
/// # Errors
/// 403.
pub fn admits(context: &Context) -> Result<()> {
    here(context)?.admits(Some(&context.client().ip)).map_err(refused)
}

/// Whoever sets a policy that keeps themselves out could not take it back.
///
/// # Errors
/// 400.
pub fn keeps_in(context: &Context, policy: &SecurityPolicy) -> Result<()> {
    let out =
        |_| Error::Validation("[body.securityPolicy.ipRestrictions] It would keep your own address out".to_owned());
    policy.admits(Some(&context.client().ip)).map_err(out)
}

/// Whether a session that was opened elsewhere may work in an organization: its policy holds for whoever comes in by
/// another tenant's host as well.
///
/// # Errors
/// 403.
pub fn admits_to(context: &Context, standing: &Standing, session: &LiveSession) -> Result<()> {
    let tenant = &standing.tenant;
    let policy = SecurityPolicy::parse(&tenant.security_policy)
        .map_err(|_| Error::Internal(format!("tenant {}: security_policy cannot be read", tenant.id)))?;
    policy.admits(Some(&context.client().ip)).map_err(refused)?;
    // A program gives no second factor: its key was made by somebody who gave theirs.
    if session.impersonated_by.is_some() || session.login_method == keyed::METHOD {
        return Ok(());
    }
    let facts = Facts {
        has_second_factor: session.user.two_factor_enabled,
        // A browser is trusted by the tenant that it was signed in to.
        satisfied: has_two_factors(&session.amr),
        roles: &standing.roles,
        logins_since_enforcement: standing.grace_logins,
        first_required_at: Some(standing.second_factor_required_at.unwrap_or(context.now)),
    };
    match policy.second_factor(&facts, context.now) {
        Requirement::NotRequired | Requirement::Satisfied | Requirement::Grace { .. } => Ok(()),
        Requirement::AskFactor | Requirement::Enrol => {
            Err(Error::refused(Wire::SECOND_FACTOR_REQUIRED, "this organization asks for a second factor"))
        }
    }
}

/// Whether a user may take their second factor away: not where they would have to set one up again at once.
///
/// # Errors
/// 403 `TWO_FACTOR_REQUIRED`.
pub fn may_disable(context: &Context, session: &LiveSession) -> Result<()> {
    let facts = Facts {
        has_second_factor: false,
        satisfied: false,
        roles: &session.roles,
        logins_since_enforcement: i64::MAX,
        first_required_at: Some(0),
    };
    match here(context)?.second_factor(&facts, context.now) {
        Requirement::Enrol => {
            Err(Error::refused(Wire::SECOND_FACTOR_REQUIRED, "the tenant asks for what would be taken away"))
        }
        _ => Ok(()),
    }
}

/// What is asked of a user whose refresh token is presented.
pub struct Refreshed<'a> {
    /// Whether they have a second factor.
    pub has_second_factor: bool,
    /// Their roles in the tenant.
    pub roles: &'a [String],
    /// How they signed in when they agreed.
    pub amr: &'a [String],
}

/// Whether a sign-in of once is still one that the tenant's policy takes.
///
/// # Errors
/// [`Error::Internal`] for a policy that cannot be read.
pub fn still_good(context: &Context, refreshed: &Refreshed<'_>) -> Result<bool> {
    let facts = Facts {
        has_second_factor: refreshed.has_second_factor,
        satisfied: has_two_factors(refreshed.amr),
        roles: refreshed.roles,
        logins_since_enforcement: 1,
        first_required_at: Some(context.now),
    };
    let asked = here(context)?.second_factor(&facts, context.now);
    Ok(!matches!(asked, Requirement::AskFactor | Requirement::Enrol))
}

/// What whoever must set up a second factor may do before: that, and leave.
const BEFORE_ENROLMENT: &[&str] = &[
    "/api/auth/get-session",
    "/api/auth/sign-",
    "/api/auth/two-factor/",
    "/api/auth/passkey/",
    "/account/second-factor",
    "/second-factor",
    "/sign-",
    "/login",
    "/oauth2/end_session",
];

/// Whether a path is open to whoever must set up a second factor first.
#[must_use]
pub fn is_before_enrolment(path: &str) -> bool {
    matches!(path, "/" | "/api/auth/organization/list")
        || BEFORE_ENROLMENT.iter().any(|prefix| path.starts_with(prefix))
}

/// Whether the session may be used for what was asked.
///
/// # Errors
/// 403 `TWO_FACTOR_REQUIRED`.
pub fn may_act(context: &Context, session: &LiveSession) -> Result<()> {
    if !session.must_enrol || context.is_before_enrolment {
        return Ok(());
    }
    Err(Error::refused(Wire::SECOND_FACTOR_REQUIRED, "the tenant asks for a second factor, and the user has none"))
}
