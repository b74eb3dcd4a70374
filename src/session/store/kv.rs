//! KV: the live copies of sessions. Eventually consistent, so nothing stands here that may not be a minute stale,
//! and whatever fails here is asked of D1 instead.

use std::cell::RefCell;

use worker::{Env, KvStore};

use crate::platform::config::Config;
use crate::platform::id::Millis;
use crate::platform::secret::{SessionToken, TokenHash};
use crate::session::live_session::LiveSession;

/// The binding.
const BINDING: &str = "SESSIONS";

/// KV keeps nothing for less, in seconds.
const SHORTEST_TTL: u64 = 60;

fn key(hash: &TokenHash<SessionToken>) -> String {
    format!("session:{}", hash.as_str())
}

thread_local! {
    /// Bindings outlive requests; looking one up takes several calls into JavaScript.
    static OPENED: RefCell<Option<KvStore>> = const { RefCell::new(None) };
}

fn open(env: &Env) -> Result<KvStore, String> {
    if let Some(store) = OPENED.with_borrow(Clone::clone) {
        return Ok(store);
    }
    let store = env.kv(BINDING).map_err(|error| error.to_string())?;
    OPENED.with_borrow_mut(|opened| *opened = Some(store.clone()));
    Ok(store)
}

/// The live copy of a session.
///
/// # Errors
/// What KV said. The caller logs it and asks D1.
pub async fn get(env: &Env, hash: &TokenHash<SessionToken>) -> Result<Option<LiveSession>, String> {
    let text = open(env)?.get(&key(hash)).text().await.map_err(|error| error.to_string())?;
    // A copy that an older release wrote in another shape is as good as none.
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Keeps a copy until the session ends, or no longer than it is worth reading.
///
/// # Errors
/// What KV said.
pub async fn put(
    env: &Env,
    config: &Config,
    hash: &TokenHash<SessionToken>,
    session: &LiveSession,
    now: Millis,
) -> Result<(), String> {
    let text = serde_json::to_string(session).map_err(|error| error.to_string())?;
    let seconds = u64::try_from((session.good_until(config) - now) / 1000).unwrap_or(0);
    open(env)?
        .put(&key(hash), text)
        .map_err(|error| error.to_string())?
        .expiration_ttl(seconds.max(SHORTEST_TTL))
        .execute()
        .await
        .map_err(|error| error.to_string())
}

/// Forgets a session.
///
/// # Errors
/// What KV said.
pub async fn delete(env: &Env, hash: &TokenHash<SessionToken>) -> Result<(), String> {
    open(env)?.delete(&key(hash)).await.map_err(|error| error.to_string())
}
