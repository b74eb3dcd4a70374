//! Audit events about what the user of a session did in a tenant.

use serde_json::Value;

use crate::platform::d1::Statement;
use crate::platform::error;
use crate::platform::id::{Id, Tenant, User};
use crate::platform::sql::sql;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::live_session::LiveSession;

/// Something done in a tenant.
pub struct Deed<'a> {
    /// What.
    pub event: &'a str,
    /// How serious.
    pub severity: Severity,
    /// To whom, where that is a user.
    pub subject: Option<&'a Id<User>>,
    /// More about it.
    pub details: Value,
}

/// A row of `audit_event` about what a session's user did in a tenant. Behind an impersonation stands its administrator.
///
/// # Errors
/// If the platform has no randomness.
pub fn deed(
    context: &Context,
    tenant: &Id<Tenant>,
    session: &LiveSession,
    deed: &Deed<'_>,
) -> error::Result<Statement> {
    let client = context.client();
    let mut details = if deed.details.is_object() { deed.details.clone() } else { serde_json::json!({}) };
    if session.impersonated_by.is_some() {
        details["as"] = serde_json::json!(session.user.id);
    }
    Ok(sql!(
        "insert into audit_event
           (id, tenant_id, user_id, subject, actor_id, event, severity, details, ip_address, user_agent, request_id, created_at)
         values (:id, (select id from tenant where id = :tenant), :subject, :subject, :impersonated_by, :event, :severity, :details, :ip, :user_agent, :request_id, :now)",
        tenant,
        id = context.row_id()?,
        subject = deed.subject,
        impersonated_by = session.impersonated_by.as_ref().unwrap_or(&session.user.id),
        event = deed.event,
        severity = deed.severity.as_str(),
        details = details.to_string(),
        ip = &client.ip,
        user_agent = &client.user_agent,
        request_id = context.request_id(),
        now = context.now
    ))
}
