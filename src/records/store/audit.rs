//! Statements that record what happened, to go into the batch of what they record.

use serde_json::Value;

use crate::platform::d1::{Statement, sql};
use crate::platform::id::{Id, Millis, Session, Tenant, User};
use crate::request::context::Context;

/// How serious an audit event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Everyday.
    Low,
    /// Worth a look in a review.
    Medium,
    /// Worth a look today.
    High,
}

impl Severity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// An attempt to sign in.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// Who; none if nobody was found.
    pub user_id: Option<&'a Id<User>>,
    /// The session that it opened.
    pub session_id: Option<&'a Id<Session>>,
    /// Why it failed; none if it did not.
    pub failure: Option<&'a str>,
    /// `password`, an issuer's name …
    pub method: &'a str,
}

/// A row of `login_history`. A success that opened no session after all is none.
#[must_use]
pub fn login(context: &Context, id: &str, attempt: Attempt<'_>) -> Statement {
    let client = context.client();
    sql("insert into login_history
           (id, tenant_id, user_id, session_id, status, failure_reason, login_method, ip_address, user_agent, location, created_at)
         select ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
         where ?4 is null or exists (select 1 from session where id = ?4)")
    .bind(id)
    .bind(&context.tenant().id)
    .bind(attempt.user_id)
    .bind(attempt.session_id)
    .bind(if attempt.failure.is_some() { "failed" } else { "success" })
    .bind(attempt.failure)
    .bind(attempt.method)
    .bind(&client.ip)
    .bind(&client.user_agent)
    .bind(client.location.as_ref())
    .bind(context.now)
}

/// A row of `audit_event` about a user.
#[must_use]
pub fn audit(
    context: &Context,
    id: &str,
    user_id: Option<&Id<User>>,
    event: &str,
    severity: Severity,
    details: &Value,
) -> Statement {
    let client = context.client();
    sql("insert into audit_event
           (id, tenant_id, user_id, subject, event, severity, details, ip_address, user_agent, request_id, created_at)
         values (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")
    .bind(id)
    .bind(&context.tenant().id)
    .bind(user_id)
    .bind(event)
    .bind(severity.as_str())
    .bind(details.to_string())
    .bind(&client.ip)
    .bind(&client.user_agent)
    .bind(context.request_id())
    .bind(context.now)
}

/// A row of `audit_event` about a new user, if they have this address: of two who make a user of one guest, one did.
#[must_use]
pub fn created(context: &Context, id: &str, user_id: &Id<User>, email: &str, details: &Value) -> Statement {
    let client = context.client();
    sql("insert into audit_event
           (id, tenant_id, user_id, subject, event, severity, details, ip_address, user_agent, request_id, created_at)
         select ?1, ?2, id, id, 'user.created', 'low', ?5, ?6, ?7, ?8, ?9 from user where id = ?3 and email = ?4")
    .bind(id)
    .bind(&context.tenant().id)
    .bind(user_id)
    .bind(email)
    .bind(details.to_string())
    .bind(&client.ip)
    .bind(&client.user_agent)
    .bind(context.request_id())
    .bind(context.now)
}

/// A row of `audit_event`, if the failure just counted has locked the account.
#[must_use]
pub fn locked(context: &Context, id: &str, user_id: &Id<User>) -> Statement {
    let client = context.client();
    sql("insert into audit_event
           (id, tenant_id, user_id, subject, event, severity, details, ip_address, user_agent, request_id, created_at)
         select ?2, ?1, id, id, 'account.locked', 'medium',
                json_object('failures', failed_login_count, 'locked_until', locked_until), ?5, ?6, ?7, ?8
         from user where id = ?3 and locked_until > ?8 and failed_login_count % cast(?4 as integer) = 0")
    .bind(&context.tenant().id)
    .bind(id)
    .bind(user_id)
    .bind(context.config.lockout_failures)
    .bind(&client.ip)
    .bind(&client.user_agent)
    .bind(context.request_id())
    .bind(context.now)
}

/// Notes that a session is in use.
#[must_use]
pub fn activity(tenant: &Id<Tenant>, session: &Id<Session>, now: Millis) -> Statement {
    sql("update session set last_activity_at = ?3, request_count = request_count + 1 where tenant_id = ?1 and id = ?2")
        .bind(tenant)
        .bind(session)
        .bind(now)
}
