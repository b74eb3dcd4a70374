//! The access token that a resource request presents (RFC 6750, section 2; RFC 9449, section 7.1).

use crate::request::context::Context;

/// The token of a request's header (section 2.1).
#[must_use]
pub fn read_access_token(context: &Context) -> Option<String> {
    token_of_scheme(context, "Bearer")
}

pub(crate) fn token_of_scheme(context: &Context, wanted: &str) -> Option<String> {
    let header = context.header("Authorization")?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| token.trim().to_owned())
}
