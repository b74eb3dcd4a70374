//! Whom an issuer names: the ID token believed, its API asked, and both mapped.

use std::rc::Rc;

use serde_json::{Map, Value};

use crate::federation::flow::{End, Ended};
use crate::federation::id_token::{Expected, IdToken, Nonce, UnverifiedIdToken};
use crate::federation::profile::{Attribute, Profile, ProfileError, profile};
use crate::federation::store::issuer::Upstream;
use crate::jose::jws::{JwsError, KeySet, UnverifiedJws, Verified, audiences};
use crate::jose::{key_set, signature};
use crate::platform::unicode::ascii_domain;
use crate::request::context::Context;
use crate::request::fetch;

/// What there is to tell who somebody is.
pub struct Evidence<'a> {
    /// The ID token.
    pub id_token: Option<&'a str>,
    /// What it must repeat.
    pub nonce: Nonce<'a>,
    /// The access token.
    pub access_token: Option<&'a str>,
    /// Whether an app brought the access token, and not the issuer itself: then the issuer must say whose it is, before it is
    /// kept as this user's.
    pub is_brought: bool,
    /// What came with the callback, unsigned.
    pub form_user: Option<&'a Value>,
}

/// Whom the issuer names.
///
/// # Errors
/// A failure for the page.
pub async fn identify(context: &Context, upstream: &Upstream, evidence: &Evidence<'_>) -> Ended<Profile> {
    let token = if upstream.is_open_id() {
        let text = evidence.id_token.ok_or_else(|| End::failure("invalid_id_token", "no ID token came"))?;
        let believed = verify_id_token(context, upstream, text, evidence).await;
        Some(believed.map_err(|reason| End::failure("invalid_id_token", reason))?)
    } else {
        None
    };
    let (userinfo, problem) = match fetch_userinfo(context, upstream, evidence.access_token).await {
        Ok(userinfo) => (userinfo, None),
        Err(problem) => (None, Some(problem)),
    };
    // What another or no `sub` says must not be used (OpenID Connect Core 1.0, section 5.3.2); the signed token says who it is.
    let is_others = |userinfo: &Map<String, Value>| {
        let sub = userinfo.get("sub").and_then(Value::as_str);
        token.as_ref().is_some_and(|token| sub != Some(&token.subject))
    };
    let (userinfo, problem) = match userinfo {
        Some(userinfo) if is_others(&userinfo) => (None, Some("userinfo of another subject, or of none".to_owned())),
        other => (other, problem),
    };
    let refused = || {
        let reason = problem.clone().unwrap_or_else(|| "neither an ID token nor an answer".to_owned());
        End::failure("unable_to_get_user_info", reason)
    };
    if token.is_none() && userinfo.is_none() {
        return Err(refused());
    }
    let mut said = Attribute::new(token, userinfo);
    if let Some(user @ Value::Object(_)) = evidence.form_user {
        said.members.insert("user".to_owned(), user.clone());
    }
    upstream.service_type.normalise(&mut said.members);
    let profile = profile(said, &upstream.mapping(), ascii_domain)
        .map_err(|ProfileError::NoSubject| End::failure("unable_to_get_user_info", "nothing says who it is"))?;
    if let Some(problem) = &problem {
        // The ID token proves the sign-in; without an address in it the answer was needed.
        if profile.email.is_none() || evidence.is_brought {
            return Err(refused());
        }
        context.note(&format!("userinfo of issuer {} is passed over: {problem}", upstream.id));
    }
    Ok(profile)
}

/// Asks the issuer's API with the access token.
async fn fetch_userinfo(
    context: &Context,
    upstream: &Upstream,
    token: Option<&str>,
) -> Result<Option<Map<String, Value>>, String> {
    let (Some(url), Some(token)) = (upstream.endpoint("userinfo_endpoint"), token) else {
        return Ok(None);
    };
    let header = upstream.service_type.api_header();
    let answer = fetch::fetch_with_token(context, &url, token, header).await?;
    let mut said = match serde_json::from_slice(&answer) {
        Ok(Value::Object(said)) => said,
        Ok(_) => return Err(format!("{url}: no JSON object")),
        Err(error) => match std::str::from_utf8(&answer).map(str::trim) {
            Ok(jwt) if upstream.is_open_id() && jwt.split('.').count() == 3 => {
                read_id_token(context, upstream, jwt).await?
            }
            _ => return Err(format!("{url}: {error}")),
        },
    };
    if let Some(url) = upstream.endpoint("emails_endpoint") {
        // Without the scope for it there is no list; then there is no proven address either.
        match fetch::fetch_json_with_token(context, &url, token, header).await {
            Ok(emails) => {
                said.insert("emails".to_owned(), emails);
            }
            Err(problem) => context.note(&format!("addresses at issuer {}: {problem}", upstream.id)),
        }
    }
    Ok(Some(said))
}

/// Everything the issuer's API says of the owner of an access token.
///
/// # Errors
/// What went wrong, for the log.
pub async fn read_profile(
    context: &Context,
    upstream: &Upstream,
    token: &str,
) -> Result<Option<Map<String, Value>>, String> {
    let mut said = fetch_userinfo(context, upstream, Some(token)).await?;
    if let Some(said) = &mut said {
        upstream.service_type.normalise(said);
    }
    Ok(said)
}

/// The claims of a signed userinfo answer (section 5.3.2). Where it says whose and for whom, that must be so.
async fn read_id_token(context: &Context, upstream: &Upstream, jwt: &str) -> Result<Map<String, Value>, String> {
    let verified =
        trust_id_token(context, upstream, UnverifiedJws(jwt)).await.map_err(|error| format!("userinfo: {error}"))?;
    let (claims, known) = (verified.claims, upstream.audiences());
    let is_ours = !claims.contains_key("aud") || audiences(&claims).iter().any(|audience| known.contains(audience));
    if !is_ours || (claims.contains_key("iss") && !upstream.expected_issuer().accepts(&claims)) {
        return Err("userinfo: signed by or for somebody else".to_owned());
    }
    Ok(claims)
}

async fn verify_id_token(
    context: &Context,
    upstream: &Upstream,
    text: &str,
    evidence: &Evidence<'_>,
) -> Result<IdToken, String> {
    let (issuer, audiences) = (upstream.expected_issuer(), upstream.audiences());
    let expected = Expected {
        issuer: &issuer,
        audiences: &audiences,
        nonce: evidence.nonce,
        access_token: evidence.access_token,
        now: context.now,
    };
    let jws = UnverifiedIdToken(text).jws().map_err(|error| error.to_string())?;
    let verified = trust_id_token(context, upstream, jws).await?;
    IdToken::judge(verified, &expected).map_err(|error| error.to_string())
}

/// Verifies a signature by the issuer's keys, which are fetched again where one is missing: it may have rotated them.
async fn trust_id_token(context: &Context, upstream: &Upstream, jws: UnverifiedJws<'_>) -> Result<Verified, String> {
    let jwks_uri = upstream.endpoint("jwks_uri").ok_or("issuer without jwks_uri")?;
    let keys = key_set::load_key_set(context, &jwks_uri, false).await?;
    match by_keys(jws, &keys).await {
        Err(JwsError::UnknownKey(_)) => {
            let fresh = key_set::load_key_set(context, &jwks_uri, true).await?;
            if Rc::ptr_eq(&fresh, &keys) {
                return Err("no such key, and the set is fresh".to_owned());
            }
            by_keys(jws, &fresh).await
        }
        other => other,
    }
    .map_err(|error| error.to_string())
}

async fn by_keys(jws: UnverifiedJws<'_>, keys: &KeySet) -> Result<Verified, JwsError> {
    let Some(asked) = jws.for_runtime(keys)? else {
        return jws.verify_of_issuer(keys);
    };
    let is_signed = signature::is_signed(&asked).await.map_err(|error| JwsError::Malformed(error.to_string()))?;
    if is_signed { Ok(asked.verified()) } else { Err(JwsError::Signature) }
}
