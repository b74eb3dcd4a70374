//! Client metadata (RFC 7591, section 2), judged.

use serde_json::{Map, Value, json};
use url::Url;

use crate::federation::discovery::check_url;
use crate::federation::request::is_scope;
use crate::oauth::claims::SCOPES;
use crate::oauth::client::{AuthMethod, GrantType, NewClient};
use crate::oauth::jws::KeySet;
use crate::oauth::problem::{Code, Problem};
use crate::oauth::redirect_uri;

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

fn uri(metadata: &Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    let Some(text) = text(metadata, name)? else {
        return Ok(None);
    };
    // It is shown as a link or a picture on our pages.
    let is_web = Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    if is_web { Ok(Some(text)) } else { Err(invalid("a URI is not of the web")) }
}

/// Judges client metadata. Whoever registers themselves may not skip consent (`is_trusted`).
///
/// # Errors
/// `invalid_redirect_uri`, `invalid_client_metadata`.
pub fn judge(metadata: &Map<String, Value>, is_trusted: bool, development: bool) -> Result<NewClient, Problem> {
    let is_native = match text(metadata, "application_type")?.as_deref() {
        None | Some("web") => false,
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
    let grants = list(metadata, "grant_types")?.unwrap_or_else(|| vec!["authorization_code".to_owned()]);
    let grants: Option<Vec<GrantType>> = grants.iter().map(|name| GrantType::parse(name)).collect();
    let grant_types = grants.ok_or_else(|| invalid("a grant type is not one of ours"))?;
    if auth_method == AuthMethod::None && grant_types.contains(&GrantType::ClientCredentials) {
        return Err(invalid("a public client has no credentials to be granted something for"));
    }
    if let Some(types) = list(metadata, "response_types")?
        && types.iter().any(|kind| kind != "code")
    {
        return Err(invalid("response_type is code here"));
    }
    let redirect_uris = list(metadata, "redirect_uris")?.unwrap_or_default();
    for uri in &redirect_uris {
        redirect_uri::judge(uri, is_native).map_err(|why| Problem::new(Code::InvalidRedirectUri, why))?;
    }
    if redirect_uris.is_empty() && grant_types.contains(&GrantType::AuthorizationCode) {
        return Err(Problem::new(Code::InvalidRedirectUri, "redirect_uris is missing"));
    }
    let post_logout_redirect_uris = list(metadata, "post_logout_redirect_uris")?.unwrap_or_default();
    for uri in &post_logout_redirect_uris {
        redirect_uri::judge(uri, is_native).map_err(|why| Problem::new(Code::InvalidRedirectUri, why))?;
    }
    let scopes = match text(metadata, "scope")? {
        Some(scope) => scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        None => SCOPES.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<String>>(),
    };
    if scopes.len() > 50 || !scopes.iter().all(|scope| is_scope(scope)) {
        return Err(invalid("scope is malformed"));
    }
    // A client that names scopes of its own invents rights; what they mean is an administrator's to say.
    if !is_trusted && scopes.iter().any(|scope| !SCOPES.iter().any(|(known, _)| known == scope)) {
        return Err(invalid("a scope is not one of ours"));
    }
    let (jwks, jwks_uri) = keys(metadata, auth_method, development)?;
    let is_pairwise = match text(metadata, "subject_type")?.as_deref() {
        None | Some("public") => false,
        Some("pairwise") => true,
        Some(_) => return Err(invalid("subject_type is public or pairwise")),
    };
    let skips_consent = metadata.get("skip_consent").and_then(Value::as_bool).unwrap_or(false);
    if skips_consent && !is_trusted {
        return Err(invalid("skip_consent is an administrator's to say"));
    }
    let name = text(metadata, "client_name")?.filter(|name| !name.trim().is_empty());
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
        has_jwt_access_tokens: text(metadata, "access_token_format")?.as_deref() != Some("opaque"),
        secret_expires_at: None,
    })
}

type Keys = (Option<Value>, Option<String>);

fn keys(metadata: &Map<String, Value>, method: AuthMethod, development: bool) -> Result<Keys, Problem> {
    let jwks = metadata.get("jwks").filter(|value| !value.is_null()).cloned();
    let jwks_uri = text(metadata, "jwks_uri")?;
    if jwks.is_some() && jwks_uri.is_some() {
        return Err(invalid("jwks or jwks_uri, and not both"));
    }
    if let Some(jwks) = &jwks {
        KeySet::read(jwks.to_string().as_bytes()).map_err(|_| invalid("jwks is no JWK set"))?;
    }
    if let Some(uri) = &jwks_uri {
        check_url(uri, development).map_err(|_| invalid("jwks_uri is none that we ask"))?;
    }
    if method == AuthMethod::PrivateKeyJwt && jwks.is_none() && jwks_uri.is_none() {
        return Err(invalid("private_key_jwt needs jwks or jwks_uri"));
    }
    Ok((jwks, jwks_uri))
}

/// The metadata of a client, as it is answered (section 3.2.1).
#[must_use]
pub fn shown(client_id: &str, new: &NewClient) -> Value {
    let [client_uri, logo_uri, policy_uri, tos_uri] = &new.uris;
    json!({
        "client_id": client_id,
        "client_name": new.name,
        "application_type": if new.is_native { "native" } else { "web" },
        "token_endpoint_auth_method": new.auth_method.as_str(),
        "redirect_uris": new.redirect_uris,
        "post_logout_redirect_uris": new.post_logout_redirect_uris,
        "grant_types": new.grant_types,
        "response_types": ["code"],
        "scope": new.scopes.join(" "),
        "subject_type": if new.is_pairwise { "pairwise" } else { "public" },
        "jwks": new.jwks,
        "jwks_uri": new.jwks_uri,
        "client_uri": client_uri,
        "logo_uri": logo_uri,
        "policy_uri": policy_uri,
        "tos_uri": tos_uri,
        "contacts": new.contacts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "reads better in a table")]
    fn read(metadata: Value, trusted: bool) -> Result<NewClient, Code> {
        judge(metadata.as_object().expect("object"), trusted, false).map_err(|problem| problem.code)
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
            ("scope", json!("openid admin"), Metadata),
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
