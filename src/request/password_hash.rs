//! Passwords hashed and compared, by Argon2id or, on the free plan, by WebCrypto and a pepper.

use crate::credentials::password;
use crate::credentials::password::{ARGON2ID, Password};
use crate::credentials::stored::{Peppered, Preferred, StoredHash};
use crate::platform::config::PasswordHashing;
use crate::platform::error::Result;
use crate::platform::secret::{Purpose, Secret};
use crate::platform::webcrypto;
use crate::request::context::Context;

/// The most that the runtime's PBKDF2 does. It is too few to stand alone: a dump is worth nothing without the pepper.
const ITERATIONS: u32 = 100_000;

/// How a comparison went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Whether the password is the one hashed.
    pub is_right: bool,
    /// Whether a right one should be hashed anew: it came from elsewhere, or from another setting.
    pub needs_upgrade: bool,
}

/// Compares a password with a stored hash. Without one the same work is done in vain.
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) for a row that cannot be.
pub async fn verify_password(
    context: &Context,
    password: &Password,
    stored: Option<&Secret<String>>,
) -> Result<Compared> {
    let preferred = match context.config.password_hashing {
        PasswordHashing::Argon2id => ARGON2ID,
        PasswordHashing::Pbkdf2 => Preferred::Peppered { iterations: ITERATIONS },
    };
    let nobody = stored.is_none();
    let read = match (nobody, context.config.password_hashing) {
        (true, PasswordHashing::Pbkdf2) => StoredHash::Peppered(Peppered {
            iterations: ITERATIONS,
            key_id: context.config.keyring.key_id().to_owned(),
            salt: [0; 16],
            hash: [0; 32],
        }),
        _ => password::read(stored)?,
    };
    let mut needs_upgrade = read.needs_upgrade(preferred);
    let is_right = match &read {
        StoredHash::Peppered(peppered) => {
            needs_upgrade |= peppered.key_id != context.config.keyring.key_id();
            let computed = webcrypto::pbkdf2(password.bytes(), &peppered.salt, peppered.iterations).await?;
            let computed = context.config.keyring.sign_with(&peppered.key_id, Purpose::Pepper, &computed);
            if computed.is_none() {
                context.note(&format!("a password's pepper {} is gone from SECRETS", peppered.key_id));
            }
            computed.is_some_and(|computed| peppered.matches(&computed))
        }
        other => password::verify(password, other)?,
    };
    Ok(Compared { is_right: is_right && !nobody, needs_upgrade })
}

/// Hashes a new password.
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) if the platform has no randomness or refuses.
pub async fn hash_password(context: &Context, password: &Password) -> Result<Secret<String>> {
    let salt: [u8; 16] = context.random()?;
    if context.config.password_hashing == PasswordHashing::Argon2id {
        return password::hash(password, salt);
    }
    let key_id = context.config.keyring.key_id().to_owned();
    let computed = webcrypto::pbkdf2(password.bytes(), &salt, ITERATIONS).await?;
    let hash = context.config.keyring.sign_with(&key_id, Purpose::Pepper, &computed).unwrap_or(computed);
    Ok(Peppered { iterations: ITERATIONS, key_id, salt, hash }.format())
}
