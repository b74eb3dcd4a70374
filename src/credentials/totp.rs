//! Time-based one-time passwords (RFC 6238): SHA-1, six digits, 30 seconds, as every authenticator app reads them.
//!
//! PURE: no I/O, no clock, no randomness.

use base32ct::{Base32Unpadded, Base32UpperUnpadded, Encoding};
use hmac::{Hmac, Mac};
use sha1::Sha1;

use crate::platform::id::Millis;
use crate::platform::secret;

/// Seconds of a time step (RFC 6238, section 4.1).
pub const PERIOD: i64 = 30;

/// Bytes of a seed: as long as SHA-1's output (RFC 4226, section 4, R6).
pub const SEED: usize = 20;

/// The time step of a moment.
#[must_use]
pub const fn step(now: Millis) -> i64 {
    now.div_euclid(PERIOD * 1000)
}

/// HOTP (RFC 4226, section 5.3) of a counter, in `digits` digits.
#[must_use]
pub fn code(seed: &[u8], counter: i64, digits: u32) -> String {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(seed) else {
        return String::new();
    };
    mac.update(&counter.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let offset = usize::from(hash[19] & 0xf);
    let word = u32::from_be_bytes([hash[offset] & 0x7f, hash[offset + 1], hash[offset + 2], hash[offset + 3]]);
    format!("{:0width$}", word % 10_u32.pow(digits), width = digits as usize)
}

/// The step whose code this is: the present one, or one on either side for clocks that differ (RFC 6238, section 6).
/// None at or before `last_used` counts: a code that was seen over somebody's shoulder is worth nothing.
#[must_use]
pub fn matches(seed: &[u8], typed: &str, now: Millis, last_used: i64) -> Option<i64> {
    let typed: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    let at = step(now);
    // All three are computed whatever matches, and compared without leaving early.
    [at, at - 1, at + 1]
        .into_iter()
        .filter(|&step| secret::equal_in_constant_time(&code(seed, step, 6), &typed))
        .find(|&step| step > last_used)
}

/// The URI that an authenticator app reads off a QR code (Key URI Format).
#[must_use]
pub fn uri(seed: &[u8], issuer: &str, account: &str) -> String {
    // A colon separates issuer and account, so neither may bring one of its own.
    let issuer = issuer.replace(':', " ");
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    // By RFC 3986: a `+` for a blank is shown as it stands by many apps.
    let (issuer, seed) = (encode(&issuer), Base32UpperUnpadded::encode_string(seed));
    format!("otpauth://totp/{issuer}:{}?secret={seed}&issuer={issuer}&digits=6&period=30", encode(account))
}

/// A seed as it is typed by hand: lower case reads better.
#[must_use]
pub fn readable(seed: &[u8]) -> String {
    let text = Base32Unpadded::encode_string(seed);
    text.as_bytes().chunks(4).map(|four| String::from_utf8_lossy(four).into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    #[test]
    fn the_vectors_of_rfc_6238_appendix_b() {
        for (seconds, expected) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(code(SECRET, step(seconds * 1000), 8), expected, "{seconds}");
        }
    }

    #[test]
    fn the_vectors_of_rfc_4226_appendix_d() {
        let expected =
            ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
        for (counter, expected) in (0..).zip(expected) {
            assert_eq!(code(SECRET, counter, 6), expected);
        }
    }

    #[test]
    fn one_step_either_way_and_none_twice() {
        let now = 1_234_567_890_000;
        let at = step(now);
        for drift in [-1, 0, 1] {
            let typed = code(SECRET, at + drift, 6);
            assert_eq!(matches(SECRET, &typed, now, 0), Some(at + drift));
            assert_eq!(matches(SECRET, &typed, now, at + drift), None);
            assert_eq!(matches(SECRET, &format!(" {} {}", &typed[..3], &typed[3..]), now, 0), Some(at + drift));
        }
        for drift in [-2, 2] {
            assert_eq!(matches(SECRET, &code(SECRET, at + drift, 6), now, 0), None);
        }
        for bad in ["", "1", "00000a", "0000000", "１２３４５６"] {
            assert_eq!(matches(SECRET, bad, now, 0), None, "{bad}");
        }
    }

    #[test]
    fn the_uri_escapes_what_would_break_it() {
        let uri = uri(b"Hello!\xde\xad\xbe\xef", "A:c & Co", "a+b@x.co");
        assert_eq!(
            uri,
            "otpauth://totp/A%20c%20%26%20Co:a%2Bb%40x%2Eco?secret=JBSWY3DPEHPK3PXP&issuer=A%20c%20%26%20Co&digits=6&period=30"
        );
        assert_eq!(readable(b"Hello!\xde\xad\xbe\xef"), "jbsw y3dp ehpk 3pxp");
    }
}
