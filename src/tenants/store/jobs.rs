//! What cron deletes.

use crate::platform::d1::{Database, Statement, Stored};
use crate::platform::id::Millis;
use crate::platform::sql::sql;

/// How long what has expired is kept for whoever looks into an incident, in milliseconds: a week.
const GRACE: Millis = 7 * 86_400_000;

/// How long users may read what they were told, in milliseconds: ninety days.
const NOTIFICATIONS: Millis = 90 * 86_400_000;

/// How long what anybody may begin is kept after it ran out, in milliseconds: ten minutes, for a user who comes a little late to
/// be told so.
const LATE: Millis = 600_000;

/// How long a mail is kept that was delivered, in milliseconds: a day.
const DELIVERED: Millis = 86_400_000;

/// The most rows that a statement deletes.
const MOST_ROWS: usize = 1000;

/// The most batches of a run: a hundred thousand rows of a table, every five minutes.
const MOST_BATCHES: usize = 100;

/// How long things are kept that settings say.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Deleted users and groups, in milliseconds.
    pub users: Millis,
    /// The history of sign-ins; 0: for ever.
    pub history: Millis,
    /// The audit; 0: for ever.
    pub audit: Millis,
}

/// Deletes what has expired, until there is no more of it. Bounded, so that one run never holds the database for long; the
/// next goes on.
///
/// # Errors
/// If D1 does not answer.
pub async fn prune(db: &Database, kept: Retention, now: Millis) -> Stored<()> {
    let mut due: Vec<usize> = (0..expired(kept, now).len()).collect();
    for _ in 0..MOST_BATCHES {
        let mut at = 0..;
        let statements = expired(kept, now).into_iter().filter(|_| at.next().is_some_and(|at| due.contains(&at)));
        let mut answers = db.batch(statements).await?;
        // Where a statement found fewer than it may delete there is no more.
        let mut more = Vec::new();
        for at in due {
            if answers.changes()? >= MOST_ROWS {
                more.push(at);
            }
        }
        if more.is_empty() {
            break;
        }
        due = more;
    }
    Ok(())
}

/// The statements that delete, each of them up to a thousand rows.
fn expired(kept: Retention, now: Millis) -> Vec<Statement> {
    // What is kept for ever is older than nothing.
    let since = |kept: Millis| if kept == 0 { 0 } else { now - kept };
    vec![
        sql!(
            "delete from rate_limit where key in (select key from rate_limit where expires_at < :now limit 1000)",
            now
        ),
        sql!(
            "delete from verification where id in (select id from verification where expires_at < :expires_at limit 1000)",
            expires_at = now - LATE
        ),
        sql!(
            "delete from oauth_grant where id in (select id from oauth_grant where kind <> 'code' and expires_at < :expires_at limit 1000)",
            expires_at = now - LATE
        ),
        sql!(
            "delete from session where id in (select id from session where expires_at < :expires_at limit 1000)",
            expires_at = now - GRACE
        ),
        sql!(
            "delete from password_reset where id in (select id from password_reset where expires_at < :expires_at limit 1000)",
            expires_at = now - GRACE
        ),
        sql!(
            "delete from trusted_device where id in (select id from trusted_device where expires_at < :expires_at limit 1000)",
            expires_at = now - GRACE
        ),
        // What was delivered, or given up, was written to be sent and not to be kept.
        sql!(
            "delete from outbox where id in (select id from outbox where delivered_at < :delivered_at and delivered_at is not null limit 1000)",
            delivered_at = now - DELIVERED
        ),
        sql!(
            "delete from outbox where id in (select id from outbox where coalesce(delivered_at, failed_at) < :ended_before limit 1000)",
            ended_before = now - GRACE
        ),
        // What nothing has sent a week after it was due, nothing sends.
        sql!(
            "delete from outbox where id in (select id from outbox
                                             where next_attempt_at < :next_attempt_at and delivered_at is null and failed_at is null
                                               and attempts > 0 and created_at < :next_attempt_at limit 1000)",
            next_attempt_at = now - GRACE
        ),
        sql!(
            "delete from oauth_grant where id in (select id from oauth_grant where expires_at < :expires_at limit 1000)",
            expires_at = now - GRACE
        ),
        sql!(
            "delete from oauth_token where id in (select id from oauth_token where expires_at < :expires_at limit 1000)",
            expires_at = now - GRACE
        ),
        sql!("delete from signing_key where expires_at < :expires_at", expires_at = now - GRACE),
        // What was softly deleted is kept for so long, for whoever must say what became of it.
        sql!(
            "delete from user where id in (select id from user where deleted_at < :deleted_at limit 1000)",
            deleted_at = now - kept.users
        ),
        sql!(
            "delete from user_group where id in (select id from user_group where deleted_at < :deleted_at limit 1000)",
            deleted_at = now - kept.users
        ),
        sql!(
            "update invitation set status = 'expired', updated_at = :now
             where id in (select id from invitation where status = 'pending' and expires_at < :now limit 1000)",
            now
        ),
        sql!(
            "delete from notification where id in (select id from notification where created_at < :created_at limit 1000)",
            created_at = now - NOTIFICATIONS
        ),
        sql!(
            "delete from api_key where id in (select id from api_key where expires_at < :expires_at limit 1000)",
            expires_at = now - GRACE
        ),
        sql!(
            "delete from login_history where id in (select id from login_history where created_at < :created_at limit 1000)",
            created_at = since(kept.history)
        ),
        sql!(
            "delete from audit_event where id in (select id from audit_event where created_at < :created_at limit 1000)",
            created_at = since(kept.audit)
        ),
    ]
}

/// The bindings of the databases that tenants have of their own.
///
/// # Errors
/// If D1 does not answer.
pub async fn bindings(main: &Database) -> Stored<Vec<String>> {
    let statement = sql!(
        "select json_quote(database) as row from tenant indexed by tenant_database where database is not null limit 1000",
    );
    main.batch([statement]).await?.rows()
}

/// The tenant whose data is behind a binding.
#[must_use]
pub fn of_binding(binding: &str) -> Statement {
    sql!("select json_quote(id) as row from tenant where database = :binding", binding)
}

/// Whether a tenant is in a database.
#[must_use]
pub fn is_there(tenant: &str) -> Statement {
    sql!("select 'true' as row from tenant where id = :tenant", tenant)
}

/// Deletes the row by which the main database knew of a tenant with one of its own, if it knows that its time was over: a
/// binding that leads to an empty database by mistake is no deletion.
#[must_use]
pub fn forget_tenant(tenant: &str, now: Millis) -> Statement {
    sql!(
        "delete from tenant where id = :tenant and database is not null and slug <> 'default'
           and status = 'pending_deletion' and deletion_scheduled_at <= :now",
        tenant,
        now
    )
}

/// Tenants whose grace period is over, in no order: one that cannot be deleted keeps no other from it. Of one with a
/// database of its own the main one has no more than the row that leads there, which goes last.
#[must_use]
pub fn due_tenants(now: Millis, most: i64) -> Statement {
    sql!(
        "select json_quote(id) as row from tenant
         where status = 'pending_deletion' and deletion_scheduled_at is not null and deletion_scheduled_at <= :now and database is null
         order by random() limit :most",
        now,
        most
    )
}

/// The hashes of sessions of a tenant's that may have live copies: as many as a run may take out of KV.
#[must_use]
pub fn live_sessions(tenant: &str, now: Millis) -> Statement {
    sql!(
        "select json_quote(token_hash) as row from session
         where tenant_id = :tenant and revoked_at is null and expires_at > :now limit 200",
        tenant,
        now
    )
}

/// The most rows of a table that go at once with a tenant.
pub const SLICE: usize = 1000;

/// The most users that go at once: with each goes what is theirs alone.
pub const USERS: usize = 100;

/// A slice of a table, of a tenant that is due.
macro_rules! slice {
    ($begin:literal, $table:literal, $limit:literal, $tenant:ident, $now:ident) => {
        sql!(
            concat!(
            $begin,
            " where rowid in (select rowid from ",
            $table,
            " where tenant_id = :tenant limit ",
            $limit,
            ") and exists (select 1 from tenant where id = :tenant and status = 'pending_deletion' and deletion_scheduled_at <= :now)"
        ),
            tenant = $tenant,
            now = $now
        )
    };
}

/// Deletes a slice of each table that may have many rows of a tenant's that is due. To delete them all with the tenant, in
/// one statement, would take longer than D1 lets it. The audit stays: what it was about stays in its details, as where the
/// trigger `tenant_deleted` says it.
#[must_use]
pub fn empty_tenant(tenant: &str, now: Millis) -> Vec<Statement> {
    vec![
        slice!("delete from session", "session", "1000", tenant, now),
        slice!("delete from oauth_token", "oauth_token", "1000", tenant, now),
        slice!("delete from oauth_grant", "oauth_grant", "1000", tenant, now),
        slice!("delete from oauth_consent", "oauth_consent", "1000", tenant, now),
        slice!("delete from login_history", "login_history", "1000", tenant, now),
        slice!("delete from notification", "notification", "1000", tenant, now),
        slice!("delete from outbox", "outbox", "1000", tenant, now),
        slice!("delete from verification", "verification", "1000", tenant, now),
        slice!("delete from password_reset", "password_reset", "1000", tenant, now),
        slice!("delete from api_key", "api_key", "1000", tenant, now),
        slice!("delete from invitation", "invitation", "1000", tenant, now),
        slice!("delete from account", "account", "1000", tenant, now),
        slice!(
            "update audit_event set tenant_id = null,
               details = json_set(iif(json_type(details) = 'object', details, '{}'), '$.tenant',
                                  (select json_object('id', id, 'slug', slug) from tenant where id = :tenant))",
            "audit_event",
            "1000",
            tenant,
            now
        ),
    ]
}

/// The same of its members and users, once little hangs on them.
#[must_use]
pub fn empty_people(tenant: &str, now: Millis) -> [Statement; 2] {
    [slice!("delete from member", "member", "100", tenant, now), slice!("delete from user", "user", "100", tenant, now)]
}

/// Says in the audit, once, that a tenant is deleted: while who asked for it is still known.
#[must_use]
pub fn audit_deletion(tenant: &str, now: Millis) -> Statement {
    sql!(
        "insert into audit_event (id, actor_id, event, severity, details, created_at)
         select lower(hex(randomblob(16))), status_changed_by, 'tenant.deleted', 'high',
                json_object('tenant', json_object('id', id, 'slug', slug), 'slug', slug, 'reason', status_reason,
                            'requested_at', deletion_requested_at), :now
         from tenant where id = :tenant and status = 'pending_deletion' and deletion_scheduled_at <= :now
           and not exists (select 1 from audit_event where event = 'tenant.deleted' and details ->> '$.tenant.id' = :tenant)",
        tenant,
        now
    )
}

/// Deletes a tenant that is due, and what hangs on it. One that was restored meanwhile stays.
#[must_use]
pub fn delete_tenant(tenant: &str, now: Millis) -> Statement {
    sql!(
        "delete from tenant where id = :tenant and status = 'pending_deletion' and deletion_scheduled_at <= :now and slug <> 'default'",
        tenant,
        now
    )
}
