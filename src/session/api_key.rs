//! Programs that present a key instead of a session: `X-API-Key`.

use crate::access::permission::Permissions;
use crate::http::header_name;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::Id;
use crate::platform::secret::{ApiKeySecret, Token, sha256_base64url};
use crate::request::context::Context;
use crate::session::live_session::LiveSession;
use crate::session::store::api_key::{ApiKeyRecord, PresentedKey};
use crate::session::{policy, store};
use crate::users::person::{Person, user_is_active};

/// `login_method` of what a key opens.
pub const METHOD: &str = "api-key";

/// The header.
pub const HEADER: &str = "X-API-Key";

/// The length of a key's secret and of its checksum, in characters.
const SECRET: usize = 43;

const CHECKSUM: usize = 6;

/// A key's text: prefix, secret, checksum. By the checksum a key of ours is told from whatever a website behind the gate
/// takes in the same header.
#[must_use]
pub fn compose_key(prefix: &str, secret: &Token<ApiKeySecret>) -> String {
    let text = format!("{prefix}{}", secret.expose());
    let checksum = checksum(&text);
    text + &checksum
}

fn checksum(text: &str) -> String {
    sha256_base64url(text).chars().take(CHECKSUM).collect()
}

/// A text that may be a key of ours.
fn parse_key(text: &str) -> Option<Token<ApiKeySecret>> {
    let at = text.len().checked_sub(CHECKSUM)?;
    let (head, tail) = (text.get(..at)?, text.get(at..)?);
    let fits = (SECRET..=SECRET + 64).contains(&head.len()) && head.bytes().all(|byte| byte.is_ascii_graphic());
    (fits && checksum(head) == tail).then(|| Token::derived(text))
}

/// The key that a request presents, if it is one of ours by its form.
#[must_use]
pub fn read_api_key(context: &Context) -> Option<Token<ApiKeySecret>> {
    context.header(HEADER).as_deref().map(str::trim).and_then(parse_key)
}

/// Whether a key of ours is somewhere in a header's value, alone or among other things.
#[must_use]
pub fn contains_api_key(value: &str) -> bool {
    value.split([',', ';', ' ', '"', '\'', '\t']).any(|piece| parse_key(piece.trim()).is_some())
}

/// Whether a header may carry a key of ours, to an origin that reads names as CGI does.
#[must_use]
pub fn is_header(name: &str) -> bool {
    header_name::canonical_name(name) == header_name::canonical_name(HEADER)
}

/// The hash that a new key is kept by.
#[must_use]
pub fn api_key_token(text: &str) -> Token<ApiKeySecret> {
    Token::derived(text)
}

/// Who presents a key, after it was used once. What was presented and is bad never becomes nobody.
///
/// # Errors
/// 401 for one that is unknown, disabled, over, or whose user may not sign in; 403 for one whose user has yet to set up
/// the second factor that the tenant asks for; 429 for one that is used too often.
pub async fn authenticate_api_key(context: &Context, token: &Token<ApiKeySecret>) -> Result<LiveSession> {
    let hash = token.hash();
    let statements = [store::api_key::spend(context, &hash), store::api_key::presented(context, &hash)];
    let mut answers = context.db()?.batch(statements).await?;
    let spent: Option<String> = answers.row()?;
    let found: Option<PresentedKey> = answers.row()?;
    let bad = |reason: &str| Error::refused(Wire::INVALID_API_KEY, reason);
    let found = found.ok_or_else(|| bad("unknown key"))?;
    if spent.is_none() {
        return Err(key_refusal(&found.key, context));
    }
    if found.tenant_status != "active" {
        return Err(bad("tenant is not active"));
    }
    let is_users = found.key.user_id.is_some();
    let active =
        found.user_status.as_deref().is_some_and(|status| user_is_active(status, found.suspended_until, context.now));
    if is_users && !(active && found.is_member) {
        return Err(bad("its user may not sign in, or is no member any more"));
    }
    if let Some(user) = &found.user {
        policy::check_key_user(context, &found, user)?;
    }
    context.db()?.hold_to(store::api_key::must_work(context, &hash));
    session_of_key(context, found)
}

/// Why a key was not used.
fn key_refusal(key: &ApiKeyRecord, context: &Context) -> Error {
    if !key.enabled {
        return Error::refused(Wire::API_KEY_DISABLED, "disabled");
    }
    if key.expires_at.is_some_and(|at| at <= context.now) {
        return Error::refused(Wire::API_KEY_EXPIRED, "expired");
    }
    let window_ends = key.window_started_at.map_or(0, |at| at + key.rate_limit_time_window);
    if key.rate_limit_enabled && key.request_count >= key.rate_limit_max && window_ends > context.now {
        let retry_after = (window_ends - context.now + 999) / 1000;
        return Error::TooManyRequests { retry_after, limit: "uses of a key" };
    }
    Error::refused(Wire::API_KEY_USED_UP, "used up")
}

/// A key as a session that ends with the request. A key with permissions of its own has no roles: what it may is those, as
/// far as its user may them.
fn session_of_key(context: &Context, found: PresentedKey) -> Result<LiveSession> {
    let key = found.key;
    let scoped = match &key.permissions {
        None => None,
        Some(value) => {
            let own = Permissions::parse(value)
                .map_err(|problem| Error::Internal(format!("api_key.permissions of {}: {}", key.id, problem.0)))?;
            Some(if key.user_id.is_some() { found.permissions.intersection(&own) } else { own })
        }
    };
    // A tenant's key without permissions is a member, and no more.
    let scoped = if key.user_id.is_none() { Some(scoped.unwrap_or_default()) } else { scoped };
    let user = found.user.unwrap_or_else(|| Person {
        id: Id::trusted(key.id.as_str().to_owned()),
        name: key.name.clone().unwrap_or_else(|| key.start.clone()),
        email: format!("{}@key.invalid", key.id),
        email_verified: false,
        image: None,
        username: None,
        display_username: None,
        phone_number: None,
        phone_number_verified: false,
        two_factor_enabled: false,
        is_anonymous: false,
        created_at: key.created_at,
        updated_at: key.updated_at,
    });
    let client = context.client();
    Ok(LiveSession {
        id: Id::trusted(key.id.as_str().to_owned()),
        parent_id: None,
        app_id: context.app().map(|app| app.id.clone()),
        user,
        tenant_id: key.tenant_id,
        tenant_slug: found.tenant_slug,
        is_member: true,
        roles: if scoped.is_some() { Vec::new() } else { found.roles },
        login_method: METHOD.to_owned(),
        amr: Vec::new(),
        authenticated_at: context.now,
        is_remembered: false,
        ip_address: Some(client.ip.clone()),
        user_agent: Some(client.user_agent.clone()),
        impersonated_by: None,
        active_tenant_id: None,
        active_group_id: None,
        must_enrol: false,
        key_permissions: scoped,
        created_at: key.created_at,
        updated_at: key.updated_at,
        expires_at: context.now,
        checked_at: context.now,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_from_other_texts() {
        let secret = Token::new([7; 32]);
        for prefix in ["", "app_", "a-b-"] {
            let text = compose_key(prefix, &secret);
            assert!(parse_key(&text).is_some(), "{text}");
            assert_eq!(
                parse_key(&text).map(|token| token.hash().as_str().to_owned()),
                Some(api_key_token(&text).hash().as_str().to_owned())
            );
            for bad in
                [&text[1..], &text[..text.len() - 1], &format!("{text}x"), &format!("x{text}"), &text.to_uppercase()]
            {
                assert!(parse_key(bad).is_none(), "{bad}");
            }
        }
        let text = compose_key("", &secret);
        for value in [format!("{text}, {text}"), format!("\"{text}\""), format!("other,{text}"), format!("{text};x")] {
            assert!(contains_api_key(&value) && parse_key(&value).is_none(), "{value}");
        }
        assert!(
            is_header("X_API-Key")
                && is_header("x.api~key")
                && !is_header("X-API-Keys")
                && !contains_api_key("sk_live_1, sk_live_2")
        );
        for other in ["", "sk_live_0123456789", &"x".repeat(49), &"ä".repeat(40)] {
            assert!(parse_key(other).is_none(), "{other}");
        }
    }
}
