//! Randomness, from WebCrypto.

use crate::platform::error::{Error, Result};

/// Random bytes, from WebCrypto.
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) if the platform has none.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::getrandom(&mut bytes).map_err(|error| Error::Internal(format!("no randomness: {error}")))?;
    Ok(bytes)
}
