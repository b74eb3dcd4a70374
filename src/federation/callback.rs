//! The authorization response (RFC 6749, section 4.1.2; RFC 9207).
//!
//! PURE: no I/O, no clock, no randomness.

use std::fmt;

use serde_json::Value;

use crate::federation::request::Flow;
use crate::platform::id::{Id, Issuer};
use crate::platform::secret::{Token, UpstreamState};

/// What the browser brought back. Nobody has checked it.
#[derive(Debug, Default)]
pub struct UnverifiedCallback {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    iss: Option<String>,
    user: Option<String>,
}

/// A code that belongs to a flow of this browser with this issuer: the only thing that can be exchanged.
#[derive(Debug)]
pub struct AuthorizationCode {
    /// `code`.
    pub code: String,
    /// `user`: what Apple says of somebody the first time, and nobody has signed. Worth a name, and nothing else.
    pub user: Option<Value>,
    /// The flow that it ends.
    pub flow: Flow,
}

/// Why a callback was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackError {
    /// A parameter stands there twice (RFC 6749, section 3.1), or is too long.
    Malformed(&'static str),
    /// No `state`.
    StateNotFound,
    /// `state` is not of a flow that waits, or that this browser began with this issuer.
    StateMismatch(&'static str),
    /// The issuer answered with an error (section 4.1.2.1).
    Provider {
        /// `error`.
        error: String,
        /// `error_description`.
        description: String,
    },
    /// `iss` names another issuer, or is missing where the issuer always sends it.
    IssuerMismatch,
    /// Neither `code` nor `error`.
    NoCode,
}

impl CallbackError {
    /// The `error` that the visitor's page is told.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Malformed(_) => "invalid_callback_request",
            Self::StateNotFound => "state_not_found",
            Self::StateMismatch(_) => "state_mismatch",
            Self::Provider { error, .. } if error == "access_denied" => "access_denied",
            Self::Provider { .. } => "provider_error",
            Self::IssuerMismatch => "issuer_mismatch",
            Self::NoCode => "no_code",
        }
    }
}

impl fmt::Display for CallbackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(name) => write!(f, "{}: {name}", self.code()),
            Self::StateMismatch(reason) => write!(f, "{}: {reason}", self.code()),
            Self::Provider { error, description } => write!(f, "{}: {error:?} {description:?}", self.code()),
            _ => f.write_str(self.code()),
        }
    }
}

impl UnverifiedCallback {
    /// The longest parameter read, in bytes: codes of some providers are JWTs.
    const LONGEST: usize = 8192;

    /// Reads the parameters, from the query or the posted form.
    ///
    /// # Errors
    /// [`CallbackError::Malformed`].
    pub fn parse(parameters: &str) -> Result<Self, CallbackError> {
        let mut callback = Self::default();
        for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
            let (name, slot) = match name.as_ref() {
                "code" => ("code", &mut callback.code),
                "state" => ("state", &mut callback.state),
                "error" => ("error", &mut callback.error),
                "error_description" => ("error_description", &mut callback.error_description),
                "iss" => ("iss", &mut callback.iss),
                "user" => ("user", &mut callback.user),
                _ => continue,
            };
            if slot.is_some() || value.len() > Self::LONGEST {
                return Err(CallbackError::Malformed(name));
            }
            *slot = Some(value.into_owned());
        }
        Ok(callback)
    }

    /// The state to look up.
    ///
    /// # Errors
    /// [`CallbackError::StateNotFound`], or a mismatch if it has not the form of one of ours.
    pub fn state(&self) -> Result<Token<UpstreamState>, CallbackError> {
        let state = self.state.as_deref().ok_or(CallbackError::StateNotFound)?;
        Token::parse(state).ok_or(CallbackError::StateMismatch("not of our making"))
    }

    /// Checks the callback against the flow that its state named, which is used up by now.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn verify(self, flow: Flow, issuer: &ExpectedIssuer<'_>) -> Result<AuthorizationCode, CallbackError> {
        if flow.issuer_id != *issuer.id {
            return Err(CallbackError::StateMismatch("begun with another issuer"));
        }
        // RFC 9207, section 2.4: before anything in the answer is believed, its errors included.
        match self.iss.as_deref() {
            Some(iss) if iss != issuer.identifier => return Err(CallbackError::IssuerMismatch),
            None if issuer.sends_iss => return Err(CallbackError::IssuerMismatch),
            _ => (),
        }
        if let Some(error) = self.error {
            let description = self.error_description.unwrap_or_default();
            return Err(CallbackError::Provider { error, description });
        }
        let code = self.code.filter(|code| !code.is_empty()).ok_or(CallbackError::NoCode)?;
        let user = self.user.and_then(|text| serde_json::from_str(&text).ok());
        Ok(AuthorizationCode { code, user, flow })
    }
}

/// The issuer whose callback this is, by its path.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedIssuer<'a> {
    /// Id.
    pub id: &'a Id<Issuer>,
    /// Issuer identifier.
    pub identifier: &'a str,
    /// Whether its answers always carry `iss`.
    pub sends_iss: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::request::Purpose;

    const STATE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn verify(query: &str, sends_iss: bool, flow_issuer: &str) -> Result<String, String> {
        let flow = Flow {
            issuer_id: Id::trusted(flow_issuer.to_owned()),
            nonce: String::new(),
            code_verifier: String::new(),
            purpose: Purpose::SignIn,
            scope: String::new(),
            redirect_uri: String::new(),
            callback_url: String::new(),
            error_callback_url: None,
            new_user_callback_url: None,
            started_at: 0,
        };
        let id = Id::trusted("i".to_owned());
        let expected = ExpectedIssuer { id: &id, identifier: "https://idp.example", sends_iss };
        let callback = UnverifiedCallback::parse(query).map_err(|e| e.code().to_owned())?;
        callback.state().map_err(|e| e.code().to_owned())?;
        callback.verify(flow, &expected).map(|code| code.code).map_err(|e| e.code().to_owned())
    }

    #[test]
    fn the_table_of_callbacks() {
        let s = STATE;
        for (query, sends_iss, issuer, expected) in [
            (format!("code=c&state={s}"), false, "i", Ok("c")),
            (format!("code=c&state={s}&iss=https%3A%2F%2Fidp.example"), true, "i", Ok("c")),
            (format!("code=c&state={s}&iss=https%3A%2F%2Fidp.example"), false, "i", Ok("c")),
            (format!("code=c&state={s}&iss=https%3A%2F%2Fevil.example"), false, "i", Err("issuer_mismatch")),
            (format!("code=c&state={s}&iss="), false, "i", Err("issuer_mismatch")),
            (format!("code=c&state={s}"), true, "i", Err("issuer_mismatch")),
            (format!("code=c&state={s}"), false, "other", Err("state_mismatch")),
            ("code=c".to_owned(), false, "i", Err("state_not_found")),
            ("code=c&state=short".to_owned(), false, "i", Err("state_mismatch")),
            (format!("code=c&code=d&state={s}"), false, "i", Err("invalid_callback_request")),
            (format!("code=c&state={s}&state={s}"), false, "i", Err("invalid_callback_request")),
            (format!("error=access_denied&state={s}"), false, "i", Err("access_denied")),
            (format!("error=server_error&code=c&state={s}"), false, "i", Err("provider_error")),
            (
                format!("error=access_denied&state={s}&iss=https%3A%2F%2Fevil.example"),
                false,
                "i",
                Err("issuer_mismatch"),
            ),
            (format!("state={s}"), false, "i", Err("no_code")),
            (format!("code=&state={s}"), false, "i", Err("no_code")),
            (format!("code={}&state={s}", "x".repeat(9000)), false, "i", Err("invalid_callback_request")),
        ] {
            let got = verify(&query, sends_iss, issuer);
            assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned), "{query}");
        }
    }
}
