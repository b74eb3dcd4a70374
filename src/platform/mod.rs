//! What all rooms stand on: configuration, errors, ids, secrets, WebCrypto, D1, clock, randomness, time.

pub mod algorithm;
pub mod clock;
pub mod config;
pub mod d1;
pub mod error;
pub mod id;
pub mod log;
pub mod origin;
pub mod outbound_url;
pub mod problem;
pub mod random;
pub mod redirect_uri;
pub mod secret;
pub mod sql;
pub mod time;
pub mod trusted_origins;
pub mod unicode;
pub mod webcrypto;
