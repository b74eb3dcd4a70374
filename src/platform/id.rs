//! Typed identifiers: an `Id<User>` is never given where an `Id<Tenant>` is meant.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Unix time in milliseconds, as every `_at` column holds it.
pub type Millis = i64;

/// A UUID naming a row of the table that `T` stands for.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id<T> {
    text: String,
    #[serde(skip)]
    of: PhantomData<T>,
}

/// Marker: `tenant`.
pub enum Tenant {}

/// Marker: `user`.
pub enum User {}

/// Marker: `member`.
pub enum Member {}

/// Marker: `role`.
pub enum Role {}

/// Marker: `user_group`.
pub enum Group {}

/// Marker: `invitation`.
pub enum Invitation {}

/// Marker: `api_key`.
pub enum ApiKey {}

/// Marker: `account`.
pub enum Account {}

/// Marker: `session`.
pub enum Session {}

/// Marker: `issuer`.
pub enum Issuer {}

/// Marker: `proxied_app`.
pub enum App {}

/// Marker: `oauth_client`.
pub enum OauthClient {}

/// Marker: `passkey`.
pub enum Passkey {}

/// Marker: `signing_key`.
pub enum SigningKey {}

impl<T> Id<T> {
    /// A `UUIDv7` (RFC 9562, section 5.7) of this moment, from ten random bytes.
    #[must_use]
    pub fn new(now: Millis, random: [u8; 10]) -> Self {
        let millis = u64::try_from(now).unwrap_or(0);
        let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        Self::trusted(uuid.hyphenated().to_string())
    }

    /// An id read from the request: `None` unless it has the form of one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let uuid = Uuid::try_parse(text).ok()?;
        Some(Self::trusted(uuid.hyphenated().to_string()))
    }

    /// An id known to be one, because our own database said it.
    #[must_use]
    pub fn trusted(text: String) -> Self {
        Self { text, of: PhantomData }
    }

    /// Its hyphenated lower-case form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        Self::trusted(self.text.clone())
    }
}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<T> Eq for Id<T> {}

impl<T> std::hash::Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_survive_a_round_trip() {
        let early: Id<User> = Id::new(1_000, [9; 10]);
        let late: Id<User> = Id::new(4_102_444_800_000, [0; 10]);
        assert!(early.as_str() < late.as_str());
        assert_eq!(Id::parse(late.as_str()), Some(late));
    }

    #[test]
    fn what_is_no_uuid_is_no_id() {
        for text in ["", "x", "../etc", "00000000-0000-7000-8000-00000000001g"] {
            assert_eq!(Id::<User>::parse(text), None, "{text}");
        }
    }
}
