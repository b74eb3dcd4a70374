//! JWK sets of others, fetched and kept for a while by the isolate.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::jose::jws::KeySet;
use crate::platform::id::Millis;
use crate::request::context::Context;
use crate::request::fetch;

/// A JWK set, when it was fetched, and when it last was because a key was missing in it.
#[derive(Clone)]
struct KeptKeySet {
    set: Rc<KeySet>,
    fetched_at: Millis,
    missed_at: Option<Millis>,
}

thread_local! {
    static KEY_SETS: RefCell<HashMap<String, KeptKeySet>> = RefCell::new(HashMap::new());
}

/// The most JWK sets an isolate keeps.
const MOST_KEPT: usize = 200;

/// How soon a set may be fetched again because a key is not in it, in milliseconds: tokens with made-up key ids must
/// not turn us into a load on the issuer.
const REFETCH: Millis = 10_000;

/// An issuer's JWK set; with `missed_key`, one in which a key was just missed.
///
/// # Errors
/// What went wrong.
pub async fn load_key_set(context: &Context, jwks_uri: &str, missed_key: bool) -> Result<Rc<KeySet>, String> {
    let kept = KEY_SETS.with_borrow(|sets| sets.get(jwks_uri).cloned());
    if let Some(kept) = &kept {
        let is_fresh = context.now < kept.fetched_at + context.config.discovery_seconds * 1000;
        let was_missed = kept.missed_at.is_some_and(|at| context.now < at + REFETCH);
        if is_fresh && (!missed_key || was_missed) {
            return Ok(kept.set.clone());
        }
    }
    if missed_key {
        // Before the answer is there, and whatever it is: of many with made-up key ids at once, one asks.
        KEY_SETS.with_borrow_mut(|sets| {
            if let Some(kept) = sets.get_mut(jwks_uri) {
                kept.missed_at = Some(context.now);
            }
        });
    }
    let set = Rc::new(KeySet::read(&fetch::fetch_document(context, jwks_uri).await?)?);
    let missed_at = if missed_key { Some(context.now) } else { kept.and_then(|kept| kept.missed_at) };
    KEY_SETS.with_borrow_mut(|sets| {
        if sets.len() >= MOST_KEPT {
            sets.clear();
        }
        sets.insert(jwks_uri.to_owned(), KeptKeySet { set: set.clone(), fetched_at: context.now, missed_at });
    });
    Ok(set)
}
