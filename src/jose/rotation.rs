//! Signing keys rotated: published before they sign, and after they have signed.

use crate::jose::store::{KeyDue, due, make_next, promote};
use crate::platform::config::Config;
use crate::platform::d1::Database;
use crate::platform::error::Result;
use crate::platform::id::Millis;

/// The most keys of a run.
const MOST: i64 = 20;

/// A key is published for a day before it signs: longer than anybody keeps a JWK set without looking again.
const PUBLISHED_BEFORE: Millis = 86_400_000;

/// Makes the next keys where the current one is old enough, and puts those to use that have been published for long
/// enough. Each is one conditional statement: two runs at once rotate once.
///
/// # Errors
/// If D1 does not answer, or there is no key to seal with.
pub async fn rotate_keys(db: &Database, config: &Config, now: Millis) -> Result<()> {
    let old = now - config.signing_key_seconds * 1000;
    let keys: Vec<KeyDue> = db.batch([due(old, MOST)]).await?.rows()?;
    // Whatever it signed has ended when it leaves the set, and so has what was signed by an isolate that still held it.
    let longest = config.access_token_seconds.max(config.token_seconds).max(config.assertion_seconds);
    let published_until = now + longest * 1000 + PUBLISHED_BEFORE;
    for key in &keys {
        let mut statements = Vec::from(promote(key, old, now - PUBLISHED_BEFORE, published_until, now));
        statements.push(make_next(config, key, now).await?);
        db.batch(statements).await?;
    }
    Ok(())
}
