//! How well a user proved who they are: `acr` (OpenID Connect Core 1.0, section 2).
//!
//! PURE: no I/O, no clock, no randomness.

/// Phishing-resistant (OpenID Connect Extended Authentication Profile ACR Values 1.0, section 2): a passkey.
pub const PHISHING_RESISTANT: &str = "phr";

/// More than one factor (OpenID Provider Authentication Policy Extension 1.0, section 4).
pub const MULTI_FACTOR: &str = "http://schemas.openid.net/pape/policies/2007/06/multi-factor";

/// The values that we know, the strongest first.
pub const VALUES: [&str; 2] = [PHISHING_RESISTANT, MULTI_FACTOR];

/// The values that a sign-in by these methods (RFC 8176) is worth, the strongest first.
pub fn met(amr: &[String]) -> impl Iterator<Item = &'static str> {
    let has = |method: &str| amr.iter().any(|known| known == method);
    let (proves_possession, is_two) = (has("pop"), has("mfa"));
    VALUES.into_iter().filter(move |value| if *value == PHISHING_RESISTANT { proves_possession } else { is_two })
}

/// `acr` of a sign-in: the first of the wanted values that it is worth, or else the strongest.
#[must_use]
pub fn acr(amr: &[String], wanted: &[String]) -> Option<&'static str> {
    let wanted = wanted.iter().find_map(|value| met(amr).find(|met| met == value));
    wanted.or_else(|| met(amr).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_sign_ins() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (amr, wanted, expected) in [
            (&["pwd"][..], &[][..], None),
            (&["pwd"], &[MULTI_FACTOR], None),
            (&["pwd", "otp", "mfa"], &[], Some(MULTI_FACTOR)),
            (&["pwd", "otp", "mfa"], &[PHISHING_RESISTANT], Some(MULTI_FACTOR)),
            (&["pop", "user"], &[], Some(PHISHING_RESISTANT)),
            (&["pop", "user"], &[MULTI_FACTOR], Some(PHISHING_RESISTANT)),
            (&["pop", "user", "mfa"], &[], Some(PHISHING_RESISTANT)),
            (&["pop", "user", "mfa"], &["made up", MULTI_FACTOR], Some(MULTI_FACTOR)),
        ] {
            assert_eq!(acr(&texts(amr), &texts(wanted)), expected, "{amr:?} {wanted:?}");
        }
    }
}
