//! `signing_key`: the tenant's keys, sealed.

use std::cell::RefCell;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::jose::signature::{Unsigned, public_jwk};
use crate::platform::algorithm::SigningAlgorithm;
use crate::platform::config::Config;
use crate::platform::d1::{Database, Statement};
use crate::platform::error::{Error, Result};
use crate::platform::id::{Id, Millis, SigningKey, Tenant};
use crate::platform::log::note;
use crate::platform::random::random;
use crate::platform::secret::{Cell, Secret};
use crate::platform::sql::sql;
use crate::platform::webcrypto;
use crate::platform::webcrypto::SigningHandle;
use crate::request::context::Context;

#[derive(Deserialize)]
struct Stored {
    id: Id<SigningKey>,
    private_key_sealed: String,
}

/// The tenant's current key, ready to sign.
#[derive(Clone)]
pub struct Signer {
    id: Id<SigningKey>,
    algorithm: SigningAlgorithm,
    key: SigningHandle,
}

impl Signer {
    /// A JWT of these claims, which live for `seconds`.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::platform::error::Error::Internal) if the claims are no object, or the runtime refuses.
    pub async fn sign(&self, claims: Value, now: Millis, seconds: i64) -> Result<String> {
        self.sign_as("JWT", claims, now, seconds).await
    }

    /// The same of a type of its own (RFC 8725, section 3.11).
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub async fn sign_as(&self, kind: &str, claims: Value, now: Millis, seconds: i64) -> Result<String> {
        let Value::Object(claims) = claims else {
            return Err(Error::Internal("claims that are no object".to_owned()));
        };
        self.finish(Unsigned::new((self.id.as_str(), self.algorithm), kind, claims, now, seconds)).await
    }

    /// A JWT of these claims and no others.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub async fn sign_claims(&self, kind: &str, claims: Map<String, Value>) -> Result<String> {
        self.finish(Unsigned::of((self.id.as_str(), self.algorithm), kind, claims)).await
    }

    async fn finish(&self, unsigned: Unsigned) -> Result<String> {
        let signature = webcrypto::sign(&self.key, unsigned.signing_input()).await?;
        Ok(unsigned.signed(&signature))
    }
}

/// How long an isolate keeps a key that it opened, in milliseconds. A retired key stays published for longer.
const KEPT: Millis = 300_000;

type KeptSigner = HashMap<(String, SigningAlgorithm), (Signer, Millis)>;

thread_local! {
    static SIGNERS: RefCell<KeptSigner> = RefCell::new(HashMap::new());
}

const fn cell(id: &str) -> Cell<'_> {
    Cell { table: "signing_key", column: "private_key_sealed", row: id }
}

fn current(tenant: &Id<Tenant>, algorithm: SigningAlgorithm) -> Statement {
    sql!(
        "select json_object('id', id, 'private_key_sealed', private_key_sealed) as row
         from signing_key where tenant_id = :tenant and algorithm = :algorithm and status = 'current'",
        tenant,
        algorithm = algorithm.as_str()
    )
}

/// The key that the tenant signs with unless a client wants another algorithm.
///
/// # Errors
/// As [`signer_for`].
pub async fn signer(context: &Context) -> Result<Signer> {
    signer_for(context, SigningAlgorithm::default()).await
}

/// The tenant's current key of an algorithm.
///
/// # Errors
/// As [`signer_of`].
pub async fn signer_for(context: &Context, algorithm: SigningAlgorithm) -> Result<Signer> {
    signer_of((context.db()?, &context.config), &context.tenant().id, algorithm, context.now).await
}

/// A tenant's current key, made if there is none yet. Of two requests that make one, one's is kept, and both use it.
///
/// # Errors
/// If D1 does not answer, or the stored key does not open.
pub async fn signer_of(
    (db, config): (&Database, &Config),
    tenant: &Id<Tenant>,
    algorithm: SigningAlgorithm,
    now: Millis,
) -> Result<Signer> {
    let name = (tenant.as_str().to_owned(), algorithm);
    let kept = SIGNERS.with_borrow(|signers| signers.get(&name).cloned());
    if let Some((signer, at)) = kept
        && now < at + KEPT
    {
        return Ok(signer);
    }
    let mut stored: Option<Stored> = db.first(current(tenant, algorithm)).await?;
    let mut jwk = stored.as_ref().and_then(|stored| open(config, stored));
    if jwk.is_none() {
        // None yet, or one that was sealed with a secret that is gone. What it signed still verifies.
        let lost = stored.map(|stored| stored.id);
        let create = insert(config, tenant, (algorithm, "current"), now).await?;
        let statements = [retire(tenant, lost.as_ref(), now), create, current(tenant, algorithm)];
        stored = db.batch(statements).await?.skip(2).row()?;
        jwk = stored.as_ref().and_then(|stored| open(config, stored));
        if let Some(lost) = lost {
            note("keys", &format!("signing_key {lost} does not open with any of SECRETS, and is retired"));
        }
    }
    let (Some(stored), Some(jwk)) = (stored, jwk) else {
        return Err(Error::Internal("signing_key: the key just made is not there, or does not open".to_owned()));
    };
    let signer = Signer { id: stored.id, algorithm, key: webcrypto::import(algorithm, &jwk).await? };
    SIGNERS.with_borrow_mut(|signers| signers.insert(name, (signer.clone(), now)));
    Ok(signer)
}

fn open(config: &Config, stored: &Stored) -> Option<Secret<Value>> {
    let opened = config.keyring.open(cell(stored.id.as_str()), &stored.private_key_sealed).ok()?;
    serde_json::from_slice(opened.expose()).ok().map(Secret::new)
}

/// Retires a key: it signs no more, and stays published for a day, longer than anything that it signed lives.
fn retire(tenant: &Id<Tenant>, id: Option<&Id<SigningKey>>, now: Millis) -> Statement {
    sql!(
        "update signing_key set status = 'retired', retired_at = :now, expires_at = :expires_at, updated_at = :now
         where tenant_id = :tenant and id = :id and status = 'current'",
        tenant,
        id,
        now,
        expires_at = now + 86_400_000
    )
}

async fn insert(
    config: &Config,
    tenant: &Id<Tenant>,
    (algorithm, status): (SigningAlgorithm, &'static str),
    now: Millis,
) -> Result<Statement> {
    let id: Id<SigningKey> = Id::new(now, random()?);
    let private = webcrypto::generate(algorithm).await?;
    let public = public_jwk(&id, algorithm, private.expose())
        .ok_or_else(|| Error::Internal("WebCrypto made a key of another kind".to_owned()))?;
    let text = private.expose().to_string();
    let sealed = config.keyring.seal(cell(id.as_str()), text.as_bytes(), random()?);
    Ok(sql!(
        "insert into signing_key (id, tenant_id, algorithm, status, public_jwk, private_key_sealed, activated_at, created_at, updated_at)
            values (:id, :tenant, :algorithm, :status, :public, :sealed, iif(:status = 'current', :now, null), :now, :now)
            on conflict do nothing",
        tenant,
        id = &id,
        algorithm = algorithm.as_str(),
        status,
        public = public.to_string(),
        sealed,
        now
    ))
}

/// A key that has signed for long enough.
#[derive(Debug, Deserialize)]
pub struct KeyDue {
    /// Whose.
    pub tenant_id: Id<Tenant>,
    /// Which.
    pub algorithm: SigningAlgorithm,
}

/// Keys that have signed since before `old`.
#[must_use]
pub fn due(old: Millis, most: i64) -> Statement {
    sql!(
        "select json_object('tenant_id', tenant_id, 'algorithm', algorithm) as row
         from signing_key where status = 'current' and activated_at < :old limit :most",
        old,
        most
    )
}

/// Makes the key that a tenant signs with next, if it has none.
///
/// # Errors
/// If the runtime refuses.
pub async fn make_next(config: &Config, due: &KeyDue, now: Millis) -> Result<Statement> {
    insert(config, &due.tenant_id, (due.algorithm, "next"), now).await
}

/// Puts the next key in the place of the current one, if it has been published since before `published`, and the current one
/// has signed since before `old`.
#[must_use]
pub fn promote(due: &KeyDue, old: Millis, published: Millis, until: Millis, now: Millis) -> [Statement; 2] {
    [
        sql!(
            "update signing_key set status = 'retired', retired_at = :now, expires_at = :until, updated_at = :now
             where tenant_id = :tenant_id and algorithm = :algorithm and status = 'current' and activated_at < :old
               and exists (select 1 from signing_key next
                           where next.tenant_id = :tenant_id and next.algorithm = signing_key.algorithm and next.status = 'next'
                             and next.created_at < :published)",
            tenant_id = &due.tenant_id,
            old,
            published,
            until,
            now,
            algorithm = due.algorithm.as_str()
        ),
        sql!(
            "update signing_key set status = 'current', activated_at = :now, updated_at = :now
             where tenant_id = :tenant_id and algorithm = :algorithm and status = 'next' and changes() = 1",
            tenant_id = &due.tenant_id,
            now,
            algorithm = due.algorithm.as_str()
        ),
    ]
}

/// The tenant's published keys, the current one first.
///
/// # Errors
/// If D1 does not answer.
pub async fn published(context: &Context) -> Result<Vec<Value>> {
    // Before the first signature there is nothing to publish; a verifier that asks early gets the key all the same.
    signer(context).await?;
    let statement = sql!(
        "select public_jwk as row from signing_key
         where tenant_id = :tenant and (expires_at is null or expires_at > :now)
         order by status <> 'current', created_at desc limit 20",
        tenant = &context.tenant().id,
        now = context.now
    );
    Ok(context.db()?.batch([statement]).await?.rows()?)
}
