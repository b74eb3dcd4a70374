//! What the token endpoint decides: whether a code or a refresh token is good, and for what (RFC 6749, sections 4.1.3, 5
//! and 6; OAuth 2.1).
//!
//! PURE: no I/O, no clock, no randomness.

use serde::{Deserialize, Serialize};

use crate::platform::id::{Id, Millis, OauthClient, Session, User};
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::{equal_in_constant_time, sha256_base64url};
use crate::provider::authorization::AuthorizationRequest;
use crate::provider::claims::Profile;
use crate::provider::client::Client;
use crate::provider::dpop::Confirmation;
use crate::provider::parameters::Parameters;
use crate::users::person::{Person, user_is_active};

/// How long a rotated refresh token gives its successor once more, in milliseconds: the answer may have been lost. A
/// successor that was used was not.
pub const GRACE: Millis = 10_000;

/// What a code stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Granted {
    /// The request that was agreed to.
    pub request: AuthorizationRequest,
    /// When the user proved who they are.
    pub authenticated_at: Millis,
    /// How (RFC 8176).
    pub amr: Vec<String>,
}

/// A code, as it is kept.
#[derive(Debug, Deserialize)]
pub struct StoredCode {
    /// `oauth_grant.id`: the family of all that comes of it.
    pub id: String,
    /// Whose.
    pub client_id: Id<OauthClient>,
    /// Who agreed.
    pub user_id: Id<User>,
    /// In which session.
    pub session_id: Option<Id<Session>>,
    /// Whether that session holds.
    pub has_session: bool,
    /// What for.
    pub request: Granted,
    /// Its end.
    pub expires_at: Millis,
    /// When it was redeemed.
    pub used_at: Option<Millis>,
    /// `user.status`.
    pub user_status: String,
    /// `user.suspended_until`.
    pub suspended_until: Option<Millis>,
    /// The user, for claims that were asked for by name.
    pub person: Person,
    /// What else is known of them.
    pub profile: Profile,
    /// Their roles.
    pub roles: Vec<String>,
}

fn invalid(reason: &str) -> Problem {
    Problem::new(Code::InvalidGrant, "the code or token is not good, or another client's").because(reason)
}

/// A refusal, and whether all that came of the authorization ends by it.
#[derive(Debug, PartialEq, Eq)]
pub struct Denied {
    /// The error.
    pub problem: Problem,
    /// Whether somebody presented what was used before.
    pub is_replay: bool,
}

impl From<Problem> for Denied {
    fn from(problem: Problem) -> Self {
        Self { problem, is_replay: false }
    }
}

/// Whether a code may be redeemed (section 4.1.3; RFC 7636, section 4.6).
///
/// # Errors
/// [`Denied`].
pub fn redeem(code: &StoredCode, client: &Client, parameters: &Parameters, now: Millis) -> Result<(), Denied> {
    if code.client_id != client.id {
        return Err(invalid("another client's code").into());
    }
    if code.used_at.is_some() {
        return Err(Denied { problem: invalid("redeemed before"), is_replay: true });
    }
    if code.expires_at <= now {
        return Err(invalid("expired").into());
    }
    if !code.has_session {
        return Err(invalid("the session in which it was given has ended").into());
    }
    let request = &code.request.request;
    let given = parameters.get("redirect_uri");
    // OAuth 2.1 has none here: its code is bound by PKCE. What is said must be so, and where PKCE is not used it must be said.
    let fits = match given {
        Some(uri) => uri == request.redirect_uri,
        None => !request.names_redirect_uri || request.code_challenge.is_some(),
    };
    if !fits {
        return Err(invalid("another redirect_uri").into());
    }
    verify(parameters.get("code_verifier"), request.code_challenge.as_deref())?;
    if !user_is_active(&code.user_status, code.suspended_until, now) {
        return Err(invalid("the user is not active").into());
    }
    Ok(())
}

/// RFC 7636, section 4.6.
fn verify(verifier: Option<&str>, challenge: Option<&str>) -> Result<(), Problem> {
    let (verifier, challenge) = match (verifier, challenge) {
        (Some(verifier), Some(challenge)) => (verifier, challenge),
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err(invalid("no code_verifier")),
        // RFC 9700, section 4.8.2: somebody took the challenge away.
        (Some(_), None) => return Err(invalid("code_verifier without a challenge")),
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(allowed) {
        return Err(invalid("code_verifier is none"));
    }
    if !equal_in_constant_time(&sha256_base64url(verifier), challenge) {
        return Err(invalid("code_verifier is another"));
    }
    Ok(())
}

/// A refresh token, as it is kept.
#[derive(Debug, Deserialize)]
pub struct StoredRefresh {
    /// `oauth_token.id`.
    pub id: String,
    /// Whose.
    pub client_id: Id<OauthClient>,
    /// For whom.
    pub user_id: Id<User>,
    /// The session that it came of.
    pub session_id: Option<Id<Session>>,
    /// What it came of.
    pub family_id: String,
    /// What was granted.
    pub scope: String,
    /// For which resources.
    pub audience: Vec<String>,
    /// When the user proved who they are.
    pub authenticated_at: Millis,
    /// How.
    pub amr: Vec<String>,
    /// Its end.
    pub expires_at: Millis,
    /// The key that it is bound to.
    pub cnf: Confirmation,
    /// Claims that the userinfo endpoint was asked for by name.
    pub userinfo_claims: Vec<String>,
    /// When it was rotated.
    pub used_at: Option<Millis>,
    /// Whether what it was rotated to was used: its client has the answer then.
    pub is_successor_used: bool,
    /// When it was revoked.
    pub revoked_at: Option<Millis>,
    /// `user.status`.
    pub user_status: String,
    /// `user.suspended_until`.
    pub suspended_until: Option<Millis>,
    /// Whether the user has a second factor.
    pub has_second_factor: bool,
    /// Whether no second factor was asked for because the browser is trusted, and still is.
    pub is_device_trusted: bool,
    /// `member.second_factor_required_at`.
    pub second_factor_required_at: Option<Millis>,
    /// `member.second_factor_grace_logins`.
    pub grace_logins: i64,
    /// Their roles in the tenant.
    pub roles: Vec<String>,
}

/// What a refresh token is good for now.
#[derive(Debug, PartialEq, Eq)]
pub enum Refresh {
    /// It is rotated.
    Rotate,
    /// It was a moment ago: its successor is given once more.
    Repeat,
    /// It stays as it is.
    Keep,
}

/// Whether a refresh token may be used (section 6; RFC 9700, section 4.14.2).
///
/// # Errors
/// [`Denied`].
pub fn refresh(token: &StoredRefresh, client: &Client, now: Millis) -> Result<Refresh, Denied> {
    if token.client_id != client.id {
        return Err(invalid("another client's token").into());
    }
    if token.revoked_at.is_some() {
        return Err(invalid("revoked").into());
    }
    if token.expires_at <= now {
        return Err(invalid("expired").into());
    }
    if !user_is_active(&token.user_status, token.suspended_until, now) {
        return Err(invalid("the user is not active").into());
    }
    match token.used_at {
        None if client.keeps_refresh_tokens() => Ok(Refresh::Keep),
        None => Ok(Refresh::Rotate),
        Some(at) if now < at + GRACE && !token.is_successor_used => Ok(Refresh::Repeat),
        Some(_) => Err(Denied { problem: invalid("rotated before"), is_replay: true }),
    }
}

/// The scopes of a request that may narrow what was granted, and not widen it.
///
/// # Errors
/// `invalid_scope`.
pub fn narrowed(granted: &str, parameters: &Parameters) -> Result<String, Problem> {
    let granted: Vec<&str> = granted.split_whitespace().collect();
    let asked: Vec<&str> = parameters.words("scope").collect();
    if asked.is_empty() {
        return Ok(granted.join(" "));
    }
    if let Some(scope) = asked.iter().find(|scope| !granted.contains(scope)) {
        return Err(Problem::new(Code::InvalidScope, "a scope was not granted").because(format!("{scope:?}")));
    }
    Ok(granted.into_iter().filter(|scope| asked.contains(scope)).collect::<Vec<_>>().join(" "))
}

/// The resources of a request: of those that were asked for, or none of which any may be asked for (RFC 8707, section 2.2).
///
/// # Errors
/// `invalid_target`.
pub fn resources(granted: &[String], parameters: &Parameters) -> Result<Vec<String>, Problem> {
    let asked = parameters.resources();
    if let Some(other) = asked.iter().find(|resource| !granted.contains(resource)) {
        return Err(Problem::new(Code::InvalidTarget, "a resource was not asked for").because(format!("{other:?}")));
    }
    Ok(if asked.is_empty() { granted.to_vec() } else { asked.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::authorization::tests::client;
    use crate::provider::authorization::{Prompt, ResponseMode};
    use crate::provider::claims_request::ClaimsRequest;

    type Spoil = fn(&mut StoredCode);

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const NOW: Millis = 1_000_000;

    fn code() -> StoredCode {
        StoredCode {
            id: "g".to_owned(),
            client_id: Id::trusted("c".to_owned()),
            user_id: Id::trusted("u".to_owned()),
            session_id: None,
            has_session: true,
            request: Granted {
                request: AuthorizationRequest {
                    redirect_uri: "https://app.example/cb".to_owned(),
                    names_redirect_uri: true,
                    state: None,
                    response_mode: ResponseMode::Query,
                    scopes: vec!["openid".to_owned()],
                    nonce: None,
                    code_challenge: Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned()),
                    prompt: Prompt::default(),
                    max_age: None,
                    login_hint: None,
                    resources: Vec::new(),
                    claims: ClaimsRequest::default(),
                    acr_values: Vec::new(),
                    dpop_jkt: None,
                },
                authenticated_at: 0,
                amr: Vec::new(),
            },
            expires_at: NOW + 1,
            used_at: None,
            user_status: "active".to_owned(),
            suspended_until: None,
            person: serde_json::from_value(serde_json::json!({
                "id": "u", "name": "U", "email": "u@example.com", "email_verified": true, "phone_number_verified": false,
                "two_factor_enabled": false, "is_anonymous": false, "created_at": 0, "updated_at": 0,
            }))
            .expect("a person"),
            profile: Profile::default(),
            roles: Vec::new(),
        }
    }

    fn parameters(text: &str) -> Parameters {
        Parameters::parse(text).expect("parameters")
    }

    #[test]
    fn the_table_of_codes() {
        let good = format!("redirect_uri=https://app.example/cb&code_verifier={VERIFIER}");
        let client = client();
        assert_eq!(redeem(&code(), &client, &parameters(&good), NOW), Ok(()));
        let spoilt: [(Spoil, bool); 5] = [
            (|code| code.client_id = Id::trusted("other".to_owned()), false),
            (|code| code.used_at = Some(1), true),
            (|code| code.expires_at = NOW, false),
            (|code| code.has_session = false, false),
            (|code| code.user_status = "suspended".to_owned(), false),
        ];
        for (row, (spoil, is_replay)) in spoilt.into_iter().enumerate() {
            let mut bad = code();
            spoil(&mut bad);
            let denied = redeem(&bad, &client, &parameters(&good), NOW).expect_err("denied");
            assert_eq!((denied.problem.code, denied.is_replay), (Code::InvalidGrant, is_replay), "row {row}");
        }
        for bad in [
            format!("redirect_uri=https://app.example/&code_verifier={VERIFIER}"),
            "redirect_uri=https://app.example/cb".to_owned(),
            "redirect_uri=https://app.example/cb&code_verifier=short".to_owned(),
            format!("redirect_uri=https://app.example/cb&code_verifier={}", "x".repeat(43)),
            format!("redirect_uri=https://app.example/cb&code_verifier={}", "x".repeat(129)),
            "redirect_uri=https://app.example/cb&code_verifier=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned(),
        ] {
            assert!(redeem(&code(), &client, &parameters(&bad), NOW).is_err(), "{bad}");
        }
        // OAuth 2.1: bound by PKCE, the code needs no redirect_uri beside.
        assert!(redeem(&code(), &client, &parameters(&format!("code_verifier={VERIFIER}")), NOW).is_ok());
        let mut plain = code();
        plain.request.request.code_challenge = None;
        assert!(redeem(&plain, &client, &parameters("redirect_uri=https://app.example/cb"), NOW).is_ok());
        for bad in [String::new(), good.clone()] {
            assert!(redeem(&plain, &client, &parameters(&bad), NOW).is_err(), "without a challenge: {bad}");
        }
        let mut unnamed = code();
        unnamed.request.request.names_redirect_uri = false;
        assert!(redeem(&unnamed, &client, &parameters(&format!("code_verifier={VERIFIER}")), NOW).is_ok());
    }

    #[test]
    fn the_table_of_refreshes() {
        let client = client();
        let rotated = |used_at, is_successor_used, revoked_at| StoredRefresh {
            id: "t".to_owned(),
            client_id: Id::trusted("c".to_owned()),
            user_id: Id::trusted("u".to_owned()),
            session_id: None,
            family_id: "g".to_owned(),
            scope: String::new(),
            audience: Vec::new(),
            authenticated_at: 0,
            amr: Vec::new(),
            expires_at: NOW + 1,
            cnf: Confirmation::default(),
            userinfo_claims: Vec::new(),
            used_at,
            is_successor_used,
            revoked_at,
            user_status: "active".to_owned(),
            suspended_until: None,
            has_second_factor: false,
            is_device_trusted: false,
            second_factor_required_at: None,
            grace_logins: 0,
            roles: Vec::new(),
        };
        for (used_at, is_successor_used, decision) in [
            (None, false, Ok(Refresh::Rotate)),
            (Some(NOW), false, Ok(Refresh::Repeat)),
            (Some(NOW - GRACE + 1), false, Ok(Refresh::Repeat)),
            (Some(NOW), true, Err(true)),
            (Some(NOW - GRACE), false, Err(true)),
        ] {
            let decided = refresh(&rotated(used_at, is_successor_used, None), &client, NOW);
            assert_eq!(decided.map_err(|denied| denied.is_replay), decision, "{used_at:?} {is_successor_used}");
        }
        let revoked = refresh(&rotated(Some(NOW), true, Some(1)), &client, NOW);
        assert_eq!(revoked.map_err(|denied| denied.is_replay), Err(false));
    }

    #[test]
    fn scopes_and_resources_never_grow() {
        assert_eq!(narrowed("a b c", &parameters("scope=c+a")).as_deref(), Ok("a c"));
        assert_eq!(narrowed("a b", &parameters("")).as_deref(), Ok("a b"));
        assert_eq!(narrowed("a b", &parameters("scope=a+d")).map_err(|problem| problem.code), Err(Code::InvalidScope));
        let granted = ["https://x".to_owned(), "https://y".to_owned()];
        assert_eq!(resources(&granted, &parameters("resource=https://y")).map(|list| list.len()), Ok(1));
        assert_eq!(resources(&granted, &parameters("")).map(|list| list.len()), Ok(2));
        assert!(resources(&granted, &parameters("resource=https://z")).is_err());
        assert!(resources(&[], &parameters("resource=https://z")).is_err());
    }
}
