//! What cron does. Each job is bounded and can be repeated: a run that fails is made good by the next.

pub mod keys;
pub mod logout;
pub mod outbox;

use worker::Env;

use crate::context::note;
use crate::handlers::{config, read_clock};
use crate::store::database::Database;
use crate::store::jobs::prune;

/// Runs every job.
pub async fn run(env: &Env) {
    let now = read_clock();
    let pruned = match Database::open(env, Database::BINDING) {
        Ok(db) => prune(&db, now).await,
        Err(error) => Err(error),
    };
    if let Err(error) = pruned {
        note("cron", &format!("prune: {error:?}"));
    }
    match config(env) {
        Ok(config) => {
            if let Err(error) = keys::rotate(env, &config, now).await {
                note("cron", &format!("keys: {error:?}"));
            }
            if let Err(error) = outbox::deliver(env, &config, now).await {
                note("cron", &format!("outbox: {error:?}"));
            }
        }
        Err(error) => note("cron", &error.to_string()),
    }
}
