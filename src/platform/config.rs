//! Settings: the only reader of the Worker's vars and secrets. Durations are in seconds unless the name says otherwise.

use url::Url;

use crate::platform::algorithm::SigningAlgorithm;
use crate::platform::error::{Error, Result};
use crate::platform::origin::Origin;
use crate::platform::outbound_url::check_url;
use crate::platform::redirect_uri;
use crate::platform::secret::{Keyring, Secret};
use crate::platform::trusted_origins::Trusted;

/// At most `count` in `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many are let through in a window.
    pub count: i64,
    /// The window's length.
    pub seconds: i64,
}

impl Limit {
    /// One of so many parts of it, and never nothing.
    #[must_use]
    pub fn share(self, parts: i64) -> Self {
        Self { count: (self.count / parts).max(1), ..self }
    }
}

/// How new passwords are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordHashing {
    /// Argon2id, some 30 ms of CPU.
    Argon2id,
    /// WebCrypto's PBKDF2 under a pepper, which the free plan's 10 ms of CPU allow.
    Pbkdf2,
}

/// Who adds clients, beside administrators. Each lets those before it do so as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Registration {
    /// Nobody.
    Closed,
    /// Whoever has an initial access token of an administrator's (RFC 7591, section 3).
    Token,
    /// Whoever is signed in, clients of their own.
    Users,
    /// Anybody (RFC 7591).
    Open,
}

/// Which ways of signing in, beside upstream issuers, are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set, one member a way")]
pub struct WaysIn {
    /// `password`: with an address or a user name.
    pub password: bool,
    /// `passkey`.
    pub passkey: bool,
    /// `magic-link`.
    pub magic_link: bool,
    /// `email-otp`: mailed codes.
    pub email_otp: bool,
    /// `phone`: codes by `SMS_WEBHOOK`, or a number with a password.
    pub phone: bool,
    /// `anonymous`: guests.
    pub anonymous: bool,
}

impl WaysIn {
    fn parse(text: &str) -> Option<Self> {
        let mut ways = Self::default();
        for name in text.split(',').map(str::trim) {
            match name {
                "password" => ways.password = true,
                "passkey" => ways.passkey = true,
                "magic-link" => ways.magic_link = true,
                "email-otp" => ways.email_otp = true,
                "phone" => ways.phone = true,
                "anonymous" => ways.anonymous = true,
                _ => return None,
            }
        }
        Some(ways)
    }
}

/// Every setting, checked.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Config {
    /// `AUTH_ORIGIN`: the default tenant's auth host.
    pub auth_origin: Origin,
    /// `TRUSTED_ORIGINS`: front-ends that may call the login protocol and be redirected to.
    pub trusted_origins: Vec<Trusted>,
    /// `DEVELOPMENT`: allows what production refuses (plain http and loopback upstreams).
    pub development: bool,
    /// Keys from `SECRETS`.
    pub keyring: Keyring,
    /// `SIGN_UP` is `open`: anyone may create an account.
    pub sign_up_open: bool,
    /// `SESSION_SECONDS`: a session's life without activity.
    pub session_seconds: i64,
    /// `SESSION_UPDATE_SECONDS`: a session this old is prolonged when used.
    pub session_update_seconds: i64,
    /// `SESSION_COOKIE_CACHE_SECONDS`: how long the snapshot cookie answers alone. 0 turns it off.
    pub cookie_cache_seconds: i64,
    /// `SESSION_RECHECK_SECONDS`: how old an answer of the database may be. Bounds revocation.
    pub recheck_seconds: i64,
    /// `ROUTING_CACHE_SECONDS`: how long an isolate remembers hosts, apps and rules.
    pub routing_cache_seconds: i64,
    /// `ROUTING_STALE_SECONDS`: how old what an isolate remembers of a host may be while D1 does not answer.
    pub routing_stale_seconds: i64,
    /// `TOKEN_SECONDS`: life of the JWT of `/token`.
    pub token_seconds: i64,
    /// `ASSERTION_SECONDS`: life of the gate's identity assertion.
    pub assertion_seconds: i64,
    /// `FLOW_SECONDS`: life of a begun upstream sign-in or gate request.
    pub flow_seconds: i64,
    /// `UPSTREAM_TIMEOUT_SECONDS`: patience with an upstream issuer.
    pub upstream_timeout_seconds: i64,
    /// `DISCOVERY_SECONDS`: how long discovery documents and JWKS are kept.
    pub discovery_seconds: i64,
    /// `LIMIT_SIGN_IN`: sign-ins by one address that failed or are under way.
    pub limit_sign_in: Limit,
    /// `LIMIT_SIGN_IN_ACCOUNT`: sign-ins to one account, by whomever.
    pub limit_sign_in_account: Limit,
    /// `LIMIT_SIGN_UP`: sign-ups by one address.
    pub limit_sign_up: Limit,
    /// `LIMIT_CHANGE_PASSWORD`: password changes tried in one session's name.
    pub limit_change_password: Limit,
    /// `LIMIT_MAIL`: mails asked for by one address.
    pub limit_mail: Limit,
    /// `LIMIT_MAIL_ADDRESS`: mails and messages to one address, from all networks.
    pub limit_mail_address: Limit,
    /// `LIMIT_INVITATION`: invitations by one member of one organization.
    pub limit_invitation: Limit,
    /// `LIMIT_API_KEY`: uses of a key that says nothing else.
    pub limit_api_key: Limit,
    /// `INVITATION_SECONDS`: life of an invitation.
    pub invitation_seconds: i64,
    /// `ORGANIZATIONS` is `open`: users of the shared pool make organizations.
    pub organizations_open: bool,
    /// `USER_RETENTION_SECONDS`: how long users and groups that were deleted are kept out of sight.
    pub user_retention_seconds: i64,
    /// `HISTORY_SECONDS`: how long the history of sign-ins is kept; 0: for ever.
    pub history_seconds: i64,
    /// `AUDIT_SECONDS`: how long the audit is kept; 0: for ever.
    pub audit_seconds: i64,
    /// `LIMIT_FLOW`: requests to authorize, devices and sign-ins with a provider that one network has us keep.
    pub limit_flow: Limit,
    /// `LIMIT_CHALLENGE`: passkey ceremonies begun by one address.
    pub limit_challenge: Limit,
    /// `RESET_SECONDS`: life of a link that sets a new password.
    pub reset_seconds: i64,
    /// `VERIFICATION_SECONDS`: life of a link that proves an address.
    pub verification_seconds: i64,
    /// `MAIL_WEBHOOK`: where mails are posted as JSON.
    pub mail_webhook: Option<String>,
    /// `MAIL_TOKEN`: what the webhook is authorised with.
    pub mail_token: Option<Secret<String>>,
    /// `MAIL_FROM`: the sender.
    pub mail_from: String,
    /// `ACCESS_TOKEN_SECONDS`: life of an access token of ours.
    pub access_token_seconds: i64,
    /// `REFRESH_TOKEN_SECONDS`: life of a refresh token without use.
    pub refresh_token_seconds: i64,
    /// `SIGNING_KEY_SECONDS`: how long a key signs before the next one does.
    pub signing_key_seconds: i64,
    /// `AUTHORIZATION_CODE_SECONDS`: life of an authorization code.
    pub code_grant_seconds: i64,
    /// `PUSHED_REQUEST_SECONDS`: how long a pushed authorization request waits for its user.
    pub pushed_request_seconds: i64,
    /// `DEVICE_CODE_SECONDS`: how long a device waits for its user.
    pub device_code_seconds: i64,
    /// `SIGNING_ALGORITHMS`: those that clients may ask us to sign with.
    pub signing_algorithms: Vec<SigningAlgorithm>,
    /// `CLIENT_REGISTRATION`: who adds clients.
    pub registration: Registration,
    /// `REDIRECT_URIS_ALLOWED`: redirect URIs that clients may register whatever their scheme, each as it is written.
    pub redirect_uris_allowed: Vec<String>,
    /// `CLIENT_ID_METADATA_DOCUMENTS`: a client may be whatever publishes its metadata at the URL that it is called by.
    pub client_documents: bool,
    /// `LOCKOUT_FAILURES`: consecutive failures that lock an account.
    pub lockout_failures: i64,
    /// `LOCKOUT_SECONDS`: the first lock; each further one is twice as long, up to a day.
    pub lockout_seconds: i64,
    /// `SIGN_IN_WITH`: the ways in.
    pub ways_in: WaysIn,
    /// `REQUIRE_VERIFIED_EMAIL`: a password signs in only whoever proved their address.
    pub require_verified_email: bool,
    /// `WEBSITES_NEED_VERIFIED_EMAIL` is `on`: nobody enters a protected website before they proved their address.
    pub websites_need_verified_email: bool,
    /// `BEARER`: sessions travel in `Authorization` as well.
    pub bearer: bool,
    /// `SESSION_JWT`: `get-session` carries a JWT in `set-auth-jwt`.
    pub session_jwt: bool,
    /// `MULTI_SESSION`: several accounts in one browser.
    pub multi_session: bool,
    /// `SESSION_FRESH_SECONDS`: how long a sign-in is good for sensitive changes. 0: always.
    pub fresh_seconds: i64,
    /// `TRUSTED_DEVICE_SECONDS`: how long a browser is asked for no second factor.
    pub trusted_device_seconds: i64,
    /// `MAGIC_LINK_SECONDS`: life of a link that signs in.
    pub magic_link_seconds: i64,
    /// `CODE_SECONDS`: life of a code.
    pub code_seconds: i64,
    /// `DELETION_SECONDS`: life of a link that deletes an account.
    pub deletion_seconds: i64,
    /// `PASSKEY_RP_ID`: the domain that passkeys are for, where a tenant has none of its own.
    pub passkey_rp_id: Option<String>,
    /// `SMS_WEBHOOK`: where codes for phones are posted as JSON.
    pub sms_webhook: Option<String>,
    /// `SMS_TOKEN`: what that webhook is authorised with.
    pub sms_token: Option<Secret<String>>,
    /// `BREACHED_PASSWORDS`: a range API of breached passwords.
    pub breached_passwords: Option<String>,
    /// `PASSWORD_HASH`: `argon2id` or `pbkdf2`.
    pub password_hashing: PasswordHashing,
    /// `PASSWORD_MIN_LENGTH`, in characters.
    pub password_min: usize,
    /// `PASSWORD_MAX_LENGTH`, in characters.
    pub password_max: usize,
}

impl Config {
    /// Reads the settings through `var`, which answers `None` for what is not set.
    ///
    /// # Errors
    /// [`Error::Config`](crate::platform::error::Error::Config) naming the setting that is missing or malformed.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let reader = Reader { var };
        let development = reader.text("DEVELOPMENT").as_deref() == Some("true");
        let auth_origin = reader.required_origin("AUTH_ORIGIN")?;
        if auth_origin.scheme() == "http" && !development {
            return Err(Error::Config("AUTH_ORIGIN must be https".to_owned()));
        }
        let auth_host = auth_origin.host().to_owned();
        let secrets = reader.text("SECRETS").unwrap_or_default();
        let secrets: Vec<&str> = secrets.split(',').map(str::trim).collect();
        let keyring = Keyring::new(&secrets).ok_or_else(|| {
            Error::Config(format!(
                "the secret SECRETS is missing, or one of its values is shorter than {} bytes",
                Keyring::SHORTEST
            ))
        })?;
        let config = Self {
            auth_origin,
            trusted_origins: reader.origins("TRUSTED_ORIGINS")?,
            development,
            keyring,
            sign_up_open: reader.choice("SIGN_UP", "open", "closed")?,
            session_seconds: reader.number("SESSION_SECONDS", 7 * 86_400, 60)?,
            session_update_seconds: reader.number("SESSION_UPDATE_SECONDS", 86_400, 0)?,
            cookie_cache_seconds: reader.number("SESSION_COOKIE_CACHE_SECONDS", 60, 0)?,
            recheck_seconds: reader.number("SESSION_RECHECK_SECONDS", 60, 0)?,
            routing_cache_seconds: reader.number("ROUTING_CACHE_SECONDS", 60, 0)?,
            routing_stale_seconds: reader.number("ROUTING_STALE_SECONDS", 3600, 0)?,
            token_seconds: reader.number("TOKEN_SECONDS", 900, 10)?,
            assertion_seconds: reader.number("ASSERTION_SECONDS", 120, 10)?,
            flow_seconds: reader.number("FLOW_SECONDS", 600, 10)?,
            upstream_timeout_seconds: reader.number("UPSTREAM_TIMEOUT_SECONDS", 5, 1)?,
            discovery_seconds: reader.number("DISCOVERY_SECONDS", 86_400, 0)?,
            limit_sign_in: reader.limit("LIMIT_SIGN_IN", Limit { count: 20, seconds: 60 })?,
            limit_sign_in_account: reader.limit("LIMIT_SIGN_IN_ACCOUNT", Limit { count: 10, seconds: 300 })?,
            limit_sign_up: reader.limit("LIMIT_SIGN_UP", Limit { count: 3, seconds: 10 })?,
            limit_change_password: reader.limit("LIMIT_CHANGE_PASSWORD", Limit { count: 3, seconds: 10 })?,
            limit_mail: reader.limit("LIMIT_MAIL", Limit { count: 3, seconds: 60 })?,
            limit_mail_address: reader.limit("LIMIT_MAIL_ADDRESS", Limit { count: 30, seconds: 86_400 })?,
            limit_invitation: reader.limit("LIMIT_INVITATION", Limit { count: 100, seconds: 3600 })?,
            limit_api_key: reader.limit("LIMIT_API_KEY", Limit { count: 1000, seconds: 3600 })?,
            invitation_seconds: reader.number("INVITATION_SECONDS", 2 * 86_400, 60)?,
            user_retention_seconds: reader.number("USER_RETENTION_SECONDS", 30 * 86_400, 0)?,
            organizations_open: reader.choice("ORGANIZATIONS", "open", "closed")?,
            history_seconds: reader.number("HISTORY_SECONDS", 90 * 86_400, 0)?,
            audit_seconds: reader.number("AUDIT_SECONDS", 400 * 86_400, 0)?,
            limit_flow: reader.limit("LIMIT_FLOW", Limit { count: 60, seconds: 60 })?,
            limit_challenge: reader.limit("LIMIT_CHALLENGE", Limit { count: 60, seconds: 60 })?,
            reset_seconds: reader.number("RESET_SECONDS", 3600, 60)?,
            verification_seconds: reader.number("VERIFICATION_SECONDS", 3600, 60)?,
            mail_webhook: reader.webhook("MAIL_WEBHOOK", development)?,
            mail_token: reader.text("MAIL_TOKEN").map(Secret::new),
            mail_from: reader.text("MAIL_FROM").unwrap_or_else(|| format!("no-reply@{auth_host}")),
            access_token_seconds: reader.number("ACCESS_TOKEN_SECONDS", 900, 10)?,
            refresh_token_seconds: reader.number("REFRESH_TOKEN_SECONDS", 30 * 86_400, 60)?,
            signing_key_seconds: reader.number("SIGNING_KEY_SECONDS", 90 * 86_400, 3600)?,
            code_grant_seconds: reader.number("AUTHORIZATION_CODE_SECONDS", 60, 5)?,
            pushed_request_seconds: reader.number("PUSHED_REQUEST_SECONDS", 90, 5)?,
            device_code_seconds: reader.number("DEVICE_CODE_SECONDS", 600, 60)?,
            signing_algorithms: reader.algorithms("SIGNING_ALGORITHMS")?,
            registration: match reader.text("CLIENT_REGISTRATION").as_deref() {
                None if development => Registration::Open,
                None | Some("closed") => Registration::Closed,
                Some("token") => Registration::Token,
                Some("users") => Registration::Users,
                Some("open") => Registration::Open,
                Some(_) => {
                    return Err(Error::Config("CLIENT_REGISTRATION must be closed, token, users or open".to_owned()));
                }
            },
            redirect_uris_allowed: reader.redirect_uris("REDIRECT_URIS_ALLOWED")?,
            client_documents: reader.switch("CLIENT_ID_METADATA_DOCUMENTS")?,
            lockout_failures: reader.number("LOCKOUT_FAILURES", 10, 1)?,
            lockout_seconds: reader.number("LOCKOUT_SECONDS", 900, 1)?,
            ways_in: reader.ways_in("SIGN_IN_WITH", "password,passkey,magic-link,email-otp")?,
            require_verified_email: reader.switch("REQUIRE_VERIFIED_EMAIL")?,
            websites_need_verified_email: reader.choice("WEBSITES_NEED_VERIFIED_EMAIL", "on", "off")?,
            bearer: reader.switch("BEARER")?,
            session_jwt: reader.switch("SESSION_JWT")?,
            multi_session: reader.switch("MULTI_SESSION")?,
            fresh_seconds: reader.number("SESSION_FRESH_SECONDS", 86_400, 0)?,
            trusted_device_seconds: reader.number("TRUSTED_DEVICE_SECONDS", 30 * 86_400, 60)?,
            magic_link_seconds: reader.number("MAGIC_LINK_SECONDS", 300, 60)?,
            code_seconds: reader.number("CODE_SECONDS", 300, 60)?,
            deletion_seconds: reader.number("DELETION_SECONDS", 86_400, 60)?,
            passkey_rp_id: reader.text("PASSKEY_RP_ID"),
            sms_webhook: reader.webhook("SMS_WEBHOOK", development)?,
            sms_token: reader.text("SMS_TOKEN").map(Secret::new),
            breached_passwords: reader.webhook("BREACHED_PASSWORDS", development)?,
            password_hashing: if reader.choice("PASSWORD_HASH", "argon2id", "pbkdf2")? {
                PasswordHashing::Argon2id
            } else {
                PasswordHashing::Pbkdf2
            },
            password_min: reader.length("PASSWORD_MIN_LENGTH", 8)?,
            password_max: reader.length("PASSWORD_MAX_LENGTH", 128)?,
        };
        Ok(config)
    }

    /// The origin that a tenant's people sign in on, by its own host or the default tenant's.
    #[must_use]
    pub fn auth_origin_of(&self, host: Option<&str>) -> Origin {
        host.and_then(|host| self.auth_origin.with_host(host)).unwrap_or_else(|| self.auth_origin.clone())
    }

    /// Whether a script or a redirect of this origin is welcome.
    #[must_use]
    pub fn trusts(&self, origin: &Origin) -> bool {
        *origin == self.auth_origin || self.trusted_origins.iter().any(|trusted| trusted.covers(origin))
    }

    /// The trusted origins that are named whole.
    pub fn named_origins(&self) -> impl Iterator<Item = &Origin> {
        self.trusted_origins.iter().filter_map(|trusted| match trusted {
            Trusted::Exactly(origin) => Some(origin),
            _ => None,
        })
    }

    /// Whether an app or an extension of this URL is welcome.
    #[must_use]
    pub fn trusts_app(&self, url: &Url) -> bool {
        self.trusted_origins.iter().any(|trusted| trusted.covers_app(url))
    }
}

struct Reader<F> {
    var: F,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn text(&self, name: &str) -> Option<String> {
        (self.var)(name).filter(|text| !text.trim().is_empty())
    }

    fn required_origin(&self, name: &str) -> Result<Origin> {
        let text = self.text(name).ok_or_else(|| Error::Config(format!("{name} is missing")))?;
        Origin::parse(&text)
            .ok_or_else(|| Error::Config(format!("{name} is not an origin such as https://auth.example.com")))
    }

    fn origins(&self, name: &str) -> Result<Vec<Trusted>> {
        self.text(name)
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(|text| Trusted::parse(text).map_err(|problem| Error::Config(format!("{name}: {text:?} {problem}"))))
            .collect()
    }

    fn redirect_uris(&self, name: &str) -> Result<Vec<String>> {
        let text = self.text(name).unwrap_or_default();
        let uris = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        uris.map(|uri| {
            let is_good = redirect_uri::may_be_allowed(uri);
            let bad = || Error::Config(format!("{name}: {uri:?} is no URI that somebody can be sent back to"));
            is_good.then(|| uri.to_owned()).ok_or_else(bad)
        })
        .collect()
    }

    fn webhook(&self, name: &str, development: bool) -> Result<Option<String>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let url = check_url(&text, development).map_err(|problem| Error::Config(format!("{name}: {problem}")))?;
        Ok(Some(url.into()))
    }

    fn choice(&self, name: &str, yes: &str, no: &str) -> Result<bool> {
        match self.text(name) {
            None => Ok(true),
            Some(text) if text == yes => Ok(true),
            Some(text) if text == no => Ok(false),
            Some(_) => Err(Error::Config(format!("{name} must be {yes} or {no}"))),
        }
    }

    /// Off unless it is on.
    fn switch(&self, name: &str) -> Result<bool> {
        if self.text(name).is_none() { Ok(false) } else { self.choice(name, "on", "off") }
    }

    fn ways_in(&self, name: &str, default: &str) -> Result<WaysIn> {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        WaysIn::parse(&text).ok_or_else(|| {
            Error::Config(format!(
                "{name} must be some of password, passkey, magic-link, email-otp, phone, anonymous, comma-separated"
            ))
        })
    }

    fn algorithms(&self, name: &str) -> Result<Vec<SigningAlgorithm>> {
        let Some(text) = self.text(name) else {
            return Ok(SigningAlgorithm::ALL.to_vec());
        };
        let algorithms: Option<Vec<_>> = text.split(',').map(|name| SigningAlgorithm::parse(name.trim())).collect();
        // Everything but what a client wants otherwise is signed with it.
        algorithms
            .filter(|algorithms| algorithms.contains(&SigningAlgorithm::default()))
            .ok_or_else(|| Error::Config(format!("{name} must be ES256, and may be EdDSA and RS256 as well")))
    }

    fn number(&self, name: &str, default: i64, least: i64) -> Result<i64> {
        // A century: far beyond use, far below where milliseconds overflow.
        const MOST: i64 = 3_155_760_000;
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        text.trim()
            .parse()
            .ok()
            .filter(|number| (least..=MOST).contains(number))
            .ok_or_else(|| Error::Config(format!("{name} must be a whole number from {least} to {MOST}")))
    }

    fn length(&self, name: &str, default: usize) -> Result<usize> {
        let number = self.number(name, i64::try_from(default).unwrap_or(0), 1)?;
        usize::try_from(number)
            .ok()
            .filter(|length| *length <= 1024)
            .ok_or_else(|| Error::Config(format!("{name} must be at most 1024")))
    }

    fn limit(&self, name: &str, default: Limit) -> Result<Limit> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        let parsed = text.split_once('/').and_then(|(count, seconds)| {
            Some(Limit {
                count: count.trim().parse().ok().filter(|n| *n > 0)?,
                seconds: seconds.trim().parse().ok().filter(|n| (1..=86_400).contains(n))?,
            })
        });
        parsed.ok_or_else(|| Error::Config(format!("{name} must be <count>/<seconds>, such as 3/10")))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration for tests of pure code.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Result<Config> {
        let base = [
            ("AUTH_ORIGIN", "https://auth.example"),
            ("TRUSTED_ORIGINS", "https://spa.example, https://other.example:8443"),
            ("SECRETS", "0123456789abcdef0123456789abcdef"),
        ];
        let all: Vec<_> = settings.iter().chain(base.iter()).copied().collect();
        Config::read(|name| all.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn defaults_are_safe_and_origins_are_compared_whole() {
        let config = with(&[]).expect("valid");
        assert!(!config.development);
        assert!(config.trusts(&Origin::parse("https://spa.example").expect("origin")));
        assert!(config.trusts(&Origin::parse("https://auth.example").expect("origin")));
        assert!(!config.trusts(&Origin::parse("http://spa.example").expect("origin")));
        assert!(!config.trusts(&Origin::parse("https://other.example").expect("origin")));
    }

    #[test]
    fn a_bad_setting_is_named() {
        for (name, value) in [
            ("SECRETS", "short"),
            ("SECRETS", "0123456789abcdef0123456789abcdef,"),
            ("AUTH_ORIGIN", "https://auth.example/path"),
            ("AUTH_ORIGIN", "http://auth.example"),
            ("TRUSTED_ORIGINS", "*"),
            ("TRUSTED_ORIGINS", "https://spa.example, https://*.com"),
            ("SESSION_SECONDS", "-1"),
            ("SESSION_SECONDS", "soon"),
            ("LIMIT_SIGN_IN", "3"),
            ("LIMIT_SIGN_IN", "0/10"),
            ("SIGN_UP", "maybe"),
            ("MAIL_WEBHOOK", "http://mail.example"),
            ("MAIL_WEBHOOK", "https://127.0.0.1/send"),
            ("PASSWORD_MAX_LENGTH", "5000"),
            ("PASSWORD_HASH", "md5"),
            ("SIGN_IN_WITH", "password,telepathy"),
            ("BEARER", "yes"),
            ("BREACHED_PASSWORDS", "http://pwned.example/range/"),
            ("REDIRECT_URIS_ALLOWED", "cursor://x/callback,javascript:alert(1)"),
            ("REDIRECT_URIS_ALLOWED", "cursor://*"),
            ("REDIRECT_URIS_ALLOWED", "http://app.example/cb"),
        ] {
            let error = with(&[(name, value)]).expect_err(value);
            assert!(error.to_string().contains(name), "{name}: {error}");
        }
    }
}
