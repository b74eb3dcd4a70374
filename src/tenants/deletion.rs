//! Deletes tenants whose grace period is over: their rows, and the live copies of their sessions. Audit stays.

use worker::Env;

use crate::platform::d1::{Database, Statement, Stored};
use crate::platform::id::{Id, Millis};
use crate::platform::log::note;
use crate::platform::secret::{SessionToken, TokenHash};
use crate::session;
use crate::tenants::store;
use crate::tenants::store::jobs::{
    SLICE, USERS, audit_deletion, delete_tenant, due_tenants, empty_people, empty_tenant, forget_tenant, is_there,
    live_sessions, of_binding,
};
use crate::tenants::store::tenancy::TenantRecord;

/// The most tenants of a run.
const MOST: i64 = 5;

/// The most slices of a tenant in a run.
const MOST_SLICES: usize = 40;

/// Deletes what is due, each as far as a run may go. One that fails is due again in the next run, and keeps no other from it.
///
/// # Errors
/// If D1 does not answer at all.
pub async fn delete_due_tenants((env, db): (&Env, &Database), now: Millis) -> Stored<()> {
    let due: Vec<String> = db.batch([due_tenants(now, MOST)]).await?.rows()?;
    for tenant in due {
        if let Err(error) = delete_one((env, db), &tenant, now).await {
            note("cron", &format!("tenant {tenant}: {error:?}"));
        }
    }
    Ok(())
}

/// KV first, since afterwards nobody knows the names of the copies; then what there is much of, in slices, and then the people;
/// then the tenant, and what little still hangs on it.
async fn delete_one((env, db): (&Env, &Database), tenant: &str, now: Millis) -> Stored<()> {
    let hashes: Vec<String> = db.batch([live_sessions(tenant, now)]).await?.rows()?;
    for hash in hashes {
        // A copy that stays behind is worth nothing: D1 knows no such session at the next recheck.
        let _ = session::store::kv::delete(env, &TokenHash::<SessionToken>::trusted(hash)).await;
    }
    db.batch([audit_deletion(tenant, now)]).await?;
    let mut has_rows = true;
    for _ in 0..MOST_SLICES {
        if has_rows {
            has_rows = run_slices(db, empty_tenant(tenant, now), SLICE).await?;
        } else if !run_slices(db, empty_people(tenant, now).into(), USERS).await? {
            db.batch([delete_tenant(tenant, now)]).await?;
            return Ok(());
        }
    }
    Ok(())
}

/// Runs slices; answers whether any of them was full, so that there may be more.
async fn run_slices(db: &Database, slices: Vec<Statement>, full: usize) -> Stored<bool> {
    let count = slices.len();
    let mut answers = db.batch(slices).await?;
    let mut is_more = false;
    for _ in 0..count {
        is_more |= answers.changes()? >= full;
    }
    Ok(is_more)
}

/// Lets the main database show a tenant with a database of its own as it is there: its people change it there.
///
/// # Errors
/// If D1 does not answer.
pub async fn mirror_status(main: &Database, own: &Database, binding: &str) -> Stored<()> {
    let Some(tenant) = main.first::<String>(of_binding(binding)).await? else {
        return Ok(());
    };
    let find = || store::tenancy::find(&Id::trusted(tenant.clone()));
    let (Some(known), Some(mut record)) =
        (main.first::<TenantRecord>(find()).await?, own.first::<TenantRecord>(find()).await?)
    else {
        return Ok(());
    };
    // Somebody suspended or deleted it while its database was out of reach: that holds when it is back.
    if known.status != record.status && known.status_changed_at > record.status_changed_at {
        let answers = own.batch([store::tenancy::copy_status(&known), find()]).await?;
        record = answers.last()?.unwrap_or(record);
    }
    main.batch([store::tenancy::mirror(&record)]).await?;
    Ok(())
}

/// Deletes the main database's row of a tenant that was due, and is gone from the one of its own.
///
/// # Errors
/// If D1 does not answer.
pub async fn follow_deletion(main: &Database, own: &Database, binding: &str, now: Millis) -> Stored<()> {
    let Some(tenant) = main.first::<String>(of_binding(binding)).await? else {
        return Ok(());
    };
    if own.first::<bool>(is_there(&tenant)).await?.is_none() {
        main.batch([forget_tenant(&tenant, now)]).await?;
    }
    Ok(())
}

/// The same of a tenant whose binding is gone: what was there is not ours to reach any more.
///
/// # Errors
/// If D1 does not answer.
pub async fn forget_unbound(main: &Database, binding: &str, now: Millis) -> Stored<()> {
    if let Some(tenant) = main.first::<String>(of_binding(binding)).await? {
        main.batch([forget_tenant(&tenant, now)]).await?;
    }
    Ok(())
}
