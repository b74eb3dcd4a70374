//! Statements that record what happened, to go into the batch of what they record.

use serde_json::Value;

use crate::platform::d1::Statement;
use crate::platform::id::{Id, Millis, Session, Tenant, User};
use crate::platform::sql::sql;
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
    sql!(
        "insert into login_history
           (id, tenant_id, user_id, session_id, status, failure_reason, login_method, ip_address, user_agent, location, created_at)
         select :id, :tenant, :user_id, :session_id, :status, :failure, :method, :ip, :user_agent, :location, :now
         where :session_id is null or exists (select 1 from session where id = :session_id)",
        id,
        tenant = &context.tenant().id,
        user_id = attempt.user_id,
        session_id = attempt.session_id,
        status = if attempt.failure.is_some() { "failed" } else { "success" },
        failure = attempt.failure,
        method = attempt.method,
        ip = &client.ip,
        user_agent = &client.user_agent,
        location = client.location.as_ref(),
        now = context.now
    )
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
    sql!(
        "insert into audit_event
           (id, tenant_id, user_id, subject, event, severity, details, ip_address, user_agent, request_id, created_at)
         values (:id, :tenant, :user_id, :user_id, :event, :severity, :details, :ip, :user_agent, :request_id, :now)",
        id,
        tenant = &context.tenant().id,
        user_id,
        event,
        severity = severity.as_str(),
        details = details.to_string(),
        ip = &client.ip,
        user_agent = &client.user_agent,
        request_id = context.request_id(),
        now = context.now
    )
}

/// A row of `audit_event` about a new user, if they have this address: of two who make a user of one guest, one did.
#[must_use]
pub fn created(context: &Context, id: &str, user_id: &Id<User>, email: &str, details: &Value) -> Statement {
    let client = context.client();
    sql!(
        "insert into audit_event
           (id, tenant_id, user_id, subject, event, severity, details, ip_address, user_agent, request_id, created_at)
         select :id, :tenant, id, id, 'user.created', 'low', :details, :ip, :user_agent, :request_id, :now from user where id = :user_id and email = :email",
        id,
        tenant = &context.tenant().id,
        user_id,
        email,
        details = details.to_string(),
        ip = &client.ip,
        user_agent = &client.user_agent,
        request_id = context.request_id(),
        now = context.now
    )
}

/// A row of `audit_event`, if the failure just counted has locked the account.
#[must_use]
pub fn locked(context: &Context, id: &str, user_id: &Id<User>) -> Statement {
    let client = context.client();
    sql!(
        "insert into audit_event
           (id, tenant_id, user_id, subject, event, severity, details, ip_address, user_agent, request_id, created_at)
         select :id, :tenant, id, id, 'account.locked', 'medium',
                json_object('failures', failed_login_count, 'locked_until', locked_until), :ip, :user_agent, :request_id, :now
         from user where id = :user_id and locked_until > :now and failed_login_count % cast(:lockout_failures as integer) = 0",
        tenant = &context.tenant().id,
        id,
        user_id,
        lockout_failures = context.config.lockout_failures,
        ip = &client.ip,
        user_agent = &client.user_agent,
        request_id = context.request_id(),
        now = context.now
    )
}

/// Notes that a session is in use.
#[must_use]
pub fn activity(tenant: &Id<Tenant>, session: &Id<Session>, now: Millis) -> Statement {
    sql!(
        "update session set last_activity_at = :now, request_count = request_count + 1 where tenant_id = :tenant and id = :session",
        tenant,
        session,
        now
    )
}
