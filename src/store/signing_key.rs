//! `signing_key`: the tenant's keys, sealed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::id::{Id, Millis, SigningKey, Tenant};
use crate::oauth::jose::Signer;
use crate::secret::Cell;
use crate::store::database::{Statement, sql};

#[derive(Deserialize)]
struct Stored {
    id: Id<SigningKey>,
    private_key_sealed: String,
}

/// How long an isolate keeps a key that it opened, in milliseconds. A retired key stays published for longer.
const KEPT: Millis = 300_000;

type Kept = HashMap<String, (Rc<Signer>, Millis)>;

thread_local! {
    static SIGNERS: RefCell<Kept> = RefCell::new(HashMap::new());
}

const fn cell(id: &str) -> Cell<'_> {
    Cell { table: "signing_key", column: "private_key_sealed", row: id }
}

fn current(tenant: &Id<Tenant>) -> Statement {
    sql("select json_object('id', id, 'private_key_sealed', private_key_sealed) as row
         from signing_key where tenant_id = ?1 and algorithm = ?2 and status = 'current'")
    .bind(tenant)
    .bind(Signer::ALGORITHM)
}

/// The tenant's current key, made if there is none yet. Of two requests that make one, one's is kept, and both use
/// it.
///
/// # Errors
/// If D1 does not answer, or the stored key does not open.
pub async fn signer(context: &Context) -> Result<Rc<Signer>> {
    let tenant = &context.tenant().id;
    let kept = SIGNERS.with_borrow(|signers| signers.get(tenant.as_str()).cloned());
    if let Some((signer, at)) = kept
        && context.now < at + KEPT
    {
        return Ok(signer);
    }
    let db = context.db()?;
    let stored = match db.first::<Stored>(current(tenant)).await? {
        Some(stored) => Some(stored),
        None => db.batch([create(context)?, current(tenant)]).await?.skip(1).row()?,
    };
    let stored = stored.ok_or_else(|| Error::Storage("signing_key: no current key after making one".to_owned()))?;
    let scalar = context
        .config
        .keyring
        .open(cell(stored.id.as_str()), &stored.private_key_sealed)
        .map_err(|_| Error::Internal(format!("signing_key.private_key_sealed of {} does not open", stored.id)))?;
    let signer = Rc::new(Signer::from_stored(stored.id, &scalar)?);
    SIGNERS.with_borrow_mut(|signers| signers.insert(tenant.as_str().to_owned(), (signer.clone(), context.now)));
    Ok(signer)
}

fn create(context: &Context) -> Result<Statement> {
    // One choice in 2^32 is no scalar; a second try settles it.
    let mut made = None;
    for _ in 0..3 {
        made = made.or(Signer::generate(context.id()?, &context.random()?));
    }
    let signer = made.ok_or_else(|| Error::Internal("no scalar in three tries".to_owned()))?;
    let jwk = signer.public_jwk();
    let id = jwk["kid"].as_str().unwrap_or_default().to_owned();
    let sealed = context.config.keyring.seal(cell(&id), signer.scalar().expose(), context.random()?);
    Ok(sql("insert into signing_key (id, tenant_id, algorithm, status, public_jwk, private_key_sealed, activated_at, created_at, updated_at)
            values (?2, ?1, ?3, 'current', ?4, ?5, ?6, ?6, ?6)
            on conflict do nothing")
    .bind(&context.tenant().id)
    .bind(&id)
    .bind(Signer::ALGORITHM)
    .bind(jwk.to_string())
    .bind(sealed)
    .bind(context.now))
}

/// The tenant's published keys, the current one first.
///
/// # Errors
/// If D1 does not answer.
pub async fn published(context: &Context) -> Result<Vec<Value>> {
    // Before the first signature there is nothing to publish; a verifier that asks early gets the key all the same.
    signer(context).await?;
    let statement = sql("select public_jwk as row from signing_key
         where tenant_id = ?1 and (expires_at is null or expires_at > ?2)
         order by status <> 'current', created_at desc limit 20")
    .bind(&context.tenant().id)
    .bind(context.now);
    Ok(context.db()?.batch([statement]).await?.rows()?)
}
