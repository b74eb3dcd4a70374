//! Client metadata (RFC 7591, section 2), judged.
//!
//! PURE: no I/O, no clock, no randomness.

use serde_json::{Map, Value};
use url::Url;

use crate::federation::request::is_scope;
use crate::http::visible;
use crate::jose::jws::KeySet;
use crate::platform::algorithm::{ALGORITHMS, SigningAlgorithm};
use crate::platform::outbound_url::check_url;
use crate::platform::problem::{Code, Problem};
use crate::platform::redirect_uri;
use crate::provider::authorization::judge_resource;
use crate::provider::client::{AuthMethod, Details, GrantType, NewClient, is_issuer};
use crate::provider::scope::SCOPES;

/// The most redirect URIs and contacts.
const MOST: usize = 30;

fn invalid(description: &'static str) -> Problem {
    Problem::new(Code::InvalidClientMetadata, description)
}

fn list(metadata: &Map<String, Value>, name: &str) -> Result<Option<Vec<String>>, Problem> {
    let Some(value) = metadata.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let texts = value.as_array().filter(|list| list.len() <= MOST).map(|list| list.iter().map(Value::as_str));
    let texts: Option<Vec<&str>> = texts.and_then(Iterator::collect);
    let texts = texts.ok_or_else(|| invalid("a list is none of texts, or is too long"))?;
    Ok(Some(texts.into_iter().map(str::to_owned).collect()))
}

fn text(metadata: &Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match metadata.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= 2000 && !text.chars().any(char::is_control) => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(invalid("a member is no text, or is too long")),
    }
}

fn boolean(metadata: &Map<String, Value>, name: &str) -> Result<bool, Problem> {
    match metadata.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(invalid("a member is neither true nor false")),
    }
}

/// An algorithm that its signatures have to be of.
fn theirs(metadata: &Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    let algorithm = text(metadata, name)?;
    match algorithm.as_deref() {
        Some(name) if !ALGORITHMS.contains(&name) => Err(invalid("a signing algorithm is none that we verify")),
        _ => Ok(algorithm),
    }
}

/// An algorithm that we are to sign with.
fn ours(
    metadata: &Map<String, Value>,
    name: &str,
    allowed: &[SigningAlgorithm],
) -> Result<Option<SigningAlgorithm>, Problem> {
    let Some(name) = text(metadata, name)? else {
        return Ok(None);
    };
    let algorithm = SigningAlgorithm::parse(&name).filter(|algorithm| allowed.contains(algorithm));
    algorithm.map(Some).ok_or_else(|| invalid("a signing algorithm is none that we sign with"))
}

fn uri(metadata: &Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    let Some(text) = text(metadata, name)? else {
        return Ok(None);
    };
    // It is shown as a link or a picture on our pages.
    let is_web = Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    if is_web { Ok(Some(text)) } else { Err(invalid("a URI is not of the web")) }
}

/// A member of a client's that may be left to what others say.
fn choice(metadata: &Map<String, Value>, name: &str) -> Result<Option<bool>, Problem> {
    let is_said = metadata.get(name).is_some_and(|value| !value.is_null());
    if is_said { boolean(metadata, name).map(Some) } else { Ok(None) }
}

/// What an administrator alone says of a client: some of it lets it do more, some holds it to more.
const ADMINISTERED: [&str; 6] =
    ["skip_consent", "classical", "require_pkce", "either_secret_method", "id_token_scope_claims", "fapi"];

/// Whether metadata says something of that, other than what holds for every client.
#[must_use]
pub fn is_administered(metadata: &Map<String, Value>) -> bool {
    ADMINISTERED.iter().any(|name| match metadata.get(*name) {
        None | Some(Value::Null) => false,
        Some(value) => *value != Value::Bool(*name == "require_pkce"),
    })
}

/// Grant types and scopes that an administrator alone gives.
fn vouched(metadata: &Map<String, Value>) -> Vec<&str> {
    let is_given = |name: &&str| GrantType::parse(name).is_some_and(|grant| !grant.is_for_anybody());
    let grants = metadata.get("grant_types").and_then(Value::as_array).into_iter().flatten();
    let scopes = metadata.get("scope").and_then(Value::as_str).unwrap_or_default().split_whitespace();
    let is_own = |name: &&str| !SCOPES.iter().any(|(known, _)| known == name);
    grants.filter_map(Value::as_str).filter(is_given).chain(scopes.filter(is_own)).collect()
}

/// Whether a client that is changed would keep some of what an administrator gave it.
#[must_use]
pub fn keeps_vouched(before: &Map<String, Value>, after: &Map<String, Value>) -> bool {
    let given = vouched(before);
    vouched(after).iter().any(|name| given.contains(name))
}

/// What is allowed to whoever registers a client.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// Whether an administrator vouches for the client: it may skip consent, have scopes of its own, and act for users who
    /// are not there.
    pub is_trusted: bool,
    /// Whether private networks are reached.
    pub development: bool,
    /// What we sign with.
    pub algorithms: &'a [SigningAlgorithm],
    /// Our own issuer identifier.
    pub issuer: String,
    /// Redirect URIs that are allowed whatever their scheme.
    pub redirect_uris_allowed: &'a [String],
}

/// The redirect URIs that may be registered (RFC 7591, section 3.2.1: what is not suitable is replaced, and told). Others are
/// left out as long as one is good.
fn uris(given: Vec<String>, is_native: bool, terms: &Terms<'_>) -> Result<Vec<String>, Problem> {
    let refused = |why| Problem::new(Code::InvalidRedirectUri, why);
    if given.iter().any(|uri| redirect_uri::is_dangerous(uri)) {
        return Err(refused("a redirect URI has a scheme that browsers run or show"));
    }
    let mut problem = None;
    let mut good: Vec<String> = Vec::new();
    for uri in given {
        let is_allowed = terms.redirect_uris_allowed.contains(&uri);
        match redirect_uri::judge(&uri, is_native) {
            Err(why) if !is_allowed => problem = problem.or(Some(why)),
            _ => good.push(uri),
        }
    }
    match problem {
        Some(why) if good.is_empty() => Err(refused(why)),
        _ => Ok(good),
    }
}

/// What it is to be granted: of what it asks, what is served to such a client. A client says what it can do, not what it gets.
fn grants(
    metadata: &Map<String, Value>,
    auth_method: AuthMethod,
    terms: &Terms<'_>,
) -> Result<Vec<GrantType>, Problem> {
    let Some(asked) = list(metadata, "grant_types")? else {
        return Ok(vec![GrantType::AuthorizationCode]);
    };
    let is_public = auth_method == AuthMethod::None;
    let mut granted: Vec<GrantType> = Vec::new();
    for grant in asked.iter().filter_map(|name| GrantType::parse(name)) {
        // A public client has no credentials to be granted something for.
        let needs_credentials = grant == GrantType::ClientCredentials || !grant.is_for_anybody();
        let is_its_own = terms.is_trusted || grant.is_for_anybody();
        if is_its_own && !(is_public && needs_credentials) && !granted.contains(&grant) {
            granted.push(grant);
        }
    }
    // A refresh token comes with something else.
    if granted.iter().all(|grant| *grant == GrantType::RefreshToken) && !asked.is_empty() {
        return Err(invalid("no grant type is one that this client may have"));
    }
    Ok(granted)
}

/// Judges client metadata.
///
/// # Errors
/// `invalid_redirect_uri`, `invalid_client_metadata`.
pub fn judge(metadata: &Map<String, Value>, terms: &Terms<'_>) -> Result<NewClient, Problem> {
    let Terms { is_trusted, development, .. } = *terms;
    let given = list(metadata, "redirect_uris")?.unwrap_or_default();
    let is_native = match text(metadata, "application_type")?.as_deref() {
        // It does not say so, and is: a scheme of its own is an application's on the user's device.
        None => given.iter().any(|uri| redirect_uri::is_private_use(uri) && redirect_uri::judge(uri, true).is_ok()),
        Some("web") => false,
        Some("native") => true,
        Some(_) => return Err(invalid("application_type is web or native")),
    };
    let auth_method = match text(metadata, "token_endpoint_auth_method")? {
        None if is_native => AuthMethod::None,
        None => AuthMethod::ClientSecretBasic,
        Some(name) => AuthMethod::ALL
            .into_iter()
            .find(|method| method.as_str() == name)
            .ok_or_else(|| invalid("token_endpoint_auth_method is not one of ours"))?,
    };
    let grant_types = grants(metadata, auth_method, terms)?;
    if let Some(types) = list(metadata, "response_types")?
        && !types.is_empty()
        && !types.iter().any(|kind| kind == "code")
        && grant_types.contains(&GrantType::AuthorizationCode)
    {
        return Err(invalid("response_type is code here"));
    }
    let redirect_uris = uris(given, is_native, terms)?;
    if redirect_uris.is_empty() && grant_types.contains(&GrantType::AuthorizationCode) {
        return Err(Problem::new(Code::InvalidRedirectUri, "redirect_uris is missing"));
    }
    let after_logout = list(metadata, "post_logout_redirect_uris")?.unwrap_or_default();
    let post_logout_redirect_uris = uris(after_logout, is_native, terms)?;
    let mut scopes = match text(metadata, "scope")? {
        Some(scope) => scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        None => SCOPES.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<String>>(),
    };
    if scopes.len() > 50 || !scopes.iter().all(|scope| is_scope(scope)) {
        return Err(invalid("scope is malformed"));
    }
    // A client that names scopes of its own invents rights; what they mean is an administrator's to say.
    if !is_trusted {
        scopes.retain(|scope| SCOPES.iter().any(|(known, _)| known == scope));
    }
    let (jwks, jwks_uri) = keys(metadata, auth_method, development)?;
    let is_pairwise = match text(metadata, "subject_type")?.as_deref() {
        None | Some("public") => false,
        // Section 8.1: names are by the host, and a client of two would have those of another's users.
        Some("pairwise") if !has_one_host(&redirect_uris) => {
            return Err(invalid("a pairwise subject_type needs redirect URIs of one host"));
        }
        Some("pairwise") => true,
        Some(_) => return Err(invalid("subject_type is public or pairwise")),
    };
    if !is_trusted && is_administered(metadata) {
        return Err(invalid("a member is an administrator's to say"));
    }
    if metadata.get("sector_identifier_uri").is_some_and(is_said) && is_pairwise {
        return Err(invalid("sector_identifier_uri is not read: a pairwise client has redirect URIs of one host"));
    }
    let skips_consent = boolean(metadata, "skip_consent")?;
    let [backchannel_logout_uri, frontchannel_logout_uri] = logout(metadata, &redirect_uris, development)?;
    let details = details(metadata, auth_method, terms)?;
    let name = text(metadata, "client_name")?.filter(|name| !name.trim().is_empty());
    // The page of consent asks about it: what turns the words around it, or is not seen, is no name.
    if name.as_ref().is_some_and(|name| visible::problem(name).is_some() || !visible::is_seen(name)) {
        return Err(invalid("client_name has characters that cannot be seen"));
    }
    Ok(NewClient {
        name: name.unwrap_or_else(|| "An application".to_owned()).chars().take(100).collect(),
        is_native,
        auth_method,
        redirect_uris,
        post_logout_redirect_uris,
        grant_types,
        scopes,
        jwks,
        jwks_uri,
        is_pairwise,
        uris: [
            uri(metadata, "client_uri")?,
            uri(metadata, "logo_uri")?,
            uri(metadata, "policy_uri")?,
            uri(metadata, "tos_uri")?,
        ],
        contacts: list(metadata, "contacts")?.unwrap_or_default(),
        skips_consent,
        has_jwt_access_tokens: match text(metadata, "access_token_format")?.as_deref() {
            None | Some("jwt") => true,
            Some("opaque") => false,
            Some(_) => return Err(invalid("access_token_format is jwt or opaque")),
        },
        backchannel_logout_uri,
        frontchannel_logout_uri,
        details,
    })
}

/// Whether something is said by a member: neither nothing nor no.
fn is_said(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

fn has_one_host(uris: &[String]) -> bool {
    let host = |uri: &String| Url::parse(uri).ok().and_then(|url| url.host_str().map(str::to_owned));
    let first = uris.first().and_then(host);
    first.is_some() && uris.iter().all(|uri| host(uri) == first)
}

/// OpenID Connect Back-Channel Logout 1.0, section 2.2, and Front-Channel Logout 1.0, section 2.
fn logout(
    metadata: &Map<String, Value>,
    redirect_uris: &[String],
    development: bool,
) -> Result<[Option<String>; 2], Problem> {
    let back = text(metadata, "backchannel_logout_uri")?;
    if let Some(uri) = &back {
        check_url(uri, development).map_err(|_| invalid("backchannel_logout_uri is none that we ask"))?;
    }
    let front = text(metadata, "frontchannel_logout_uri")?;
    if let Some(uri) = &front {
        let origin = |uri: &str| Url::parse(uri).ok().map(|url| url.origin()).filter(url::Origin::is_tuple);
        let own = origin(uri).filter(|own| redirect_uris.iter().any(|other| origin(other).as_ref() == Some(own)));
        // A page of ours frames it: it must be of the client's own making.
        if own.is_none() || uri.contains('#') {
            return Err(invalid("frontchannel_logout_uri is of another origin than every redirect URI"));
        }
    }
    Ok([back, front])
}

/// The rest.
fn details(metadata: &Map<String, Value>, method: AuthMethod, terms: &Terms<'_>) -> Result<Details, Problem> {
    if metadata
        .keys()
        .any(|name| name.contains("_encrypted_response_") || name.starts_with("request_object_encryption"))
    {
        return Err(invalid("nothing is encrypted here but the connection"));
    }
    let other_names = ["san_dns", "san_uri", "san_ip", "san_email"];
    if other_names.iter().any(|name| metadata.contains_key(&format!("tls_client_auth_{name}"))) {
        return Err(invalid("a certificate is known by its subject alone: tls_client_auth_subject_dn"));
    }
    let tls_client_auth_subject_dn = text(metadata, "tls_client_auth_subject_dn")?.filter(|name| !name.is_empty());
    if method == AuthMethod::TlsClientAuth && tls_client_auth_subject_dn.is_none() {
        return Err(invalid("tls_client_auth needs tls_client_auth_subject_dn"));
    }
    let resources = list(metadata, "resources")?.unwrap_or_default();
    let resource = text(metadata, "resource")?;
    for resource in resources.iter().chain(&resource) {
        judge_resource(resource).map_err(|_| invalid("a resource is no absolute URI without a fragment"))?;
        if is_issuer(resource, &terms.issuer) {
            return Err(invalid("this server itself is no resource"));
        }
    }
    // A resource is told of every token for it.
    if resource.is_some() && !terms.is_trusted {
        return Err(invalid("resource is an administrator's to say"));
    }
    let default_max_age = match metadata.get("default_max_age") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let seconds = value.as_i64().filter(|seconds| (0..=315_360_000).contains(seconds));
            Some(seconds.ok_or_else(|| invalid("default_max_age is no number of seconds"))?)
        }
    };
    let switches = switches(metadata, method, terms)?;
    // FAPI 2.0 Security Profile, section 5.4.1: not by PKCS #1 version 1.5.
    let allowed = |algorithm: &SigningAlgorithm| !switches.fapi || *algorithm != SigningAlgorithm::Rs256;
    let algorithms: Vec<SigningAlgorithm> = terms.algorithms.iter().copied().filter(allowed).collect();
    let ours = |name| ours(metadata, name, &algorithms);
    // The standards' default, which much software takes for granted (OpenID Connect Dynamic Client Registration 1.0, section
    // 2; JARM, section 3; RFC 9701, section 6).
    let standard = algorithms.iter().copied().find(|algorithm| *algorithm == SigningAlgorithm::Rs256);
    let standard = standard.unwrap_or_default();
    let flag = |name| boolean(metadata, name);
    let tls_client_certificate_bound_access_tokens = flag("tls_client_certificate_bound_access_tokens")?;
    Ok(Details {
        id_token_signed_response_alg: ours("id_token_signed_response_alg")?.unwrap_or(standard),
        authorization_signed_response_alg: ours("authorization_signed_response_alg")?.unwrap_or(standard),
        introspection_signed_response_alg: ours("introspection_signed_response_alg")?.unwrap_or(standard),
        userinfo_signed_response_alg: ours("userinfo_signed_response_alg")?,
        token_endpoint_auth_signing_alg: theirs(metadata, "token_endpoint_auth_signing_alg")?,
        request_object_signing_alg: theirs(metadata, "request_object_signing_alg")?,
        require_signed_request_object: flag("require_signed_request_object")?,
        require_pushed_authorization_requests: switches.fapi || flag("require_pushed_authorization_requests")?,
        // Section 5.3.2.1: tokens are bound to one or the other.
        dpop_bound_access_tokens: flag("dpop_bound_access_tokens")?
            || (switches.fapi && !tls_client_certificate_bound_access_tokens),
        tls_client_certificate_bound_access_tokens,
        tls_client_auth_subject_dn,
        resources,
        resource,
        default_max_age,
        backchannel_logout_session_required: flag("backchannel_logout_session_required")?,
        frontchannel_logout_session_required: flag("frontchannel_logout_session_required")?,
        software_id: text(metadata, "software_id")?,
        software_version: text(metadata, "software_version")?,
        ..switches
    })
}

/// What an administrator says of how old, or how strict, a client is.
fn switches(metadata: &Map<String, Value>, method: AuthMethod, terms: &Terms<'_>) -> Result<Details, Problem> {
    let choice = |name| choice(metadata, name);
    let switches = Details {
        classical: boolean(metadata, "classical")?,
        require_pkce: choice("require_pkce")?,
        // An administrator who did not say which way leaves it to the client (OAuth 2.1, section 2.4.1, has but one).
        either_secret_method: choice("either_secret_method")?.or_else(|| {
            let is_said = metadata.get("token_endpoint_auth_method").is_some_and(is_said);
            (terms.is_trusted && method.has_secret()).then_some(!is_said)
        }),
        id_token_scope_claims: choice("id_token_scope_claims")?,
        fapi: boolean(metadata, "fapi")?,
        ..Details::default()
    };
    if method == AuthMethod::None && switches.require_pkce == Some(false) {
        return Err(invalid("a public client has nothing but PKCE"));
    }
    if switches.fapi {
        if switches.classical || switches.require_pkce == Some(false) {
            return Err(invalid("a client of FAPI is no classical one, and uses PKCE"));
        }
        if !matches!(method, AuthMethod::PrivateKeyJwt | AuthMethod::TlsClientAuth) {
            return Err(invalid("a client of FAPI authenticates by private_key_jwt or tls_client_auth"));
        }
    }
    Ok(switches)
}

type Keys = (Option<Value>, Option<String>);

fn keys(metadata: &Map<String, Value>, method: AuthMethod, development: bool) -> Result<Keys, Problem> {
    let given = metadata.get("jwks").filter(|value| !value.is_null());
    let jwks_uri = text(metadata, "jwks_uri")?;
    if given.is_some() && jwks_uri.is_some() {
        return Err(invalid("jwks or jwks_uri, and not both"));
    }
    let mut jwks = None;
    if let Some(given) = given {
        let keys = KeySet::read(given.to_string().as_bytes());
        let keys = keys.map_err(|_| invalid("jwks is no JWK set, or one of more than 32 keys"))?;
        if keys.has_secrets() {
            return Err(invalid("jwks has a private or symmetric key, which is not to be shown to anybody"));
        }
        jwks = Some(keys.document());
    }
    if let Some(uri) = &jwks_uri {
        check_url(uri, development).map_err(|_| invalid("jwks_uri is none that we ask"))?;
    }
    if method == AuthMethod::PrivateKeyJwt && jwks.is_none() && jwks_uri.is_none() {
        return Err(invalid("private_key_jwt needs jwks or jwks_uri"));
    }
    Ok((jwks, jwks_uri))
}

#[cfg(test)]
mod tests {

    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "reads better in a table")]
    fn read(metadata: Value, trusted: bool) -> Result<NewClient, Code> {
        let terms = Terms {
            is_trusted: trusted,
            development: false,
            algorithms: &SigningAlgorithm::ALL,
            issuer: "https://auth.example".to_owned(),
            redirect_uris_allowed: &["cursor://anysphere.cursor-mcp/oauth/callback".to_owned()],
        };
        judge(metadata.as_object().expect("object"), &terms).map_err(|problem| problem.code)
    }

    #[test]
    fn defaults_are_the_standards() {
        let client = read(json!({"redirect_uris": ["https://a.example/cb"]}), false).expect("good");
        assert_eq!(client.auth_method, AuthMethod::ClientSecretBasic);
        assert_eq!(client.grant_types, [GrantType::AuthorizationCode]);
        let native = json!({"application_type": "native", "redirect_uris": ["com.example:/cb"]});
        assert_eq!(read(native, false).expect("good").auth_method, AuthMethod::None);
    }

    #[test]
    fn what_is_signed_for_a_client_that_names_no_algorithm_is_rs256() {
        let client = read(json!({"redirect_uris": ["https://a.example/cb"]}), false).expect("good");
        let details = client.details;
        assert_eq!(details.id_token_signed_response_alg, SigningAlgorithm::Rs256);
        assert_eq!(details.authorization_signed_response_alg, SigningAlgorithm::Rs256);
        assert_eq!(details.introspection_signed_response_alg, SigningAlgorithm::Rs256);
        assert_eq!(details.userinfo_signed_response_alg, None);
        // Where we do not sign by it, what we sign by.
        let terms = Terms {
            is_trusted: false,
            development: false,
            algorithms: &[SigningAlgorithm::Es256],
            issuer: "https://auth.example".to_owned(),
            redirect_uris_allowed: &[],
        };
        let metadata = json!({"redirect_uris": ["https://a.example/cb"]});
        let client = judge(metadata.as_object().expect("object"), &terms).expect("good");
        assert_eq!(client.details.id_token_signed_response_alg, SigningAlgorithm::Es256);
    }

    #[test]
    fn metadata_that_names_more_is_cut_to_what_we_serve() {
        let client = read(
            json!({
                "redirect_uris": ["https://a.example/cb"], "token_endpoint_auth_method": "none",
                "grant_types": ["authorization_code", "refresh_token", "client_credentials", "implicit",
                                "urn:ietf:params:oauth:grant-type:jwt-bearer"],
                "response_types": ["code", "id_token"], "scope": "openid mcp:tools email", "whatever": {"it": "is"},
            }),
            false,
        )
        .expect("good");
        assert_eq!(client.grant_types, [GrantType::AuthorizationCode, GrantType::RefreshToken]);
        assert_eq!(client.scopes, ["openid", "email"]);
        for useless in
            [json!(["implicit"]), json!(["refresh_token"]), json!(["urn:ietf:params:oauth:grant-type:jwt-bearer"])]
        {
            let metadata = json!({"redirect_uris": ["https://a.example/cb"], "grant_types": useless});
            assert_eq!(read(metadata, false).err(), Some(Code::InvalidClientMetadata), "{useless}");
        }
    }

    #[test]
    fn of_several_redirect_uris_the_bad_ones_are_left_out() {
        let of = |metadata: Value| read(metadata, false).map(|client| client.redirect_uris);
        let (good, allowed) = ("https://a.example/cb", "cursor://anysphere.cursor-mcp/oauth/callback");
        assert_eq!(of(json!({"redirect_uris": ["myapp:/cb", good, "http://a.example/"]})), Ok(vec![good.to_owned()]));
        assert_eq!(of(json!({"redirect_uris": [allowed], "application_type": "web"})), Ok(vec![allowed.to_owned()]));
        assert_eq!(of(json!({"redirect_uris": ["cursor://other/callback"]})), Err(Code::InvalidRedirectUri));
        for scheme in ["javascript", "data", "file", "vbscript", "blob", "about", "JAVASCRIPT"] {
            let uris = json!({"redirect_uris": [good, format!("{scheme}:x")]});
            assert_eq!(of(uris), Err(Code::InvalidRedirectUri), "{scheme}");
        }
        // A scheme of its own makes a client native, which has no secret.
        let native = read(json!({"redirect_uris": ["com.example.app:/cb"]}), false).expect("good");
        assert!(native.is_native && native.auth_method == AuthMethod::None);
    }

    #[test]
    fn how_old_or_how_strict_a_client_is_an_administrator_says() {
        let base = json!({"redirect_uris": ["https://a.example/cb"]});
        let with = |name: &str, value: Value| {
            let mut metadata = base.clone();
            metadata[name] = value;
            metadata
        };
        for name in ADMINISTERED {
            let usual = json!(name == "require_pkce");
            let said = json!(name != "require_pkce");
            assert!(read(with(name, usual), false).is_ok(), "{name}");
            assert_eq!(read(with(name, said), false).err(), Some(Code::InvalidClientMetadata), "{name}");
        }
        let either = |metadata, trusted| read(metadata, trusted).expect("good").details.either_secret_method;
        assert_eq!(either(base.clone(), true), Some(true));
        assert_eq!(either(base.clone(), false), None);
        assert_eq!(either(with("token_endpoint_auth_method", json!("client_secret_post")), true), Some(false));
        let public = json!({"redirect_uris": ["https://a.example/cb"], "token_endpoint_auth_method": "none", "require_pkce": false});
        assert_eq!(read(public, true).err(), Some(Code::InvalidClientMetadata));
    }

    #[test]
    fn a_client_of_fapi_is_held_to_its_profile() {
        let key = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}]});
        let good = json!({
            "redirect_uris": ["https://a.example/cb"], "token_endpoint_auth_method": "private_key_jwt", "jwks": key, "fapi": true,
        });
        let details = read(good.clone(), true).expect("good").details;
        assert!(details.require_pushed_authorization_requests && details.dpop_bound_access_tokens);
        assert_eq!(details.id_token_signed_response_alg, SigningAlgorithm::Es256);
        for (name, value) in [
            ("token_endpoint_auth_method", json!("client_secret_basic")),
            ("token_endpoint_auth_method", json!("none")),
            ("id_token_signed_response_alg", json!("RS256")),
            ("classical", json!(true)),
            ("require_pkce", json!(false)),
        ] {
            let mut bad = good.clone();
            bad[name] = value.clone();
            assert_eq!(read(bad, true).err(), Some(Code::InvalidClientMetadata), "{name} {value}");
        }
    }

    #[test]
    fn a_pairwise_client_is_of_one_host() {
        let of = |uris: &[&str]| read(json!({ "subject_type": "pairwise", "redirect_uris": uris }), false).is_ok();
        assert!(of(&["https://a.example/cb"]) && of(&["https://a.example/cb", "https://a.example/other"]));
        assert!(!of(&["https://a.example/cb", "https://b.example/cb"]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        use Code::{InvalidClientMetadata as Metadata, InvalidRedirectUri as Uri};
        let base = json!({"redirect_uris": ["https://a.example/cb"]});
        for (name, value, code) in [
            ("redirect_uris", json!([]), Uri),
            ("redirect_uris", json!(["http://a.example"]), Uri),
            ("redirect_uris", json!("https://a.example"), Metadata),
            ("redirect_uris", json!([7]), Metadata),
            ("application_type", json!("desktop"), Metadata),
            ("token_endpoint_auth_method", json!("tls_client_auth"), Metadata),
            ("token_endpoint_auth_method", json!("private_key_jwt"), Metadata),
            ("grant_types", json!(["implicit"]), Metadata),
            ("response_types", json!(["token"]), Metadata),
            ("subject_type", json!("secret"), Metadata),
            ("scope", json!("openid \"admin\""), Metadata),
            ("skip_consent", json!(true), Metadata),
            ("logo_uri", json!("javascript:alert(1)"), Metadata),
            ("jwks_uri", json!("https://10.0.0.1/jwks"), Metadata),
            ("jwks", json!({"no": "keys"}), Metadata),
        ] {
            let mut bad = base.clone();
            bad[name] = value.clone();
            assert_eq!(read(bad, false).err(), Some(code), "{name} {value}");
        }
        let public = json!({"redirect_uris": ["https://a.example/cb"], "token_endpoint_auth_method": "none", "grant_types": ["client_credentials"]});
        assert_eq!(read(public, true).err(), Some(Metadata));
    }
}
