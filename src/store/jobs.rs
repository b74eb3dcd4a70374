//! What cron deletes.

use crate::id::Millis;
use crate::store::database::{Database, Stored, sql};

/// How long what has expired is kept for whoever looks into an incident, in milliseconds: a week.
const GRACE: Millis = 7 * 86_400_000;

/// The most batches of a run.
const MOST_BATCHES: usize = 10;

/// Deletes what has expired. Bounded, so that one run never holds the database for long; the next goes on.
///
/// # Errors
/// If D1 does not answer.
pub async fn prune(db: &Database, now: Millis) -> Stored<()> {
    for _ in 0..MOST_BATCHES {
        if !prune_some(db, now).await? {
            break;
        }
    }
    Ok(())
}

/// Deletes up to a thousand rows of each table; answers whether there may be more.
async fn prune_some(db: &Database, now: Millis) -> Stored<bool> {
    let statements = [
        sql("delete from rate_limit where key in (select key from rate_limit where expires_at < ?1 limit 1000)")
            .bind(now),
        sql("delete from verification where id in (select id from verification where expires_at < ?1 limit 1000)")
            .bind(now - 86_400_000),
        sql("delete from session where id in (select id from session where expires_at < ?1 limit 1000)")
            .bind(now - GRACE),
        sql("delete from password_reset where id in (select id from password_reset where expires_at < ?1 limit 1000)")
            .bind(now - GRACE),
        sql("delete from trusted_device where id in (select id from trusted_device where expires_at < ?1 limit 1000)")
            .bind(now - GRACE),
        // What was delivered, or given up, was written to be sent and not to be kept.
        sql("delete from outbox where id in (select id from outbox where coalesce(delivered_at, failed_at) < ?1 limit 1000)")
            .bind(now - GRACE),
        sql("delete from oauth_grant where id in (select id from oauth_grant where expires_at < ?1 limit 1000)")
            .bind(now - GRACE),
        sql("delete from oauth_token where id in (select id from oauth_token where expires_at < ?1 limit 1000)")
            .bind(now - GRACE),
        sql("delete from signing_key where expires_at < ?1").bind(now - GRACE),
    ];
    let count = statements.len();
    let mut answers = db.batch(statements).await?;
    let mut more = false;
    for _ in 0..count {
        more |= answers.changes()? >= 1000;
    }
    Ok(more)
}
