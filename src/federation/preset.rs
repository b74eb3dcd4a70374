//! What is known of each kind of upstream service: endpoints, scopes, parameters, and what its fields are called.

/// Which protocol says who the user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The ID token (OpenID Connect Core 1.0).
    OpenId,
    /// An API of the service's own, asked with the access token.
    OAuth,
}

/// What an administrator need not say.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The protocol.
    pub protocol: Protocol,
    /// Issuer identifier, or the address that the endpoints are below; none where everybody has their own.
    pub base_url: Option<&'static str>,
    /// What the button says; none where everybody has their own.
    pub label: Option<&'static str>,
    /// Endpoints that no discovery tells: `/…` is below the base URL.
    pub endpoints: &'static [(&'static str, &'static str)],
    /// Scopes of a sign-in.
    pub scopes: &'static str,
    /// Scopes of a sign-in that is to give a refresh token.
    pub scopes_offline: &'static str,
    /// Further parameters of a sign-in.
    pub params: &'static [(&'static str, &'static str)],
    /// Further parameters of a sign-in that is to give a refresh token.
    pub params_offline: &'static [(&'static str, &'static str)],
    /// `client_secret_basic` rather than `client_secret_post`.
    pub basic_auth: bool,
    /// External path → internal field.
    pub mapping: &'static [(&'static str, &'static str)],
}

/// OpenID Connect Core 1.0, section 5.1.
const STANDARD_CLAIMS: &[(&str, &str)] = &[
    ("email", "email"),
    ("email_verified", "email_verified"),
    ("name", "name"),
    ("given_name", "first_name"),
    ("family_name", "last_name"),
    ("picture", "picture"),
];

/// Any OpenID Provider with discovery.
pub const OPEN_ID: Preset = Preset {
    protocol: Protocol::OpenId,
    base_url: None,
    label: None,
    endpoints: &[],
    scopes: "openid email profile",
    scopes_offline: "openid email profile offline_access",
    params: &[],
    // OpenID Connect Core 1.0, section 11: without it the scope is ignored.
    params_offline: &[("prompt", "consent")],
    basic_auth: true,
    mapping: STANDARD_CLAIMS,
};

/// Any OAuth 2.0 service.
pub const OAUTH: Preset = Preset {
    protocol: Protocol::OAuth,
    scopes: "",
    scopes_offline: "",
    params_offline: &[],
    basic_auth: false,
    mapping: &[],
    ..OPEN_ID
};

/// accounts.google.com.
pub const GOOGLE: Preset = Preset {
    base_url: Some("https://accounts.google.com"),
    label: Some("Google"),
    scopes_offline: "openid email profile",
    params_offline: &[("access_type", "offline"), ("prompt", "consent")],
    basic_auth: false,
    ..OPEN_ID
};

/// login.microsoftonline.com.
pub const MICROSOFT: Preset = Preset {
    base_url: Some("https://login.microsoftonline.com/{tenant}/v2.0"),
    label: Some("Microsoft"),
    params_offline: &[],
    basic_auth: false,
    // Nobody proves `email` there; whoever administers a tenant can write any (`xms_edov` says who did).
    mapping: &[
        ("email", "email"),
        ("xms_edov", "email_verified"),
        ("name", "name"),
        ("given_name", "first_name"),
        ("family_name", "last_name"),
    ],
    ..OPEN_ID
};

/// gitlab.com.
pub const GITLAB: Preset = Preset {
    base_url: Some("https://gitlab.com"),
    label: Some("GitLab"),
    scopes_offline: "openid email profile",
    params_offline: &[],
    basic_auth: false,
    ..OPEN_ID
};

/// appleid.apple.com.
pub const APPLE: Preset = Preset {
    base_url: Some("https://appleid.apple.com"),
    label: Some("Apple"),
    scopes: "openid email name",
    scopes_offline: "openid email name",
    params: &[("response_mode", "form_post")],
    params_offline: &[("response_mode", "form_post")],
    basic_auth: false,
    mapping: &[
        ("email", "email"),
        ("email_verified", "email_verified"),
        ("user.name.firstName", "first_name"),
        ("user.name.lastName", "last_name"),
    ],
    ..OPEN_ID
};

/// linkedin.com.
pub const LINKEDIN: Preset = Preset {
    base_url: Some("https://www.linkedin.com/oauth"),
    label: Some("LinkedIn"),
    scopes_offline: "openid email profile",
    params_offline: &[],
    basic_auth: false,
    ..OPEN_ID
};

/// github.com.
pub const GITHUB: Preset = Preset {
    base_url: Some("https://github.com"),
    label: Some("GitHub"),
    endpoints: &[
        ("authorization_endpoint", "/login/oauth/authorize"),
        ("token_endpoint", "/login/oauth/access_token"),
        ("userinfo_endpoint", "https://api.github.com/user"),
        ("emails_endpoint", "https://api.github.com/user/emails"),
    ],
    scopes: "read:user user:email",
    scopes_offline: "read:user user:email",
    // The verified address comes from the second call, by the standard's names.
    mapping: &[
        ("id", "subject"),
        ("email", "email"),
        ("email_verified", "email_verified"),
        ("name", "name"),
        ("avatar_url", "picture"),
    ],
    ..OAUTH
};

/// facebook.com.
pub const FACEBOOK: Preset = Preset {
    base_url: Some("https://www.facebook.com"),
    label: Some("Facebook"),
    endpoints: &[
        ("authorization_endpoint", "/v25.0/dialog/oauth"),
        ("token_endpoint", "https://graph.facebook.com/v25.0/oauth/access_token"),
        ("userinfo_endpoint", "https://graph.facebook.com/v25.0/me?fields=id,name,first_name,last_name,email,picture"),
    ],
    scopes: "email public_profile",
    scopes_offline: "email public_profile",
    mapping: &[
        ("id", "subject"),
        ("email", "email"),
        ("name", "name"),
        ("first_name", "first_name"),
        ("last_name", "last_name"),
        ("picture.data.url", "picture"),
    ],
    ..OAUTH
};

/// discord.com.
pub const DISCORD: Preset = Preset {
    base_url: Some("https://discord.com"),
    label: Some("Discord"),
    endpoints: &[
        ("authorization_endpoint", "/oauth2/authorize"),
        ("token_endpoint", "/api/oauth2/token"),
        ("userinfo_endpoint", "/api/users/@me"),
        ("revocation_endpoint", "/api/oauth2/token/revoke"),
    ],
    scopes: "identify email",
    scopes_offline: "identify email",
    mapping: &[
        ("id", "subject"),
        ("email", "email"),
        ("verified", "email_verified"),
        ("global_name", "name"),
        ("avatar_url", "picture"),
    ],
    ..OAUTH
};

/// A Nextcloud.
pub const NEXTCLOUD: Preset = Preset {
    endpoints: &[
        ("authorization_endpoint", "/index.php/apps/oauth2/authorize"),
        ("token_endpoint", "/index.php/apps/oauth2/api/v1/token"),
        ("userinfo_endpoint", "/ocs/v2.php/cloud/user?format=json"),
    ],
    basic_auth: true,
    mapping: &[
        ("ocs.data.id", "subject"),
        ("ocs.data.email", "email"),
        ("ocs.data.display-name", "name"),
        ("ocs.data.phone", "profile.phoneNumber"),
        ("ocs.data.address", "profile.address"),
        ("ocs.data.language", "profile.language"),
    ],
    ..OAUTH
};

/// A Moodle with `local_oauth`.
pub const MOODLE: Preset = Preset {
    endpoints: &[
        ("authorization_endpoint", "/local/oauth/login.php"),
        ("token_endpoint", "/local/oauth/token.php"),
        ("userinfo_endpoint", "/local/oauth/user_info.php"),
    ],
    scopes: "user_info",
    scopes_offline: "user_info",
    mapping: &[
        ("id", "subject"),
        ("email", "email"),
        ("firstname", "first_name"),
        ("lastname", "last_name"),
        ("username", "username"),
        ("lang", "profile.language"),
    ],
    ..OAUTH
};
