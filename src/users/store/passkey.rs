//! `passkey`: credentials of Web Authentication.

use serde::Deserialize;
use serde_json::json;

use crate::credentials::webauthn::NewCredential;
use crate::platform::d1::Statement;
use crate::platform::id::{Id, Millis, Passkey, User};
use crate::platform::sql::sql;
use crate::request::context::Context;

/// A passkey, as its owner sees it.
#[derive(Debug, Deserialize)]
pub struct ListedPasskey {
    /// Id.
    pub id: Id<Passkey>,
    /// Whose.
    pub user_id: Id<User>,
    /// The credential's id in base64url.
    pub credential_id: String,
    /// `COSE_Key` in base64url.
    pub public_key: String,
    /// Signature counter.
    pub counter: u32,
    /// How it can be reached.
    pub transports: Vec<String>,
    /// `singleDevice` or `multiDevice`.
    pub device_type: String,
    /// Whether it is backed up.
    pub backed_up: bool,
    /// The authenticator's make.
    pub aaguid: String,
    /// What its owner calls it.
    pub name: Option<String>,
    /// Last use.
    pub last_used_at: Option<Millis>,
    /// Registration.
    pub created_at: Millis,
}

/// `json_object` of a [`ListedPasskey`].
macro_rules! listed_json {
    () => {
        "json_object('id', p.id, 'user_id', p.user_id, 'credential_id', p.credential_id, 'public_key', p.public_key,
            'counter', p.counter, 'transports', json(p.transports), 'device_type', p.device_type,
            'backed_up', json(iif(p.backed_up, 'true', 'false')), 'aaguid', p.aaguid, 'name', p.name,
            'last_used_at', p.last_used_at, 'created_at', p.created_at)"
    };
}

/// The select of a [`ListedPasskey`], for what follows `from`.
macro_rules! listed {
    ($source:literal) => {
        concat!("select ", listed_json!(), " as row from ", $source)
    };
}

/// A user's passkeys, the oldest first.
#[must_use]
pub fn of_user(context: &Context, user: &Id<User>) -> Statement {
    sql!(
        listed!(
            "passkey p join user u on u.id = p.user_id
         where (u.tenant_id is null or u.tenant_id = :tenant) and p.user_id = :user order by p.created_at, p.id"
        ),
        tenant = &context.tenant().id,
        user
    )
}

/// A passkey of a user, by its id.
#[must_use]
pub fn one(context: &Context, user: &Id<User>, id: &Id<Passkey>) -> Statement {
    sql!(
        listed!(
            "passkey p join user u on u.id = p.user_id
         where (u.tenant_id is null or u.tenant_id = :tenant) and p.user_id = :user and p.id = :id"
        ),
        tenant = &context.tenant().id,
        user,
        id
    )
}

/// A credential that somebody answers with, and its owner.
#[derive(Debug, Deserialize)]
pub struct PresentedPasskey {
    /// The passkey.
    pub passkey: ListedPasskey,
    /// The RP ID that it was made for.
    pub rp_id: String,
    /// Whether it verified its user when it was made.
    pub uv_initialized: bool,
    /// `user.status`.
    pub status: String,
    /// `user.suspended_until`.
    pub suspended_until: Option<Millis>,
}

/// A credential by its own id, of the tenant's pool: another tenant's users are nobody here.
#[must_use]
pub fn presented(context: &Context, credential_id: &str) -> Statement {
    sql!(
        concat!(
            "select json_object('rp_id', p.rp_id, 'uv_initialized', json(iif(p.uv_initialized, 'true', 'false')),
                'status', u.status, 'suspended_until', u.suspended_until, 'passkey', ",
            listed_json!(),
            ") as row
         from passkey p join user u on u.id = p.user_id
         where p.credential_id = :credential_id and u.tenant_id is :pool and u.deleted_at is null"
        ),
        pool = context.tenant().pool(),
        credential_id
    )
}

/// A passkey to be kept.
pub struct NewPasskey<'a> {
    /// Id.
    pub id: &'a Id<Passkey>,
    /// Whose.
    pub user_id: &'a Id<User>,
    /// RP ID.
    pub rp_id: &'a str,
    /// The credential's id in base64url.
    pub credential_id: &'a str,
    /// `COSE_Key` in base64url.
    pub public_key: &'a str,
    /// The authenticator's make, as a UUID.
    pub aaguid: &'a str,
    /// What its owner calls it.
    pub name: Option<&'a str>,
    /// The rest.
    pub credential: &'a NewCredential,
}

/// Keeps a passkey. A credential id that anybody has is a conflict (`WebAuthn` Level 3, section 7.1, step 26).
#[must_use]
pub fn keep(context: &Context, new: &NewPasskey<'_>) -> Statement {
    sql!(
        "insert into passkey (id, user_id, rp_id, credential_id, public_key, counter, transports, device_type, backed_up, aaguid,
                              name, uv_initialized, created_at, updated_at)
         values (:id, :user_id, :rp_id, :credential_id, :public_key, :counter, :transports, :device_type, :backed_up, :aaguid, :name, :user_verified, :now, :now)",
        id = new.id,
        user_id = new.user_id,
        rp_id = new.rp_id,
        credential_id = new.credential_id,
        public_key = new.public_key,
        counter = Millis::from(new.credential.counter),
        transports = json!(new.credential.transports).to_string(),
        device_type = if new.credential.backup_eligible { "multiDevice" } else { "singleDevice" },
        backed_up = new.credential.backed_up,
        aaguid = new.aaguid,
        name = new.name,
        now = context.now,
        user_verified = new.credential.user_verified
    )
}

/// Notes a use (section 7.2, step 24), if the counter still goes forward by it: of two keys that count alike, one does.
#[must_use]
pub fn used(context: &Context, id: &Id<Passkey>, counter: u32, backed_up: bool) -> Statement {
    sql!(
        "update passkey set counter = :counter, backed_up = :backed_up, last_used_at = :now, updated_at = :now
         where id = :id and (counter < :counter or (counter = 0 and :counter = 0))",
        id,
        counter = Millis::from(counter),
        backed_up,
        now = context.now
    )
}

/// Names a passkey; answers whether it is theirs.
#[must_use]
pub fn rename(context: &Context, user: &Id<User>, id: &Id<Passkey>, name: &str) -> Statement {
    sql!(
        "update passkey set name = :name, updated_at = :now where user_id = :user and id = :id returning json_quote(id) as row",
        user,
        id,
        name,
        now = context.now
    )
}

/// Deletes a passkey, if it is theirs.
#[must_use]
pub fn delete(user: &Id<User>, id: &Id<Passkey>) -> Statement {
    sql!("delete from passkey where user_id = :user and id = :id", user, id)
}
