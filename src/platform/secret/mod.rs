//! Secrets: values that never print, one-time tokens that are stored only as hashes, and the keyring that
//! signs, verifies and seals with keys derived from the Worker's own secrets.

mod kinds;

use std::fmt;
use std::marker::PhantomData;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64ct::{Base64UrlUnpadded, Encoding};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
pub use kinds::*;
use sha2::{Digest, Sha256};

type HmacSha256 = Hmac<Sha256>;

/// A value that neither `Debug` nor a log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value in the clear. Every use of this is worth a reviewer's look.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{}>", std::any::type_name::<T>())
    }
}

/// 256 random bits in base64url, handed out once.
pub struct Token<K> {
    text: String,
    kind: PhantomData<K>,
}

impl<K: TokenKind> Token<K> {
    /// Length of the text: 32 bytes in base64url without padding.
    pub const LENGTH: usize = 43;

    /// A new token from 32 random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self { text: Base64UrlUnpadded::encode_string(&random), kind: PhantomData }
    }

    /// A token as the request carries it: `None` unless it has the form of one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed =
            text.len() == Self::LENGTH && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        well_formed.then(|| Self { text: text.to_owned(), kind: PhantomData })
    }

    /// A token that follows from another text, which is random and secret.
    #[must_use]
    pub fn derived(text: &str) -> Self {
        Self::new(Sha256::digest(text.as_bytes()).into())
    }

    /// What the database keeps of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash<K> {
        TokenHash { text: Base64UrlUnpadded::encode_string(&Sha256::digest(self.text.as_bytes())), kind: PhantomData }
    }

    /// The token in the clear, for the one answer that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl<K> fmt::Debug for Token<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token<{}>", std::any::type_name::<K>())
    }
}

/// SHA-256 of a token, in base64url. Enough for 256 random bits: there is nothing to guess.
pub struct TokenHash<K> {
    text: String,
    kind: PhantomData<K>,
}

impl<K: TokenKind> TokenHash<K> {
    /// A hash that our own database or cookie said.
    #[must_use]
    pub fn trusted(text: String) -> Self {
        Self { text, kind: PhantomData }
    }

    /// Its base64url form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<K> Clone for TokenHash<K> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), kind: PhantomData }
    }
}

/// What a signature is for. Each has a key of its own, so that one kind of text never passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The session cookie.
    Session = 0,
    /// The session snapshot cookie.
    Snapshot = 1,
    /// A protected host's request to be signed in to.
    GateRequest = 2,
    /// Digests of addresses and identifiers in `rate_limit`.
    RateLimit = 3,
    /// Digests of short codes, in `verification` and `two_factor`.
    Code = 4,
    /// The pepper of the free plan's password hash.
    Pepper = 5,
    /// The successor of a refresh token.
    Successor = 6,
    /// Nonces of proofs of possession (RFC 9449, section 8).
    DpopNonce = 7,
    /// The cookie of the browser that an account was made in.
    Maker = 8,
}

const PURPOSES: [&str; 9] =
    ["session", "snapshot", "gate-request", "rate-limit", "code", "pepper", "successor", "dpop-nonce", "maker"];

/// The cell that a sealed value belongs to: its associated data, so that a value moved elsewhere does not open.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    /// Table.
    pub table: &'a str,
    /// Column.
    pub column: &'a str,
    /// The row's id.
    pub row: &'a str,
}

impl Cell<'_> {
    fn associated_data(&self) -> Vec<u8> {
        format!("{}\0{}\0{}", self.table, self.column, self.row).into_bytes()
    }
}

/// A sealed value did not open: another key, another cell, or damage.
#[derive(Debug, PartialEq, Eq)]
pub struct CannotOpen;

struct Key {
    id: String,
    signing: [HmacSha256; PURPOSES.len()],
    sealing: Aes256Gcm,
}

/// Keys derived from the Worker's secrets: the first signs and seals, all verify and open.
pub struct Keyring {
    first: Key,
    others: Vec<Key>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")
    }
}

impl Key {
    fn derive(secret: &str) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(b"doorward/1"), secret.as_bytes());
        let derive = |label: &str| {
            let mut key = [0; 32];
            // 32 bytes is one block of output: the only error, "too long", cannot be.
            let _ = hkdf.expand(label.as_bytes(), &mut key);
            key
        };
        Self {
            id: Base64UrlUnpadded::encode_string(&derive("key-id")[..6]),
            signing: PURPOSES.map(|purpose| keyed(&derive(&format!("sign/{purpose}")))),
            sealing: Aes256Gcm::new(&derive("seal").into()),
        }
    }

    fn mac(&self, purpose: Purpose, message: &[u8]) -> HmacSha256 {
        let mut mac = self.signing[purpose as usize].clone();
        mac.update(message);
        mac
    }
}

fn keyed(key: &[u8; 32]) -> HmacSha256 {
    // HMAC fills a key up to its block with zeros (RFC 2104, section 2); done here, no length can be wrong.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    <HmacSha256 as KeyInit>::new(&block.into())
}

impl Keyring {
    /// Shortest secret accepted, in bytes: 32 random bytes in base64 are 43.
    pub const SHORTEST: usize = 32;

    /// The keyring of these secrets; `None` without any, or with one shorter than [`Self::SHORTEST`].
    #[must_use]
    pub fn new(secrets: &[&str]) -> Option<Self> {
        if secrets.iter().any(|secret| secret.len() < Self::SHORTEST) {
            return None;
        }
        let (first, others) = secrets.split_first()?;
        // One that stands there twice is one key.
        let mut known = vec![*first];
        let others = others.iter().filter(|secret| {
            let is_new = !known.contains(secret);
            known.push(secret);
            is_new
        });
        Some(Self { first: Key::derive(first), others: others.map(|secret| Key::derive(secret)).collect() })
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// HMAC-SHA256 of `message`, in base64url.
    #[must_use]
    pub fn sign(&self, purpose: Purpose, message: &[u8]) -> String {
        Base64UrlUnpadded::encode_string(&self.first.mac(purpose, message).finalize().into_bytes())
    }

    /// The [`Self::sign`] of every key, the first one's first: a digest that was kept before a rotation is found too.
    #[must_use]
    pub fn digests(&self, purpose: Purpose, message: &[u8]) -> Vec<String> {
        let digest = |key: &Key| Base64UrlUnpadded::encode_string(&key.mac(purpose, message).finalize().into_bytes());
        self.keys().map(digest).collect()
    }

    /// Names the key that signs and seals now.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.first.id
    }

    /// Names the keys that only verify and open, in the order of `SECRETS`.
    pub fn former_key_ids(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(|key| key.id.as_str())
    }

    /// HMAC-SHA256 of `message` by the key of that id; `None` if it is gone.
    #[must_use]
    pub fn sign_with(&self, key_id: &str, purpose: Purpose, message: &[u8]) -> Option<[u8; 32]> {
        let key = self.keys().find(|key| key.id == key_id)?;
        Some(key.mac(purpose, message).finalize().into_bytes().into())
    }

    /// Whether `signature` is by the key that signs now. Compares in constant time.
    #[must_use]
    pub fn verify_with_first(&self, purpose: Purpose, message: &[u8], signature: &str) -> bool {
        Base64UrlUnpadded::decode_vec(signature)
            .is_ok_and(|tag| self.first.mac(purpose, message).verify_slice(&tag).is_ok())
    }

    /// Whether `signature` is by any of our keys. Compares in constant time.
    #[must_use]
    pub fn verify(&self, purpose: Purpose, message: &[u8], signature: &str) -> bool {
        let Ok(tag) = Base64UrlUnpadded::decode_vec(signature) else {
            return false;
        };
        self.keys().any(|key| key.mac(purpose, message).verify_slice(&tag).is_ok())
    }

    /// `<payload>.<signature>`, both in base64url: readable, not forgeable.
    #[must_use]
    pub fn sign_text(&self, purpose: Purpose, payload: &[u8]) -> String {
        let mut text = Base64UrlUnpadded::encode_string(payload);
        let signature = self.sign(purpose, text.as_bytes());
        text.push('.');
        text.push_str(&signature);
        text
    }

    /// The payload of a text that [`Self::sign_text`] made, if one of our keys did.
    #[must_use]
    pub fn read_text(&self, purpose: Purpose, text: &str) -> Option<Vec<u8>> {
        let (payload, signature) = text.split_once('.')?;
        if !self.verify(purpose, payload.as_bytes(), signature) {
            return None;
        }
        Base64UrlUnpadded::decode_vec(payload).ok()
    }

    /// AES-256-GCM of `plaintext` for one cell: `1.<key id>.<nonce and ciphertext>`. The nonce is 12 random bytes.
    #[must_use]
    pub fn seal(&self, cell: Cell<'_>, plaintext: &[u8], nonce: [u8; 12]) -> String {
        let aad = cell.associated_data();
        let payload = Payload { msg: plaintext, aad: &aad };
        let mut sealed = nonce.to_vec();
        // Fails only past 64 GiB of plaintext; an empty ciphertext then opens as CannotOpen.
        sealed.extend(self.first.sealing.encrypt(&Nonce::from(nonce), payload).unwrap_or_default());
        format!("1.{}.{}", self.first.id, Base64UrlUnpadded::encode_string(&sealed))
    }

    /// Opens what [`Self::seal`] sealed for the same cell.
    ///
    /// # Errors
    /// [`CannotOpen`] if the text is not ours, was sealed for another cell, or its key is gone.
    pub fn open(&self, cell: Cell<'_>, sealed: &str) -> Result<Secret<Vec<u8>>, CannotOpen> {
        let mut parts = sealed.splitn(3, '.');
        let (Some("1"), Some(id), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(CannotOpen);
        };
        let body = Base64UrlUnpadded::decode_vec(body).map_err(|_| CannotOpen)?;
        let (nonce, ciphertext) = body.split_first_chunk::<12>().ok_or(CannotOpen)?;
        let key = self.keys().find(|key| key.id == id).ok_or(CannotOpen)?;
        let aad = cell.associated_data();
        let payload = Payload { msg: ciphertext, aad: &aad };
        key.sealing.decrypt(&Nonce::from(*nonce), payload).map(Secret::new).map_err(|_| CannotOpen)
    }
}

/// SHA-256 in base64url: PKCE's S256 transformation (RFC 7636, section 4.2).
#[must_use]
pub fn sha256_base64url(text: &str) -> String {
    Base64UrlUnpadded::encode_string(&Sha256::digest(text.as_bytes()))
}

/// Whether two secrets are equal, in time that does not depend on where they differ.
#[must_use]
pub fn equal_in_constant_time(a: &str, b: &str) -> bool {
    // Comparing digests leaks nothing usable about either text, whatever their lengths.
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.iter().zip(b.iter()).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn ring(secrets: &[&str]) -> Keyring {
        Keyring::new(secrets).expect("long enough")
    }

    #[test]
    fn short_and_missing_secrets_are_refused() {
        assert!(Keyring::new(&[]).is_none());
        assert!(Keyring::new(&["short"]).is_none());
        assert!(Keyring::new(&[A, "short"]).is_none());
        assert_eq!(ring(&[A, B, A, B]).former_key_ids().count(), 1, "one that stands there twice is one key");
    }

    #[test]
    fn a_signature_holds_for_its_purpose_text_and_keys_only() {
        let old = ring(&[A]);
        let rotated = ring(&[B, A]);
        let text = old.sign_text(Purpose::Snapshot, b"payload");
        assert_eq!(rotated.read_text(Purpose::Snapshot, &text), Some(b"payload".to_vec()));
        assert_eq!(rotated.read_text(Purpose::Session, &text), None);
        assert_eq!(ring(&[B]).read_text(Purpose::Snapshot, &text), None);
        assert_eq!(old.read_text(Purpose::Snapshot, &text.replacen('c', "d", 1)), None);
        assert_eq!(old.read_text(Purpose::Snapshot, &text[..text.len() - 2]), None);
    }

    #[test]
    fn a_sealed_value_opens_in_its_own_cell_only() {
        let cell = Cell { table: "issuer", column: "client_secret_sealed", row: "1" };
        let sealed = ring(&[A]).seal(cell, b"hush", [7; 12]);
        assert!(!sealed.contains("hush"));
        assert_eq!(ring(&[B, A]).open(cell, &sealed).expect("opens").expose(), b"hush");
        assert_eq!(ring(&[B]).open(cell, &sealed), Err(CannotOpen));
        let moved = Cell { row: "2", ..cell };
        assert_eq!(ring(&[A]).open(moved, &sealed), Err(CannotOpen));
        for damaged in ["", "1", "1..", "1.x.y", &sealed[..sealed.len() - 4]] {
            assert_eq!(ring(&[A]).open(cell, damaged), Err(CannotOpen));
        }
    }

    #[test]
    fn a_new_key_does_not_open_what_an_old_one_sealed_without_it() {
        let cell = Cell { table: "t", column: "c", row: "1" };
        let sealed = ring(&[B, A]).seal(cell, b"x", [1; 12]);
        assert_eq!(ring(&[A]).open(cell, &sealed), Err(CannotOpen));
    }

    #[test]
    fn tokens_have_one_form_and_do_not_print() {
        let token: Token<SessionToken> = Token::new([255; 32]);
        assert_eq!(token.expose().len(), Token::<SessionToken>::LENGTH);
        assert!(Token::<SessionToken>::parse(token.expose()).is_some());
        assert!(!format!("{token:?}").contains(token.expose()));
        assert!(Token::<SessionToken>::parse("short").is_none());
        assert!(Token::<SessionToken>::parse(&"=".repeat(43)).is_none());
        assert_eq!(format!("{:?}", Secret::new("x")), "Secret<&str>");
    }

    #[test]
    fn pkce_s256_of_rfc_7636_appendix_b() {
        assert_eq!(
            sha256_base64url("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
