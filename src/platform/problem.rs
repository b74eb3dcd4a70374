//! The protocol's errors (RFC 6749, sections 4.1.2.1 and 5.2, and those that extend them).

use std::fmt;

/// An error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// RFC 6749: something is missing, doubled or malformed.
    InvalidRequest,
    /// RFC 6749: the client may not do this.
    UnauthorizedClient,
    /// RFC 6749: the user or we said no.
    AccessDenied,
    /// RFC 6749.
    UnsupportedResponseType,
    /// RFC 6749.
    InvalidScope,
    /// RFC 6749: client authentication failed.
    InvalidClient,
    /// RFC 6749: the code or token is not good, or another's.
    InvalidGrant,
    /// RFC 6749.
    UnsupportedGrantType,
    /// RFC 8707: a resource that is not served.
    InvalidTarget,
    /// OpenID Connect Core 1.0, section 3.1.2.6.
    LoginRequired,
    /// The same.
    ConsentRequired,
    /// OpenID Connect Core 1.0, section 3.1.2.6: requests kept elsewhere are not fetched.
    RequestUriNotSupported,
    /// The same.
    RegistrationNotSupported,
    /// RFC 6750: the access token is not good.
    InvalidToken,
    /// RFC 6750, section 3.1: there is no access token, which is no error of one.
    MissingToken,
    /// RFC 6750: the access token is not for this.
    InsufficientScope,
    /// RFC 7591.
    InvalidRedirectUri,
    /// RFC 7591.
    InvalidClientMetadata,
    /// RFC 8628: nobody has agreed yet.
    AuthorizationPending,
    /// RFC 8628: the device polls too often.
    SlowDown,
    /// RFC 8628: nobody agreed in time.
    ExpiredToken,
    /// RFC 9101: the kept request is unknown, used or too old.
    InvalidRequestUri,
    /// RFC 9101: the request object is not good.
    InvalidRequestObject,
    /// RFC 9449: the proof is not good.
    InvalidDpopProof,
    /// RFC 9449: the proof needs a nonce of ours.
    UseDpopNonce,
    /// OpenID Connect Core Error Code `unmet_authentication_requirements` 1.0: they did not sign in as the client needs.
    UnmetAuthenticationRequirements,
}

impl Code {
    /// As the wire says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidTarget => "invalid_target",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::InvalidToken | Self::MissingToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::InvalidRequestUri => "invalid_request_uri",
            Self::InvalidRequestObject => "invalid_request_object",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::UnmetAuthenticationRequirements => "unmet_authentication_requirements",
        }
    }

    /// The status of an answer that is no redirect.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidClient | Self::InvalidToken | Self::MissingToken => 401,
            Self::InsufficientScope | Self::AccessDenied => 403,
            _ => 400,
        }
    }
}

/// The page of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPage {
    /// `client_name`.
    pub name: String,
    /// `client_uri`.
    pub uri: String,
}

/// An error of the protocol: what the wire says, and the exact reason for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `error`.
    pub code: Code,
    /// `error_description`: for whoever writes the client.
    pub description: &'static str,
    /// For the log alone.
    pub reason: Box<str>,
    /// The scheme by which a resource wants to be asked (RFC 9110, section 11.6.1).
    pub scheme: &'static str,
    /// The page of the client, where its user begins again.
    pub client_page: Option<Box<ClientPage>>,
}

impl Problem {
    /// An error whose reason is no secret.
    #[must_use]
    pub fn new(code: Code, description: &'static str) -> Self {
        Self { code, description, reason: Box::default(), scheme: "Bearer", client_page: None }
    }

    /// The same in a client's name; with its own page, if it has one.
    #[must_use]
    pub fn of_client(self, name: &str, client_uri: Option<&str>) -> Self {
        let page = |uri: &str| Box::new(ClientPage { name: name.to_owned(), uri: uri.to_owned() });
        Self { client_page: client_uri.map(page), ..self }
    }

    /// The same at a resource that is asked with proof of possession (RFC 9449, section 7.1).
    #[must_use]
    pub fn with_dpop(self) -> Self {
        Self { scheme: "DPoP", ..self }
    }

    /// The status of an answer that is no redirect. A proof is an endpoint's parameter, and a resource's credential.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.code {
            Code::InvalidDpopProof | Code::UseDpopNonce if self.scheme == "DPoP" => 401,
            code => code.status(),
        }
    }

    /// The same with more for the log.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: reason.into().into_boxed_str(), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.description)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}
