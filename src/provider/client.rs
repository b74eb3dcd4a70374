//! A client: other software that signs people in with us (RFC 6749, section 2; RFC 7591, section 2).
//!
//! PURE: no I/O, no clock, no randomness.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::platform::algorithm::SigningAlgorithm;
use crate::platform::id::{Id, Millis, OauthClient};
use crate::platform::redirect_uri;
use crate::provider::scope::OFFLINE;

/// Whether a text names this server itself, in whichever spelling. That is what our own front-ends' JWTs are for: a client's
/// token that was made out to it would pass for one of theirs (RFC 8725, section 3.12).
#[must_use]
pub fn is_issuer(text: &str, issuer: &str) -> bool {
    let (Ok(named), Ok(issuer)) = (url::Url::parse(text.trim()), url::Url::parse(issuer)) else {
        return text.trim().eq_ignore_ascii_case(issuer);
    };
    let host = |url: &url::Url| url.host_str().map(|host| host.trim_end_matches('.').to_owned());
    let path = percent_encoding::percent_decode_str(named.path()).decode_utf8_lossy();
    named.scheme() == issuer.scheme()
        && host(&named) == host(&issuer)
        && named.port_or_known_default() == issuer.port_or_known_default()
        && path.chars().all(|c| matches!(c, '/' | '\\' | '.' | ';') || c.is_whitespace() || c.is_control())
}

/// How a client authenticates at the token endpoint (RFC 7591, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A public client: PKCE alone.
    None,
    /// `Authorization: Basic`.
    ClientSecretBasic,
    /// In the form.
    ClientSecretPost,
    /// A signed assertion (RFC 7523).
    PrivateKeyJwt,
    /// A certificate that Cloudflare has verified (RFC 8705, section 2.1).
    TlsClientAuth,
}

impl AuthMethod {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::None, Self::ClientSecretBasic, Self::ClientSecretPost, Self::PrivateKeyJwt, Self::TlsClientAuth];

    /// As the wire says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
        }
    }

    /// Whether it is by a secret.
    #[must_use]
    pub const fn has_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }
}

/// A grant type that we serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// RFC 6749, section 4.1.
    AuthorizationCode,
    /// Section 6.
    RefreshToken,
    /// Section 4.4.
    ClientCredentials,
    /// RFC 8628.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode,
    /// RFC 8693.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
    /// RFC 7523, section 2.1.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
}

impl GrantType {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AuthorizationCode,
        Self::RefreshToken,
        Self::ClientCredentials,
        Self::DeviceCode,
        Self::TokenExchange,
        Self::JwtBearer,
    ];

    /// As the wire says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        }
    }

    /// Whether a client that nobody vouches for may have it: the others speak for users who are not there, or for nobody.
    #[must_use]
    pub const fn is_for_anybody(self) -> bool {
        !matches!(self, Self::TokenExchange | Self::JwtBearer)
    }

    /// Reads it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape of skip_serializing_if")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What else is said of a client, by its members' own names (RFC 7591, section 2; OpenID Connect Dynamic Client Registration
/// 1.0, section 2; RFC 8705, 9101, 9126 and 9449).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "metadata")]
pub struct Details {
    /// What its ID and logout tokens are signed with.
    pub id_token_signed_response_alg: SigningAlgorithm,
    /// What answers of the authorization endpoint are signed with (JARM, section 3).
    pub authorization_signed_response_alg: SigningAlgorithm,
    /// What answers of the introspection endpoint are signed with (RFC 9701, section 6).
    pub introspection_signed_response_alg: SigningAlgorithm,
    /// What userinfo is signed with; without, it is plain JSON (OpenID Connect Core 1.0, section 5.3.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userinfo_signed_response_alg: Option<SigningAlgorithm>,
    /// What it signs its assertions with, if that is all that is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_signing_alg: Option<String>,
    /// What it signs its request objects with, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_object_signing_alg: Option<String>,
    /// Whether its requests have to be signed (RFC 9101, section 10.5).
    pub require_signed_request_object: bool,
    /// Whether its requests have to be pushed (RFC 9126, section 6).
    pub require_pushed_authorization_requests: bool,
    /// Whether its tokens have to be bound to a key (RFC 9449, section 5.2).
    pub dpop_bound_access_tokens: bool,
    /// Whether they are bound to its certificate (RFC 8705, section 3.4).
    pub tls_client_certificate_bound_access_tokens: bool,
    /// The subject of its certificate (RFC 8705, section 2.1.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_subject_dn: Option<String>,
    /// The resources that it may ask for (RFC 8707); none is any that is known, but for token exchange.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// The resource that it is itself (RFC 9728, section 2): tokens for it are its to look into, and to exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// `max_age` of requests that say none, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_max_age: Option<i64>,
    /// Whether its back channel needs `sid`. It gets it always.
    pub backchannel_logout_session_required: bool,
    /// Whether its front channel needs `iss` and `sid`.
    pub frontchannel_logout_session_required: bool,
    /// Whether it is software that knows no more than OpenID Connect's first version: no PKCE, either way to send a secret,
    /// what it reads of a user in the ID token. The members below say each of it.
    #[serde(skip_serializing_if = "is_false")]
    pub classical: bool,
    /// Whether its requests need a code challenge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_pkce: Option<bool>,
    /// Whether its secret may come in the header as well as in the form, whichever it is registered for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub either_secret_method: Option<bool>,
    /// Whether its ID tokens say what its scopes stand for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token_scope_claims: Option<bool>,
    /// Whether it is held to the FAPI 2.0 Security Profile.
    #[serde(skip_serializing_if = "is_false")]
    pub fapi: bool,
    /// What it says that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// Of which version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
}

/// A client, as a request of its needs it.
#[derive(Clone, Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "metadata")]
pub struct Client {
    /// `oauth_client.id`.
    pub id: Id<OauthClient>,
    /// `client_id`.
    pub client_id: String,
    /// Hashes of its secrets that are good now.
    pub secret_hashes: Vec<String>,
    /// What its users are shown.
    pub name: String,
    /// Whether it is a native application.
    pub is_native: bool,
    /// How it authenticates.
    pub auth_method: AuthMethod,
    /// Where its users are sent back.
    pub redirect_uris: Vec<String>,
    /// Where they are sent once they have signed out.
    pub post_logout_redirect_uris: Vec<String>,
    /// What it may ask for.
    pub grant_types: Vec<GrantType>,
    /// The scopes that it may ask for.
    pub scopes: Vec<String>,
    /// Its keys.
    pub jwks: Option<Value>,
    /// Where its keys are.
    pub jwks_uri: Option<String>,
    /// Whether each sector sees a user by a name of its own.
    pub is_pairwise: bool,
    /// Whether its access tokens are JWTs.
    pub has_jwt_access_tokens: bool,
    /// Whether its users are not asked.
    pub skips_consent: bool,
    /// Its picture.
    pub icon: Option<String>,
    /// Its own page.
    pub client_uri: Option<String>,
    /// Its policies.
    pub policy_uri: Option<String>,
    /// Its terms.
    pub tos_uri: Option<String>,
    /// Where its back channel is told of the end of sessions.
    pub backchannel_logout_uri: Option<String>,
    /// Where its front channel is.
    pub frontchannel_logout_uri: Option<String>,
    /// The rest.
    pub details: Details,
    /// When its own document was read, if it is known by one.
    pub document_read_at: Option<Millis>,
    /// Whose client it is: our own issuer identifier.
    pub issuer: String,
    /// Whether an administrator vouches for it.
    pub is_vouched_for: bool,
    /// The resources that there are: those that a client is, and those that an administrator lets a client ask for. There are no
    /// others, or a token of ours could be made out to anything (RFC 8707, section 2).
    pub known_resources: Vec<String>,
}

impl Client {
    /// Whether it may do this.
    #[must_use]
    pub fn may(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }

    /// Whether a token may be made out to a resource: one that there is, and never ourselves.
    #[must_use]
    pub fn knows(&self, resource: &String) -> bool {
        self.known_resources.contains(resource) && !is_issuer(resource, &self.issuer)
    }

    /// Whether it is one of these resources.
    #[must_use]
    pub fn is_among(&self, audience: &[String]) -> bool {
        self.details.resource.as_ref().is_some_and(|own| audience.contains(own))
    }

    /// Whether it has no credentials.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.auth_method == AuthMethod::None
    }

    /// Whether a redirect URI is one of its own. A client without credentials is an application on its user's machine, whether
    /// it says so or not, and PKCE protects its code; a website with a secret has a port of its own.
    #[must_use]
    pub fn owns(&self, uri: &str) -> bool {
        let has_free_port = self.is_native || self.is_public();
        self.redirect_uris.iter().any(|registered| redirect_uri::matches(registered, uri, has_free_port))
    }

    /// Whether its answers go to the user's own machine and nowhere else: any program there can have asked.
    #[must_use]
    pub fn is_on_own_machine(&self) -> bool {
        !self.redirect_uris.is_empty() && self.redirect_uris.iter().all(|uri| redirect_uri::is_own_machine(uri))
    }

    /// Whether its requests need a code challenge (RFC 7636). Without credentials it is all that protects the code.
    #[must_use]
    pub fn requires_pkce(&self) -> bool {
        let details = &self.details;
        self.is_public() || details.fapi || details.require_pkce.unwrap_or(!details.classical)
    }

    /// Whether its secret may come either way, whichever it is registered for.
    #[must_use]
    pub fn takes_either_secret_method(&self) -> bool {
        self.details.either_secret_method.unwrap_or(self.details.classical)
    }

    /// Whether its ID tokens say what its scopes stand for, which userinfo is otherwise asked for (OpenID Connect Core 1.0,
    /// section 5.4).
    #[must_use]
    pub fn has_scope_claims(&self) -> bool {
        self.details.id_token_scope_claims.unwrap_or(self.details.classical)
    }

    /// Whether what it is granted outlives the session: its user agrees to that by `offline_access`. A client of OAuth alone knows
    /// no such scope (OpenID Connect Core 1.0, section 11, has it): it says by its registration that it refreshes.
    #[must_use]
    pub fn lasts<'a>(&self, mut scopes: impl Iterator<Item = &'a str> + Clone) -> bool {
        scopes.clone().any(|scope| scope == OFFLINE)
            || (self.may(GrantType::RefreshToken) && !scopes.any(|scope| scope == "openid"))
    }

    /// Whether its refresh tokens stay the same. FAPI 2.0 Security Profile, section 5.3.2.1: one that is rotated is lost with an
    /// answer that is lost, and a client that authenticates gains nothing by it.
    #[must_use]
    pub fn keeps_refresh_tokens(&self) -> bool {
        self.details.fapi && !self.is_public()
    }
}

/// What an administrator, or a client itself, says of a client (RFC 7591, section 2), judged.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "metadata")]
pub struct NewClient {
    /// Name.
    pub name: String,
    /// Whether it is a native application.
    pub is_native: bool,
    /// How it authenticates.
    pub auth_method: AuthMethod,
    /// Where its users are sent back.
    pub redirect_uris: Vec<String>,
    /// Where they are sent once they have signed out.
    pub post_logout_redirect_uris: Vec<String>,
    /// What it may ask for.
    pub grant_types: Vec<GrantType>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Its keys.
    pub jwks: Option<Value>,
    /// Where its keys are.
    pub jwks_uri: Option<String>,
    /// Whether each sector sees a user by a name of its own.
    pub is_pairwise: bool,
    /// Its website, picture, policies and terms.
    pub uris: [Option<String>; 4],
    /// Addresses.
    pub contacts: Vec<String>,
    /// Whether its users are not asked.
    pub skips_consent: bool,
    /// Whether its access tokens are JWTs.
    pub has_jwt_access_tokens: bool,
    /// Where its back channel is told of the end of sessions.
    pub backchannel_logout_uri: Option<String>,
    /// Where its front channel is.
    pub frontchannel_logout_uri: Option<String>,
    /// The rest.
    pub details: Details,
}
