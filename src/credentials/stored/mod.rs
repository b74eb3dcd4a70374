//! Passwords as they are stored, in our own forms and in those that users bring along from elsewhere.
//!
//! | form | written by |
//! |---|---|
//! | `$argon2id$v=19$m=..,t=..,p=..$<salt>$<hash>` | ourselves, and nearly everybody today; also `argon2i` and `v=16` |
//! | `$2b$<cost>$<salt and hash>` | bcrypt, also `2a` and `2y` |
//! | `<salt>:<hash>` | better-auth: scrypt |
//! | `pbkdf2_sha256$<iterations>$<salt>$<hash>` | Django |
//! | `$doorward-pbkdf2$i=..,k=..$<salt>$<hash>` | ourselves, where the CPU time of Argon2 is not to be had |
//!
//! Reading bounds the work: a text that asks for more memory or time than a request has is refused before anything is
//! computed.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64ct::{Base64Bcrypt, Base64Unpadded, Base64UrlUnpadded, Encoding};
use blowfish::Blowfish;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::platform::secret::Secret;

/// The longest text read at all, in bytes: the longest form has fewer than 300.
const LONGEST: usize = 512;

/// Why a stored hash is not one that we can use. It names what is wrong and quotes nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredHashError {
    /// Too long to be a password hash, or in none of the forms above.
    Unknown,
    /// In a form, variant or version that is known and refused.
    Refused(&'static str),
    /// A part is missing, or not written as its form says.
    Malformed(&'static str),
    /// A number is less or more than what is accepted.
    OutOfBounds {
        /// Which number.
        what: &'static str,
        /// The least accepted.
        least: u32,
        /// The most accepted.
        most: u32,
    },
    /// A [`Peppered`] hash was to be verified here: WebCrypto computes it, and the keyring's HMAC with it.
    Elsewhere,
    /// The hasher failed, which it does for no hash that was read.
    Failed(String),
}

impl fmt::Display for StoredHashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not a password hash of a known form"),
            Self::Refused(what) => write!(f, "not accepted: {what}"),
            Self::Malformed(what) => write!(f, "malformed: {what}"),
            Self::OutOfBounds { what, least, most } => write!(f, "{what} is not within {least} to {most}"),
            Self::Elsewhere => f.write_str("a peppered hash is verified with WebCrypto"),
            Self::Failed(text) => write!(f, "the hasher failed: {text}"),
        }
    }
}

impl std::error::Error for StoredHashError {}

type Result<T> = std::result::Result<T, StoredHashError>;

/// What is accepted of a number, and its name in an error.
struct Bounds {
    what: &'static str,
    least: u32,
    most: u32,
}

// 64 MiB of the 128 that an isolate has.
const ARGON2_MEMORY: Bounds = Bounds { what: "argon2: m", least: 8, most: 65_536 };

const ARGON2_PASSES: Bounds = Bounds { what: "argon2: t", least: 1, most: 16 };

const ARGON2_LANES: Bounds = Bounds { what: "argon2: p", least: 1, most: 16 };

const ARGON2_SALT: Bounds = Bounds { what: "argon2: length of the salt", least: 8, most: 64 };

const ARGON2_OUTPUT: Bounds = Bounds { what: "argon2: length of the hash", least: 16, most: 64 };

const BCRYPT_COST: Bounds = Bounds { what: "bcrypt: cost", least: 4, most: 14 };

const SCRYPT_SALT: Bounds = Bounds { what: "scrypt: length of the salt in hex", least: 16, most: 128 };

const DJANGO_ITERATIONS: Bounds = Bounds { what: "pbkdf2_sha256: iterations", least: 1, most: 2_000_000 };

const DJANGO_SALT: Bounds = Bounds { what: "pbkdf2_sha256: length of the salt", least: 1, most: 128 };

// The runtime's PBKDF2 refuses more.
const PEPPERED_ITERATIONS: Bounds = Bounds { what: "doorward-pbkdf2: i", least: 1, most: 100_000 };

const PEPPERED_KEY_ID: Bounds = Bounds { what: "doorward-pbkdf2: length of k", least: 1, most: 32 };

impl Bounds {
    fn check(&self, number: usize) -> Result<u32> {
        u32::try_from(number).ok().filter(|n| (self.least..=self.most).contains(n)).ok_or_else(|| self.error())
    }

    /// A decimal number without sign and leading zeros. Of digits alone, it is out of bounds if it cannot be read.
    fn number(&self, text: &str) -> Result<u32> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits || (text.len() > 1 && text.starts_with('0')) {
            return Err(StoredHashError::Malformed(self.what));
        }
        text.parse().map_err(|_| self.error()).and_then(|number| self.check(number))
    }

    const fn error(&self) -> StoredHashError {
        StoredHashError::OutOfBounds { what: self.what, least: self.least, most: self.most }
    }
}

/// What a hash is to be where it can be chosen: [`StoredHash::needs_upgrade`] compares with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preferred {
    /// Argon2id, version 0x13.
    Argon2id {
        /// Memory in KiB.
        m: u32,
        /// Passes.
        t: u32,
        /// Lanes.
        p: u32,
    },
    /// [`Peppered`].
    Peppered {
        /// Iterations of PBKDF2.
        iterations: u32,
    },
}

/// A password hash that was read and found within bounds.
#[derive(Clone)]
pub enum StoredHash {
    /// Argon2id or Argon2i.
    Argon2(Argon2Hash),
    /// bcrypt.
    Bcrypt(BcryptHash),
    /// scrypt, as better-auth stores it.
    Scrypt(ScryptHash),
    /// PBKDF2 with HMAC-SHA-256, as Django stores it.
    DjangoPbkdf2(DjangoHash),
    /// Our own PBKDF2 under a key of ours.
    Peppered(Peppered),
}

impl StoredHash {
    /// Reads a stored hash. Its form follows from its beginning; nothing is computed.
    ///
    /// # Errors
    /// [`StoredHashError`], which names what is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > LONGEST {
            return Err(StoredHashError::Unknown);
        }
        match text.split_once('$') {
            Some(("", rest)) => Self::parse_crypt(rest),
            Some(("pbkdf2_sha256", rest)) => DjangoHash::parse(rest).map(Self::DjangoPbkdf2),
            Some(_) => Err(StoredHashError::Unknown),
            None => {
                let (salt, hash) = text.split_once(':').ok_or(StoredHashError::Unknown)?;
                ScryptHash::parse(salt, hash).map(Self::Scrypt)
            }
        }
    }

    /// The forms that begin with `$` and their name.
    fn parse_crypt(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once('$').ok_or(StoredHashError::Unknown)?;
        match name {
            "argon2id" => Argon2Hash::parse(Algorithm::Argon2id, rest).map(Self::Argon2),
            "argon2i" => Argon2Hash::parse(Algorithm::Argon2i, rest).map(Self::Argon2),
            "argon2d" => Err(StoredHashError::Refused("argon2d, whose memory accesses tell of the password")),
            "2a" | "2b" | "2y" => BcryptHash::parse(rest).map(Self::Bcrypt),
            "2" | "2x" => Err(StoredHashError::Refused("bcrypt 2 and 2x, which hash otherwise")),
            Peppered::NAME => Peppered::parse(rest).map(Self::Peppered),
            _ => Err(StoredHashError::Unknown),
        }
    }

    /// Whether the password is the one hashed. Compares in constant time.
    ///
    /// The bytes are hashed as they are: better-auth and we hash a password in NFKC, others mostly as it was typed.
    ///
    /// # Errors
    /// [`StoredHashError::Elsewhere`] for [`Self::Peppered`]; [`StoredHashError::Failed`] if the hasher does.
    pub fn verify(&self, password: &[u8]) -> Result<bool> {
        match self {
            Self::Argon2(hash) => hash.verify(password),
            Self::Bcrypt(hash) => Ok(hash.verify(password)),
            Self::Scrypt(hash) => hash.verify(password),
            Self::DjangoPbkdf2(hash) => Ok(hash.verify(password)),
            Self::Peppered(_) => Err(StoredHashError::Elsewhere),
        }
    }

    /// Whether the hash should be replaced at the next sign-in: unless it has the preferred form with at least those
    /// parameters.
    #[must_use]
    pub fn needs_upgrade(&self, preferred: Preferred) -> bool {
        let good = match (self, preferred) {
            (Self::Argon2(Argon2Hash { algorithm, version, params, .. }), Preferred::Argon2id { m, t, p }) => {
                (*algorithm, *version) == (Algorithm::Argon2id, Version::V0x13)
                    && params.m_cost() >= m
                    && params.t_cost() >= t
                    && params.p_cost() >= p
            }
            (Self::Peppered(hash), Preferred::Peppered { iterations }) => hash.iterations >= iterations,
            _ => false,
        };
        !good
    }
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argon2(_) => "Argon2",
            Self::Bcrypt(_) => "Bcrypt",
            Self::Scrypt(_) => "Scrypt",
            Self::DjangoPbkdf2(_) => "DjangoPbkdf2",
            Self::Peppered(_) => "Peppered",
        })
    }
}

/// Argon2 (RFC 9106) in a PHC string.
#[derive(Clone)]
pub struct Argon2Hash {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Argon2Hash {
    fn parse(algorithm: Algorithm, text: &str) -> Result<Self> {
        // Version 0x10 did not write its number.
        let (version, text) = match text.strip_prefix("v=").and_then(|text| text.split_once('$')) {
            None => (Version::V0x10, text),
            Some(("16", text)) => (Version::V0x10, text),
            Some(("19", text)) => (Version::V0x13, text),
            Some(_) => return Err(StoredHashError::Refused("argon2 of a version other than 16 and 19")),
        };
        let [params, salt, hash] = parts(text, '$').ok_or(StoredHashError::Malformed("argon2"))?;
        let [m, t, p] = parts(params, ',').ok_or(StoredHashError::Malformed("argon2: parameters"))?;
        let p = ARGON2_LANES.number(value(p, "p=", "argon2: p")?)?;
        let m = Bounds { least: 8 * p, ..ARGON2_MEMORY }.number(value(m, "m=", "argon2: m")?)?;
        let t = ARGON2_PASSES.number(value(t, "t=", "argon2: t")?)?;
        let salt = Base64Unpadded::decode_vec(salt).map_err(|_| StoredHashError::Malformed("argon2: salt"))?;
        ARGON2_SALT.check(salt.len())?;
        let hash = Base64Unpadded::decode_vec(hash).map_err(|_| StoredHashError::Malformed("argon2: hash"))?;
        ARGON2_OUTPUT.check(hash.len())?;
        let params = Params::new(m, t, p, Some(hash.len())).map_err(failed)?;
        Ok(Self { algorithm, version, params, salt, hash })
    }

    fn verify(&self, password: &[u8]) -> Result<bool> {
        let mut computed = vec![0; self.hash.len()];
        Argon2::new(self.algorithm, self.version, self.params.clone())
            .hash_password_into(password, &self.salt, &mut computed)
            .map_err(failed)?;
        Ok(equal(&computed, &self.hash))
    }
}

/// bcrypt. 2a, 2b and 2y differ only in bugs that no password in UTF-8 of fewer than 255 bytes meets.
#[derive(Clone)]
pub struct BcryptHash {
    cost: u32,
    salt: [u8; 16],
    hash: [u8; 23],
}

impl BcryptHash {
    /// How much of a password bcrypt uses, in bytes.
    const USED: usize = 72;

    /// What bcrypt encrypts: `OrpheanBeholderScryDoubt`.
    const PLAINTEXT: [[u32; 2]; 3] =
        [[0x4f72_7068, 0x6561_6e42], [0x6568_6f6c, 0x6465_7253], [0x6372_7944, 0x6f75_6274]];

    fn parse(text: &str) -> Result<Self> {
        let (cost, rest) = text.split_once('$').ok_or(StoredHashError::Malformed("bcrypt"))?;
        // Two digits, always.
        if cost.len() != 2 {
            return Err(StoredHashError::Malformed(BCRYPT_COST.what));
        }
        let cost = BCRYPT_COST.number(cost.strip_prefix('0').unwrap_or(cost))?;
        let (salt, hash) = rest.split_at_checked(22).ok_or(StoredHashError::Malformed("bcrypt"))?;
        let salt = decode::<Base64Bcrypt, 16>(salt, "bcrypt: salt")?;
        let hash = decode::<Base64Bcrypt, 23>(hash, "bcrypt: hash")?;
        Ok(Self { cost, salt, hash })
    }

    fn verify(&self, password: &[u8]) -> bool {
        // In C a NUL ends the password, elsewhere it does not: a password with one is nobody's.
        if password.contains(&0) {
            return false;
        }
        // Cut to 72 bytes, as everywhere where the hash may come from: a user with a longer password still gets in.
        // The NUL at the end belongs to what is hashed, if there is room for it.
        let key: Vec<u8> = password.iter().copied().chain([0]).take(Self::USED).collect();
        let mut state = Blowfish::bc_init_state();
        state.salted_expand_key(&self.salt, &key);
        for _ in 0..1_u32 << self.cost {
            state.bc_expand_key(&key);
            state.bc_expand_key(&self.salt);
        }
        let mut computed = Vec::with_capacity(24);
        for mut block in Self::PLAINTEXT {
            for _ in 0..64 {
                block = state.bc_encrypt(block);
            }
            computed.extend(block.into_iter().flat_map(u32::to_be_bytes));
        }
        // The last of the 24 bytes is not stored, ever since the first implementation lost it.
        equal(&computed[..23], &self.hash)
    }
}

/// scrypt (RFC 7914) as better-auth stores it, with its parameters.
#[derive(Clone)]
pub struct ScryptHash {
    /// The text: better-auth hashes with the hex digits, not with what they stand for.
    salt: String,
    hash: [u8; 64],
}

impl ScryptHash {
    const LOG_N: u8 = 14;
    const R: u32 = 16;
    const P: u32 = 1;

    fn parse(salt: &str, hash: &str) -> Result<Self> {
        if !salt.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(StoredHashError::Malformed("scrypt: salt"));
        }
        SCRYPT_SALT.check(salt.len())?;
        let mut bytes = [0; 64];
        match base16ct::lower::decode(hash, &mut bytes) {
            Ok(decoded) if decoded.len() == 64 => Ok(Self { salt: salt.to_owned(), hash: bytes }),
            _ => Err(StoredHashError::Malformed("scrypt: hash")),
        }
    }

    fn verify(&self, password: &[u8]) -> Result<bool> {
        let mut computed = [0; 64];
        let params = scrypt::Params::new(Self::LOG_N, Self::R, Self::P, computed.len()).map_err(failed)?;
        scrypt::scrypt(password, self.salt.as_bytes(), &params, &mut computed).map_err(failed)?;
        Ok(equal(&computed, &self.hash))
    }
}

/// PBKDF2 with HMAC-SHA-256 (RFC 8018) as Django stores it.
#[derive(Clone)]
pub struct DjangoHash {
    iterations: u32,
    salt: String,
    hash: [u8; 32],
}

impl DjangoHash {
    fn parse(text: &str) -> Result<Self> {
        let [iterations, salt, hash] = parts(text, '$').ok_or(StoredHashError::Malformed("pbkdf2_sha256"))?;
        let iterations = DJANGO_ITERATIONS.number(iterations)?;
        DJANGO_SALT.check(salt.len())?;
        // 32 bytes have one character of padding. Without it, one decoder fewer is compiled.
        let hash = hash.strip_suffix('=').ok_or(StoredHashError::Malformed("pbkdf2_sha256: hash"))?;
        let hash = decode::<Base64Unpadded, 32>(hash, "pbkdf2_sha256: hash")?;
        Ok(Self { iterations, salt: salt.to_owned(), hash })
    }

    fn verify(&self, password: &[u8]) -> bool {
        let computed: [u8; 32] =
            pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, self.salt.as_bytes(), self.iterations);
        equal(&computed, &self.hash)
    }
}

/// Our own PBKDF2 with HMAC-SHA-256, and over its outcome an HMAC with a key that is not in the database: who has only
/// the database has nothing to guess with. It is computed elsewhere, by the runtime.
#[derive(Clone)]
pub struct Peppered {
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// Which key.
    pub key_id: String,
    /// Salt.
    pub salt: [u8; 16],
    /// What was computed when the password was set.
    pub hash: [u8; 32],
}

impl Peppered {
    const NAME: &str = "doorward-pbkdf2";

    fn parse(text: &str) -> Result<Self> {
        let [params, salt, hash] = parts(text, '$').ok_or(StoredHashError::Malformed("doorward-pbkdf2"))?;
        let [i, k] = parts(params, ',').ok_or(StoredHashError::Malformed("doorward-pbkdf2: parameters"))?;
        let iterations = PEPPERED_ITERATIONS.number(value(i, "i=", "doorward-pbkdf2: i")?)?;
        let key_id = value(k, "k=", "doorward-pbkdf2: k")?;
        PEPPERED_KEY_ID.check(key_id.len())?;
        if !key_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(StoredHashError::Malformed("doorward-pbkdf2: k"));
        }
        let salt = decode::<Base64UrlUnpadded, 16>(salt, "doorward-pbkdf2: salt")?;
        let hash = decode::<Base64UrlUnpadded, 32>(hash, "doorward-pbkdf2: hash")?;
        Ok(Self { iterations, key_id: key_id.to_owned(), salt, hash })
    }

    /// The text that [`StoredHash::parse`] reads.
    #[must_use]
    pub fn format(&self) -> Secret<String> {
        let Self { iterations, key_id, salt, hash } = self;
        let (salt, hash) = (Base64UrlUnpadded::encode_string(salt), Base64UrlUnpadded::encode_string(hash));
        Secret::new(format!("${}$i={iterations},k={key_id}${salt}${hash}", Self::NAME))
    }

    /// Whether this is what was computed of the right password. Compares in constant time.
    #[must_use]
    pub fn matches(&self, computed: &[u8; 32]) -> bool {
        equal(computed, &self.hash)
    }
}

impl fmt::Debug for Peppered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iterations, key_id, .. } = self;
        write!(f, "Peppered {{ iterations: {iterations}, key_id: {key_id:?}, .. }}")
    }
}

/// Whether two hashes are equal, in time that does not depend on where they differ.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Exactly `N` parts.
fn parts<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    text.split(separator).collect::<Vec<_>>().try_into().ok()
}

/// What follows the `name=` of a parameter.
fn value<'a>(text: &'a str, name: &str, what: &'static str) -> Result<&'a str> {
    text.strip_prefix(name).ok_or(StoredHashError::Malformed(what))
}

/// Exactly `N` bytes in an encoding, written the one way there is.
fn decode<E: Encoding, const N: usize>(text: &str, what: &'static str) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    match E::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == N => Ok(bytes),
        _ => Err(StoredHashError::Malformed(what)),
    }
}

fn failed(error: impl fmt::Display) -> StoredHashError {
    StoredHashError::Failed(error.to_string())
}

#[cfg(test)]
mod tests;
