//! Whom an issuer names: the ID token believed, its API asked, and both mapped.

use std::rc::Rc;

use serde_json::{Map, Value};

use crate::context::{Context, ascii_domain};
use crate::federation::id_token::{Expected, IdToken, IdTokenError, Nonce, UnverifiedIdToken};
use crate::federation::profile::{Profile, ProfileError, Said, profile};
use crate::handlers::outgoing;
use crate::handlers::upstream::{End, Ended};
use crate::oauth::jws::JwsError;
use crate::store::issuer::Upstream;

/// What there is to tell who somebody is.
pub struct Evidence<'a> {
    /// The ID token.
    pub id_token: Option<&'a str>,
    /// What it must repeat.
    pub nonce: Nonce<'a>,
    /// The access token.
    pub access_token: Option<&'a str>,
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
        let believed = verify(context, upstream, text, evidence).await;
        Some(believed.map_err(|reason| End::failure("invalid_id_token", reason))?)
    } else {
        None
    };
    let userinfo = ask(context, upstream, evidence.access_token).await;
    let userinfo = userinfo.map_err(|reason| End::failure("unable_to_get_user_info", reason))?;
    if token.is_none() && userinfo.is_none() {
        return Err(End::failure("unable_to_get_user_info", "neither an ID token nor an answer"));
    }
    let mut said = Said::new(token, userinfo).map_err(nobody)?;
    if let Some(user @ Value::Object(_)) = evidence.form_user {
        said.members.insert("user".to_owned(), user.clone());
    }
    upstream.service_type.normalise(&mut said.members);
    profile(said, &upstream.mapping(), ascii_domain).map_err(nobody)
}

fn nobody(error: ProfileError) -> End {
    End::failure(
        "unable_to_get_user_info",
        match error {
            ProfileError::SubjectMismatch => "userinfo is of another subject",
            ProfileError::NoSubject => "nothing says who it is",
        },
    )
}

/// Asks the issuer's API with the access token.
async fn ask(
    context: &Context,
    upstream: &Upstream,
    token: Option<&str>,
) -> Result<Option<Map<String, Value>>, String> {
    let (Some(url), Some(token)) = (upstream.endpoint("userinfo_endpoint"), token) else {
        return Ok(None);
    };
    let header = upstream.service_type.api_header();
    let Value::Object(mut said) = outgoing::get_json_with_token(context, &url, token, header).await? else {
        return Err(format!("{url}: no JSON object"));
    };
    if let Some(url) = upstream.endpoint("emails_endpoint") {
        // Without the scope for it there is no list; then there is no proven address either.
        match outgoing::get_json_with_token(context, &url, token, header).await {
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
pub async fn describe(
    context: &Context,
    upstream: &Upstream,
    token: &str,
) -> Result<Option<Map<String, Value>>, String> {
    let mut said = ask(context, upstream, Some(token)).await?;
    if let Some(said) = &mut said {
        upstream.service_type.normalise(said);
    }
    Ok(said)
}

async fn verify(
    context: &Context,
    upstream: &Upstream,
    text: &str,
    evidence: &Evidence<'_>,
) -> Result<IdToken, String> {
    let jwks_uri = upstream.endpoint("jwks_uri").ok_or("issuer without jwks_uri")?;
    let (issuer, audiences) = (upstream.expected_issuer(), upstream.audiences());
    let expected = Expected {
        issuer: &issuer,
        audiences: &audiences,
        nonce: evidence.nonce,
        access_token: evidence.access_token,
        now: context.now,
    };
    let token = UnverifiedIdToken(text);
    let keys = outgoing::key_set(context, &jwks_uri, false).await?;
    match token.verify(&keys, &expected) {
        Err(IdTokenError::Jws(JwsError::UnknownKey(_))) => {
            // The issuer may have rotated its keys since we looked.
            let fresh = outgoing::key_set(context, &jwks_uri, true).await?;
            if Rc::ptr_eq(&fresh, &keys) {
                return Err("no such key, and the set is fresh".to_owned());
            }
            token.verify(&fresh, &expected).map_err(|error| error.to_string())
        }
        other => other.map_err(|error| error.to_string()),
    }
}
