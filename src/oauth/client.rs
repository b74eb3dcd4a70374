//! A client: other software that signs people in with us (RFC 6749, section 2; RFC 7591, section 2).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{Id, Millis, OauthClient};
use crate::oauth::redirect_uri;

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
}

impl AuthMethod {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::ClientSecretBasic, Self::ClientSecretPost, Self::PrivateKeyJwt];

    /// As the wire says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
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
}

impl GrantType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AuthorizationCode, Self::RefreshToken, Self::ClientCredentials, Self::DeviceCode];

    /// As the wire says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
        }
    }

    /// Reads it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
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
    /// Its policies.
    pub policy_uri: Option<String>,
    /// Its terms.
    pub tos_uri: Option<String>,
}

impl Client {
    /// Whether it may do this.
    #[must_use]
    pub fn may(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }

    /// Whether a redirect URI is one of its own.
    #[must_use]
    pub fn owns(&self, uri: &str) -> bool {
        self.redirect_uris.iter().any(|registered| redirect_uri::matches(registered, uri, self.is_native))
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
    /// When its secret ends.
    pub secret_expires_at: Option<Millis>,
}
