//! The authorization request (RFC 6749, section 4.1.1; OpenID Connect Core 1.0, section 3.1.2.1), judged.
//!
//! PURE: no I/O, no clock, no randomness.

use serde::{Deserialize, Serialize};

use crate::federation::request::is_scope;
use crate::platform::id::Millis;
use crate::platform::problem::{Code, Problem};
use crate::provider::claims_request::ClaimsRequest;
use crate::provider::client::{Client, GrantType};
use crate::provider::parameters::Parameters;
use crate::provider::scope;
use crate::provider::scope::{OFFLINE, SCOPES};

/// The longest `nonce` and `resource`, in bytes.
const LONGEST: usize = 2048;

/// The longest `state`: some clients keep in it where their user was.
const LONGEST_STATE: usize = 4096;

/// How the answer travels (OAuth 2.0 Multiple Response Type Encoding Practices, section 2.1; Form Post Response Mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseMode {
    /// In the query.
    #[default]
    Query,
    /// In the fragment.
    Fragment,
    /// In a form that posts itself.
    FormPost,
    /// In the query, as one JWT (JWT Secured Authorization Response Mode for OAuth 2.0, section 2.3).
    #[serde(rename = "query.jwt")]
    QueryJwt,
    /// In the fragment, likewise.
    #[serde(rename = "fragment.jwt")]
    FragmentJwt,
    /// In a form, likewise.
    #[serde(rename = "form_post.jwt")]
    FormPostJwt,
}

impl ResponseMode {
    /// Reads it.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("query") => Some(Self::Query),
            Some("fragment") => Some(Self::Fragment),
            Some("form_post") => Some(Self::FormPost),
            // Section 2.3.4: the mode of the response type, which is code.
            Some("query.jwt" | "jwt") => Some(Self::QueryJwt),
            Some("fragment.jwt") => Some(Self::FragmentJwt),
            Some("form_post.jwt") => Some(Self::FormPostJwt),
            Some(_) => None,
        }
    }

    /// The modes that we say that we know.
    pub const ALL: [&str; 7] = ["query", "fragment", "form_post", "query.jwt", "fragment.jwt", "form_post.jwt", "jwt"];

    /// Whether the answer is one JWT.
    #[must_use]
    pub const fn is_jwt(self) -> bool {
        matches!(self, Self::QueryJwt | Self::FragmentJwt | Self::FormPostJwt)
    }
}

/// `prompt` (OpenID Connect Core 1.0, section 3.1.2.1; Initiating User Registration 1.0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own")]
pub struct Prompt {
    /// Nothing is shown.
    pub none: bool,
    /// They sign in again.
    pub login: bool,
    /// They are asked again.
    pub consent: bool,
    /// They choose whom to be.
    pub select_account: bool,
    /// They make an account.
    pub create: bool,
}

/// A request that is good, of a client at a URI of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// `redirect_uri`.
    pub redirect_uri: String,
    /// Whether the request named it, and the token request has to (RFC 6749, section 4.1.3).
    pub names_redirect_uri: bool,
    /// `state`.
    pub state: Option<String>,
    /// How the answer travels.
    pub response_mode: ResponseMode,
    /// Scopes, each once.
    pub scopes: Vec<String>,
    /// `nonce`.
    pub nonce: Option<String>,
    /// `code_challenge` (RFC 7636); none where the client need not send one.
    pub code_challenge: Option<String>,
    /// `prompt`.
    pub prompt: Prompt,
    /// `max_age`, in seconds.
    pub max_age: Option<i64>,
    /// `login_hint`.
    pub login_hint: Option<String>,
    /// `resource` (RFC 8707).
    pub resources: Vec<String>,
    /// `claims`.
    #[serde(default)]
    pub claims: ClaimsRequest,
    /// `acr_values`, the first the most wanted.
    #[serde(default)]
    pub acr_values: Vec<String>,
    /// `dpop_jkt`: the key that the code is bound to (RFC 9449, section 10).
    #[serde(default)]
    pub dpop_jkt: Option<String>,
}

impl AuthorizationRequest {
    /// What its user is asked about: the scopes, those that stand for claims asked for one by one, the resources, and whether
    /// it lasts.
    #[must_use]
    pub fn consent_scopes(&self, client: &Client) -> Vec<String> {
        asked_for(client, &self.scopes, self.claims.scopes(), &self.resources)
    }

    /// What `acr` is wanted to be, the most wanted first.
    #[must_use]
    pub fn wanted_acr(&self) -> &[String] {
        if self.claims.acr.is_empty() { &self.acr_values } else { &self.claims.acr }
    }

    /// Whether an ID token is asked for.
    #[must_use]
    pub fn is_open_id(&self) -> bool {
        self.scopes.iter().any(|scope| scope == "openid")
    }

    /// Whether somebody who signed in then has to do so again.
    #[must_use]
    pub fn asks_again(&self, authenticated_at: Millis, now: Millis) -> bool {
        self.max_age.is_some_and(|seconds| authenticated_at + seconds * 1000 < now)
    }
}

/// Where an error is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A redirect URI of the client's own.
    pub redirect_uri: String,
    /// How.
    pub response_mode: ResponseMode,
    /// `state`.
    pub state: Option<String>,
}

/// A request that is not good: told to the client where that is safe, and on a page of ours where it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The error.
    pub problem: Problem,
    /// Where it is told; none for our own page.
    pub place: Option<Place>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problem, place: None }
    }
}

/// Judges a request of a client.
///
/// # Errors
/// [`Refused`]: no error goes to a URI that is not the client's own.
pub fn judge(parameters: &Parameters, client: &Client) -> Result<AuthorizationRequest, Refused> {
    let invalid = |description| Problem::new(Code::InvalidRequest, description);
    let given = parameters.get("redirect_uri");
    let redirect_uri = match (given, client.redirect_uris.as_slice()) {
        (Some(uri), _) if client.owns(uri) => uri.to_owned(),
        (Some(_), _) => return Err(invalid("redirect_uri is not registered for this client").into()),
        // OpenID Connect wants it always, and FAPI 2.0 Security Profile, section 5.3.2.2; OAuth lets it out where there is but
        // one.
        (None, [only]) if !client.details.fapi && !parameters.words("scope").any(|scope| scope == "openid") => {
            only.clone()
        }
        (None, _) => return Err(invalid("redirect_uri is missing").into()),
    };
    let state = parameters.get("state").map(str::to_owned);
    let mode = ResponseMode::parse(parameters.get("response_mode"));
    let place =
        Place { redirect_uri: redirect_uri.clone(), response_mode: mode.unwrap_or_default(), state: state.clone() };
    let refused = |problem: Problem| Refused { problem, place: Some(place.clone()) };
    let response_mode = mode.ok_or_else(|| refused(invalid("response_mode is not one of ours")))?;
    if state.as_ref().is_some_and(|state| state.len() > LONGEST_STATE) {
        return Err(refused(invalid("state is too long")));
    }
    match parameters.get("response_type") {
        Some("code") if client.may(GrantType::AuthorizationCode) => (),
        Some("code") => {
            let text = "the client may not use the authorization code grant";
            return Err(refused(Problem::new(Code::UnauthorizedClient, text)));
        }
        Some(_) => return Err(refused(Problem::new(Code::UnsupportedResponseType, "response_type is code here"))),
        None => return Err(refused(invalid("response_type is missing"))),
    }
    if parameters.get("registration").is_some() {
        let problem = Problem::new(Code::RegistrationNotSupported, "the parameter is not supported");
        return Err(refused(problem));
    }
    let code_challenge = challenge(parameters, client).map_err(&refused)?;
    let scopes = scopes(parameters, client).map_err(&refused)?;
    let nonce = parameters.get("nonce").map(str::to_owned);
    if nonce.as_ref().is_some_and(|nonce| nonce.len() > LONGEST) {
        return Err(refused(invalid("nonce is too long")));
    }
    let max_age = match parameters.get("max_age").map(str::parse::<i64>) {
        None => client.details.default_max_age,
        Some(Ok(seconds)) if (0..=315_360_000).contains(&seconds) => Some(seconds),
        Some(_) => return Err(refused(invalid("max_age is no number of seconds"))),
    };
    let prompt = prompt(parameters).map_err(&refused)?;
    judge_resources(parameters.resources(), client).map_err(&refused)?;
    let claims = parameters.get("claims").map(|text| ClaimsRequest::parse(text, &client.scopes)).transpose();
    let claims = claims.map_err(&refused)?.unwrap_or_default();
    let dpop_jkt = parameters.get("dpop_jkt").map(str::to_owned);
    if dpop_jkt.as_ref().is_some_and(|jkt| !is_digest(jkt)) {
        return Err(refused(invalid("dpop_jkt is no thumbprint")));
    }
    Ok(AuthorizationRequest {
        redirect_uri,
        names_redirect_uri: given.is_some(),
        state,
        response_mode,
        scopes,
        nonce,
        code_challenge,
        prompt,
        max_age,
        login_hint: parameters.get("login_hint").map(|hint| hint.chars().take(256).collect()),
        resources: parameters.resources().to_vec(),
        claims,
        acr_values: parameters.words("acr_values").take(20).map(str::to_owned).collect(),
        dpop_jkt,
    })
}

/// What a user is asked about by a client that wants these scopes, these claims' scopes and these resources.
#[must_use]
pub fn asked_for<'a>(
    client: &Client,
    scopes: &[String],
    claims: impl Iterator<Item = &'a str>,
    resources: &[String],
) -> Vec<String> {
    let mut all = scopes.to_vec();
    let lasts = client.lasts(scopes.iter().map(String::as_str)).then(|| OFFLINE.to_owned());
    let resources = resources.iter().map(|resource| of_resource(resource));
    for scope in claims.map(str::to_owned).chain(resources).chain(lasts) {
        if !all.contains(&scope) {
            all.push(scope);
        }
    }
    all
}

/// What is agreed to by whoever lets a client use a resource in their name, among the scopes.
#[must_use]
pub fn of_resource(resource: &str) -> String {
    format!("{}{resource}", scope::RESOURCE)
}

/// Whether a client may ask for these resources: those that are known, of which its own are a part where they are listed.
///
/// # Errors
/// `invalid_target`.
pub fn judge_resources(resources: &[String], client: &Client) -> Result<(), Problem> {
    resources.iter().try_for_each(|resource| judge_resource(resource))?;
    let listed = &client.details.resources;
    let is_allowed = |resource: &String| (listed.is_empty() || listed.contains(resource)) && client.knows(resource);
    if resources.iter().all(is_allowed) {
        return Ok(());
    }
    Err(Problem::new(Code::InvalidTarget, "a resource is not the client's to ask for"))
}

/// Whether a text is a SHA-256 in base64url.
fn is_digest(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether a resource is one that can be named (RFC 8707, section 2).
///
/// # Errors
/// `invalid_target`.
pub fn judge_resource(resource: &str) -> Result<(), Problem> {
    let is_absolute = url::Url::parse(resource).is_ok_and(|url| url.fragment().is_none());
    if is_absolute && resource.len() <= LONGEST {
        return Ok(());
    }
    Err(Problem::new(Code::InvalidTarget, "resource is no absolute URI without a fragment"))
}

/// RFC 7636, section 4.3, with `S256` alone: `plain` protects nothing from whoever reads the request (RFC 9700, section
/// 2.1.1). A client that need not send one is held to the one that it sends.
fn challenge(parameters: &Parameters, client: &Client) -> Result<Option<String>, Problem> {
    let invalid = |description| Problem::new(Code::InvalidRequest, description);
    let Some(challenge) = parameters.get("code_challenge") else {
        if client.requires_pkce() || parameters.get("code_challenge_method").is_some() {
            return Err(invalid("code_challenge is missing (PKCE)"));
        }
        return Ok(None);
    };
    if parameters.get("code_challenge_method") != Some("S256") {
        return Err(invalid("code_challenge_method is S256 here"));
    }
    if is_digest(challenge) {
        Ok(Some(challenge.to_owned()))
    } else {
        Err(invalid("code_challenge is no SHA-256 in base64url"))
    }
}

/// The scopes of a request, each once. What is no scope of anybody's that we know is passed over, and the answer tells what was
/// granted (OpenID Connect Core 1.0, section 3.1.2.1; RFC 6749, section 3.3).
///
/// # Errors
/// `invalid_scope` for one that we know and the client may not have.
pub fn scopes(parameters: &Parameters, client: &Client) -> Result<Vec<String>, Problem> {
    let mut scopes: Vec<String> = Vec::new();
    for scope in parameters.words("scope") {
        if !is_scope(scope) {
            return Err(Problem::new(Code::InvalidScope, "scope is malformed"));
        }
        if !client.scopes.iter().any(|allowed| allowed == scope) {
            if !SCOPES.iter().any(|(known, _)| *known == scope) {
                continue;
            }
            return Err(Problem::new(Code::InvalidScope, "a scope is not the client's to ask for"));
        }
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    Ok(scopes)
}

fn prompt(parameters: &Parameters) -> Result<Prompt, Problem> {
    let mut prompt = Prompt::default();
    for word in parameters.words("prompt") {
        let flag = match word {
            "none" => &mut prompt.none,
            "login" => &mut prompt.login,
            "consent" => &mut prompt.consent,
            "select_account" => &mut prompt.select_account,
            "create" => &mut prompt.create,
            _ => return Err(Problem::new(Code::InvalidRequest, "prompt is not one of ours")),
        };
        *flag = true;
    }
    if prompt.none && parameters.words("prompt").count() > 1 {
        return Err(Problem::new(Code::InvalidRequest, "prompt is none or something else"));
    }
    Ok(prompt)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::platform::id::Id;
    use crate::provider::client;
    use crate::provider::client::{AuthMethod, Details};

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    const URI: &str = "https://app.example/cb";

    pub(crate) fn client() -> Client {
        Client {
            id: Id::trusted("c".to_owned()),
            client_id: "app".to_owned(),
            secret_hashes: Vec::new(),
            name: "App".to_owned(),
            is_native: false,
            auth_method: AuthMethod::ClientSecretBasic,
            redirect_uris: vec![URI.to_owned()],
            post_logout_redirect_uris: Vec::new(),
            grant_types: vec![GrantType::AuthorizationCode],
            scopes: ["openid", "email"].map(str::to_owned).into(),
            jwks: None,
            jwks_uri: None,
            is_pairwise: false,
            has_jwt_access_tokens: true,
            skips_consent: false,
            icon: None,
            client_uri: None,
            policy_uri: None,
            tos_uri: None,
            backchannel_logout_uri: None,
            frontchannel_logout_uri: None,
            details: Details::default(),
            document_read_at: None,
            issuer: "https://auth.example".to_owned(),
            is_vouched_for: true,
            known_resources: ["https://api.example", "https://a.example", "https://b.example"]
                .map(str::to_owned)
                .into(),
        }
    }

    fn good() -> Parameters {
        let text = format!(
            "client_id=app&response_type=code&redirect_uri={URI}&scope=openid+email&state=s&code_challenge={CHALLENGE}&code_challenge_method=S256"
        );
        Parameters::parse(&text).expect("reads")
    }

    #[test]
    fn the_issuer_is_a_resource_in_no_spelling_and_nothing_else_is_it() {
        let issuer = "https://auth.example";
        for text in [
            "https://auth.example",
            "https://auth.example/",
            "https://auth.example//",
            "https://auth.example:443",
            "https://auth.example:443/",
            "HTTPS://AUTH.Example/",
            "https://%61uth.example",
            "https://auth.example./",
            "https://auth.example/.",
            "https://auth.example/x/..",
            "https://auth.example/%2e",
            "https://auth.example/%2F",
            "https://auth.example/?x",
            "https://auth.example?",
            "https://somebody@auth.example/",
            "https:auth.example",
            "https:\\\\auth.example\\",
            " https://auth.example",
        ] {
            assert!(client::is_issuer(text, issuer), "{text}");
            let mut client = client();
            client.known_resources.push(text.to_owned());
            assert!(judge_resources(&[text.to_owned()], &client).is_err(), "{text}");
        }
        for text in [
            "https://auth.example/oauth2/userinfo",
            "https://auth.example:8443",
            "https://api.auth.example",
            "https://auth.example.org",
            "http://auth.example:443x",
            "urn:auth.example",
        ] {
            assert!(!client::is_issuer(text, issuer), "{text}");
        }
        assert!(client::is_issuer("http://auth.localhost:8787/", "http://auth.localhost:8787"));
    }

    #[test]
    fn a_good_request_is_what_it_says() {
        let request = judge(&good(), &client()).expect("good");
        assert_eq!(request.scopes, ["openid", "email"]);
        assert!(request.is_open_id() && request.names_redirect_uri);
    }

    #[test]
    fn no_error_goes_to_a_uri_that_is_not_the_clients() {
        for uri in ["https://evil.example/cb", "https://app.example/cb/", "https://app.example/CB", "javascript:1"] {
            let mut bad = good();
            bad.set("redirect_uri", uri);
            assert_eq!(judge(&bad, &client()).expect_err(uri).place, None);
        }
        let mut none = good();
        none.remove("redirect_uri");
        assert_eq!(judge(&none, &client()).expect_err("OpenID Connect").place, None);
        none.set("scope", "email");
        assert!(judge(&none, &client()).is_ok_and(|request| !request.names_redirect_uri));
    }

    #[test]
    fn scopes_that_nobody_knows_are_passed_over() {
        let mut request = good();
        request.set("scope", "openid username email urn:x:y email");
        assert_eq!(judge(&request, &client()).expect("good").scopes, ["openid", "email"]);
    }

    #[test]
    fn a_challenge_is_asked_of_everybody_but_a_client_with_credentials_that_is_let_off() {
        let mut without = good();
        without.remove("code_challenge");
        assert!(judge(&without, &client()).is_err());
        let mut classical = client();
        classical.details.classical = true;
        assert!(judge(&without, &classical).is_err(), "a method without a challenge");
        without.remove("code_challenge_method");
        assert_eq!(judge(&without, &classical).expect("good").code_challenge, None);
        assert_eq!(judge(&good(), &classical).expect("good").code_challenge.as_deref(), Some(CHALLENGE));
        let mut plain = good();
        plain.set("code_challenge_method", "plain");
        assert!(judge(&plain, &classical).is_err());
        let mut strict = classical.clone();
        strict.details.require_pkce = Some(true);
        assert!(judge(&without, &strict).is_err());
        let mut public = classical;
        public.auth_method = AuthMethod::None;
        assert!(judge(&without, &public).is_err());
    }

    #[test]
    fn a_state_may_be_long() {
        let mut request = good();
        request.set("state", "x".repeat(4096));
        assert!(judge(&request, &client()).is_ok());
        request.set("state", "x".repeat(4097));
        assert!(judge(&request, &client()).is_err());
    }

    #[test]
    fn each_parameter_is_judged() {
        for (name, value, code) in [
            ("response_type", "token", Code::UnsupportedResponseType),
            ("response_type", "code id_token", Code::UnsupportedResponseType),
            ("response_type", "", Code::InvalidRequest),
            ("response_mode", "post", Code::InvalidRequest),
            ("claims", "x", Code::InvalidRequest),
            ("dpop_jkt", "short", Code::InvalidRequest),
            ("code_challenge", "", Code::InvalidRequest),
            ("code_challenge", "short", Code::InvalidRequest),
            ("code_challenge_method", "plain", Code::InvalidRequest),
            ("code_challenge_method", "", Code::InvalidRequest),
            ("scope", "openid phone", Code::InvalidScope),
            ("scope", "openid \"", Code::InvalidScope),
            ("prompt", "none login", Code::InvalidRequest),
            ("prompt", "whatever", Code::InvalidRequest),
            ("max_age", "-1", Code::InvalidRequest),
            ("max_age", "soon", Code::InvalidRequest),
            ("registration", "{}", Code::RegistrationNotSupported),
        ] {
            let mut bad = good();
            bad.set(name, value);
            if value.is_empty() {
                bad.remove(name);
            }
            let refused = judge(&bad, &client()).expect_err(name);
            assert_eq!(refused.problem.code, code, "{name}={value}");
            assert_eq!(
                refused.place.map(|place| (place.redirect_uri, place.state)),
                Some((URI.to_owned(), Some("s".to_owned())))
            );
        }
        let mut target = good();
        target = Parameters::parse(&format!("{}&resource=not-a-uri", "client_id=app&response_type=code&code_challenge_method=S256&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&scope=email")).unwrap_or(target);
        assert_eq!(judge(&target, &client()).expect_err("target").problem.code, Code::InvalidTarget);
    }
}
