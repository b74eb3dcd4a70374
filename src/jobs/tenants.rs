//! Deletes tenants whose grace period is over: their rows, and the live copies of their sessions. Audit stays.

use worker::Env;

use crate::id::Millis;
use crate::secret::{SessionToken, TokenHash};
use crate::store::database::{Database, Stored};
use crate::store::jobs::{audit_deletion, delete_tenant, due_tenants, is_there, live_sessions, of_binding};
use crate::store::kv;

/// The most tenants of a run.
const MOST: i64 = 5;

/// Deletes what is due. The rows go in one statement each, by what hangs on them; KV first, since afterwards nobody knows
/// the names of the copies.
///
/// # Errors
/// If D1 does not answer. What is left is due again in the next run.
pub async fn delete_due((env, db): (&Env, &Database), now: Millis) -> Stored<()> {
    let due: Vec<String> = db.batch([due_tenants(now, MOST)]).await?.rows()?;
    for tenant in due {
        let hashes: Vec<String> = db.batch([live_sessions(&tenant, now)]).await?.rows()?;
        for hash in hashes {
            // A copy that stays behind is worth nothing: D1 knows no such session at the next recheck.
            let _ = kv::delete(env, &TokenHash::<SessionToken>::trusted(hash)).await;
        }
        db.batch([audit_deletion(&tenant, now), delete_tenant(&tenant, now)]).await?;
    }
    Ok(())
}

/// Deletes the main database's row of a tenant that is gone from the one of its own.
///
/// # Errors
/// If D1 does not answer.
pub async fn follow(main: &Database, own: &Database, binding: &str) -> Stored<()> {
    let Some(tenant) = main.first::<String>(of_binding(binding)).await? else {
        return Ok(());
    };
    if own.first::<bool>(is_there(&tenant)).await?.is_none() {
        main.batch([crate::store::jobs::forget_tenant(&tenant)]).await?;
    }
    Ok(())
}
