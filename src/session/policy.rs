//! A tenant's security policy: read when it is written, and asked where somebody comes in.

use serde_json::Value;

use crate::access::network::IpRefusal;
use crate::access::policy::{Facts, Requirement, SecurityPolicy};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Millis, Tenant, User};
use crate::request::context::Context;
use crate::request::write_later::write_later;
use crate::session::live_session::{LiveSession, has_two_factors};
use crate::session::store;
use crate::session::store::permission::Standing;
use crate::users::person::Person;

/// Reads a policy that somebody would set.
///
/// # Errors
/// 400 with the path of each key that is wrong.
pub fn read_policy(given: &Value) -> Result<SecurityPolicy> {
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
/// [`Error::Internal`](crate::platform::error::Error::Internal) for one that cannot be read: nobody gets in by it.
pub fn policy_of_tenant(context: &Context) -> Result<&SecurityPolicy> {
    context
        .tenant()
        .policy()
        .ok_or_else(|| Error::Internal(format!("tenant {}: security_policy cannot be read", context.tenant().id)))
}

fn address_refused(refusal: IpRefusal) -> Error {
    Error::refused(Wire::ADDRESS_NOT_ALLOWED, refusal.as_str())
}

/// Whether the client's address may come in here at all.
///
/// # Errors
/// 403.
pub fn check_address(context: &Context) -> Result<()> {
    policy_of_tenant(context)?.admits(Some(&context.client().ip)).map_err(address_refused)
}

/// Whoever sets a policy that keeps themselves out could not take it back.
///
/// # Errors
/// 400.
pub fn check_own_address(context: &Context, policy: &SecurityPolicy) -> Result<()> {
    let out =
        |_| Error::Validation("[body.securityPolicy.ipRestrictions] It would keep your own address out".to_owned());
    policy.admits(Some(&context.client().ip)).map_err(out)
}

/// Whether somebody passes by what they have given. Answers whether a second factor is asked of them for the first time:
/// their days of grace begin now, which is to be kept, or they would never end.
///
/// # Errors
/// 403 `TWO_FACTOR_REQUIRED`.
pub fn check_second_factor(policy: &SecurityPolicy, facts: Facts<'_>, now: Millis) -> Result<bool> {
    let first = facts.first_required_at;
    match policy.second_factor(&Facts { first_required_at: Some(first.unwrap_or(now)), ..facts }, now) {
        Requirement::NotRequired | Requirement::Satisfied => Ok(false),
        Requirement::Grace { .. } => Ok(first.is_none()),
        Requirement::AskFactor | Requirement::Enrol => {
            Err(Error::refused(Wire::SECOND_FACTOR_REQUIRED, "this organization asks for a second factor"))
        }
    }
}

/// Notes that days of grace began.
pub fn begin_grace(context: &Context, tenant: &Id<Tenant>, user: &Id<User>) {
    write_later(context, vec![store::session::begin_grace(tenant, user, context.now)]);
}

/// Whether a session that was opened elsewhere may work in an organization: its policy holds for whoever comes in by
/// another tenant's host as well.
///
/// # Errors
/// 403.
pub fn check_organization(context: &Context, standing: &Standing, session: &LiveSession) -> Result<()> {
    let tenant = &standing.tenant;
    let policy = SecurityPolicy::parse(&tenant.security_policy)
        .map_err(|_| Error::Internal(format!("tenant {}: security_policy cannot be read", tenant.id)))?;
    policy.admits(Some(&context.client().ip)).map_err(address_refused)?;
    // In its own tenant a session was judged when it was confirmed, and a key, which works nowhere else, when it was presented.
    if session.impersonated_by.is_some() || session.tenant_id == tenant.id {
        return Ok(());
    }
    let facts = Facts {
        has_second_factor: session.user.two_factor_enabled || standing.has_passkey,
        // A browser is trusted by the tenant that it was signed in to.
        satisfied: has_two_factors(&session.amr),
        roles: &standing.roles,
        logins_since_enforcement: standing.grace_logins,
        first_required_at: standing.second_factor_required_at,
    };
    if check_second_factor(&policy, facts, context.now)? {
        begin_grace(context, &tenant.id, &standing.user_id);
    }
    Ok(())
}

/// Whether the key of a user who is a member here may be used. A program gives no second factor, so that its user must
/// have one where the tenant asks for it: a key would be a way around for whoever never sets one up.
///
/// # Errors
/// 403 `TWO_FACTOR_REQUIRED`.
pub fn check_key_user(context: &Context, found: &store::api_key::PresentedKey, user: &Person) -> Result<()> {
    let has_second_factor = user.two_factor_enabled || found.has_passkey;
    let facts = Facts {
        has_second_factor,
        satisfied: has_second_factor,
        roles: &found.roles,
        logins_since_enforcement: found.grace_logins,
        first_required_at: found.second_factor_required_at,
    };
    if check_second_factor(policy_of_tenant(context)?, facts, context.now)? {
        begin_grace(context, &found.key.tenant_id, &user.id);
    }
    Ok(())
}

/// Whether a user may take their second factor away: not where they would have to set one up again at once.
///
/// # Errors
/// 403 `TWO_FACTOR_REQUIRED`.
pub fn check_factor_removal(context: &Context, session: &LiveSession) -> Result<()> {
    let facts = Facts {
        has_second_factor: false,
        satisfied: false,
        roles: &session.roles,
        logins_since_enforcement: i64::MAX,
        first_required_at: Some(0),
    };
    match policy_of_tenant(context)?.second_factor(&facts, context.now) {
        Requirement::Enrol => {
            Err(Error::refused(Wire::SECOND_FACTOR_REQUIRED, "the tenant asks for what would be taken away"))
        }
        _ => Ok(()),
    }
}

/// Whether the session may be used for what was asked.
///
/// # Errors
/// 403 `TWO_FACTOR_REQUIRED`.
pub fn check_enrolment(context: &Context, session: &LiveSession) -> Result<()> {
    if !session.must_enrol || context.endpoint.is_before_enrolment {
        return Ok(());
    }
    Err(Error::refused(Wire::SECOND_FACTOR_REQUIRED, "the tenant asks for a second factor, and the user has none"))
}
