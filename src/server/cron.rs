//! What cron does. Each job is bounded and can be repeated: a run that fails is made good by the next.

use worker::Env;

use crate::jose::rotation;
use crate::platform::clock::read_clock;
use crate::platform::config::Config;
use crate::platform::d1::{Database, Stored};
use crate::platform::id::Millis;
use crate::platform::log::note;
use crate::provider::logout_delivery;
use crate::records::deliver;
use crate::request::context::SendLogout;
use crate::request::settings::load_config;
use crate::server::reseal::Rotation;
use crate::tenants::deletion;
use crate::tenants::store::jobs::{Retention, bindings, prune};

/// How a logout token is sent: the outbox knows when, and the provider knows what.
pub const SEND_LOGOUT: SendLogout =
    |env, db, config, id, now| Box::pin(logout_delivery::send_logout_token(env, db, config, id, now));

/// What the settings say of how long things are kept.
const fn kept(config: &Config) -> Retention {
    Retention {
        users: config.user_retention_seconds * 1000,
        history: config.history_seconds * 1000,
        audit: config.audit_seconds * 1000,
    }
}

/// Runs every job, in the main database and in those that tenants have of their own.
pub async fn run_jobs(env: &Env) {
    let now = read_clock();
    let config = match load_config(env) {
        Ok(config) => config,
        Err(error) => return note("cron", &error.to_string()),
    };
    let main = match Database::open(env, Database::BINDING) {
        Ok(db) => db,
        Err(error) => return note("cron", &format!("{error:?}")),
    };
    let mut rotation = Rotation::new(&config);
    match bindings(&main).await {
        Ok(bindings) => {
            for binding in bindings {
                if let Err(error) = run_tenant_jobs(env, &main, &binding, (&config, &mut rotation), now).await {
                    rotation.is_complete = false;
                    note("cron", &format!("{binding}: {error:?}"));
                }
            }
        }
        Err(error) => {
            rotation.is_complete = false;
            note("cron", &format!("databases of tenants: {error:?}"));
        }
    }
    run_database_jobs((env, &main), (&config, &mut rotation), now).await;
    rotation.report(&config);
}

/// The jobs of a database that a tenant has of its own. What the main one shows of the tenant comes first: it would not know
/// that its time was over once it is gone.
async fn run_tenant_jobs(
    env: &Env,
    main: &Database,
    binding: &str,
    (config, rotation): (&Config, &mut Rotation),
    now: Millis,
) -> Stored<()> {
    let own = match Database::open(env, binding) {
        Ok(own) => own,
        Err(error) => {
            deletion::forget_unbound(main, binding, now).await?;
            return Err(error);
        }
    };
    if let Err(error) = deletion::mirror_status(main, &own, binding).await {
        note("cron", &format!("{binding}: {error:?}"));
    }
    run_database_jobs((env, &own), (config, rotation), now).await;
    deletion::follow_deletion(main, &own, binding, now).await
}

async fn run_database_jobs((env, db): (&Env, &Database), (config, rotation): (&Config, &mut Rotation), now: Millis) {
    if let Err(error) = deletion::delete_due_tenants((env, db), now).await {
        note("cron", &format!("tenants: {error:?}"));
    }
    if let Err(error) = prune(db, kept(config), now).await {
        note("cron", &format!("prune: {error:?}"));
    }
    if let Err(error) = rotation::rotate_keys(db, config, now).await {
        note("cron", &format!("keys: {error:?}"));
    }
    if let Err(error) = rotation.carry_through(db, config, now).await {
        rotation.is_complete = false;
        note("cron", &format!("secrets: {error:?}"));
    }
    if let Err(error) = deliver::deliver_due((env, db), config, SEND_LOGOUT, now).await {
        note("cron", &format!("outbox: {error:?}"));
    }
}
