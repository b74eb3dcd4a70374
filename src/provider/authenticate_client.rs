//! The client that asks at an endpoint of its own, authenticated.

use serde_json::Value;

use crate::jose::jws::{JwsError, KeySet, UnverifiedJws, Verified};
use crate::jose::key_set;
use crate::platform::d1::{Answers, Statement, StoreError};
use crate::platform::error::Result;
use crate::platform::id::Millis;
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::sha256_base64url;
use crate::provider::client::{AuthMethod, Client};
use crate::provider::client_authentication::{Credential, Expected, UnverifiedClient, check};
use crate::provider::sender_constraint::Held;
use crate::provider::subject::issuer;
use crate::request;
use crate::request::context::Context;

/// How long what was used is remembered past its end, in milliseconds: longer than any clock is off.
const REMEMBERED: Millis = 120_000;

/// How long a proof is remembered, in milliseconds: longer than its nonce is good.
const PROOF_REMEMBERED: Millis = 900_000;

/// Where clients authenticate.
const ENDPOINTS: [&str; 5] =
    ["/oauth2/token", "/oauth2/par", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/device_authorization"];

fn failed(reason: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidClient, "client authentication failed").because(reason)
}

/// Checks that a request comes of the client that it names.
///
/// # Errors
/// `invalid_client`, for an unknown client as for a wrong secret.
pub async fn authenticate_client(
    context: &Context,
    client: Option<Client>,
    presented: &UnverifiedClient,
) -> Result<(Client, SingleUse)> {
    // One that is known by its document is unknown where documents are not believed any more.
    let is_known = |client: &Client| client.document_read_at.is_none() || context.config.client_documents;
    let client = client.filter(is_known).ok_or_else(|| failed(format!("no client {:?}", presented.client_id)))?;
    open(context)?;
    let issuer = issuer(context);
    let endpoints = ENDPOINTS.map(|path| format!("{issuer}{path}"));
    let mut audiences = vec![issuer.as_str()];
    audiences.extend(endpoints.iter().map(String::as_str));
    let certificate = context.certificate();
    let expected = Expected { audiences: &audiences, certificate: certificate.as_ref(), now: context.now };
    let Credential::Assertion(assertion) = &presented.credential else {
        check(&client, &presented.credential, None, &expected)?;
        return Ok((client, SingleUse::default()));
    };
    let assertion = UnverifiedJws(assertion);
    let wanted = client.details.token_endpoint_auth_signing_alg.as_deref();
    let header = assertion.header();
    let algorithm = header.get("alg").and_then(Value::as_str);
    if wanted.is_some() && algorithm != wanted {
        return Err(failed("alg is not the registered one").into());
    }
    // FAPI 2.0 Security Profile, section 5.4.1.
    if client.details.fapi && algorithm == Some("RS256") {
        return Err(failed("alg is none of FAPI's").into());
    }
    let verified = verify_client_jws(context, &client, assertion).await.map_err(failed)?;
    check(&client, &presented.credential, Some(&verified.claims), &expected)?;
    let jti = verified.claims.get("jti").and_then(Value::as_str).unwrap_or_default();
    let until = assertion.ends_at().unwrap_or(context.now) + REMEMBERED;
    let mut once = SingleUse::default();
    once.0.push(AuthenticationState::new(Kind::Assertion, client.id.as_str(), jti, until));
    Ok((client, once))
}

/// Whether the tenant is open for business.
///
/// # Errors
/// `access_denied`.
pub fn open(context: &Context) -> std::result::Result<(), Problem> {
    if context.tenant().is_active {
        return Ok(());
    }
    Err(Problem::new(Code::AccessDenied, "this organization is not available"))
}

/// Checks a signature with a client's own keys.
///
/// # Errors
/// Why not, for the log.
pub async fn verify_client_jws(
    context: &Context,
    client: &Client,
    jws: UnverifiedJws<'_>,
) -> std::result::Result<Verified, String> {
    let verified = jws.verify(&load_client_keys(context, client, false).await?);
    let verified = match verified {
        Err(JwsError::UnknownKey(_)) if client.jwks_uri.is_some() => {
            jws.verify(&load_client_keys(context, client, true).await?)
        }
        other => other,
    };
    verified.map_err(|error| error.to_string())
}

async fn load_client_keys(context: &Context, client: &Client, missed_key: bool) -> std::result::Result<KeySet, String> {
    if let Some(jwks) = &client.jwks {
        return KeySet::read(jwks.to_string().as_bytes());
    }
    let uri = client.jwks_uri.as_deref().ok_or("a client without keys")?;
    Ok((*key_set::load_key_set(context, uri, missed_key).await?).clone())
}

/// What is good once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Assertion,
    Proof,
    Grant,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Assertion => "client_assertion",
            Self::Proof => "dpop_proof",
            Self::Grant => "grant_assertion",
        }
    }
}

/// What counts, by network, what a client has us keep. One that an administrator added and that has proven who it is asks for
/// all its users from one address, and is not counted.
#[must_use]
pub fn check_network_limit(context: &Context, client: &Client, purpose: &str) -> Vec<Statement> {
    if client.is_vouched_for && client.auth_method != AuthMethod::None {
        return Vec::new();
    }
    Vec::from(request::store::rate_limit::hold(context, purpose))
}

struct AuthenticationState {
    kind: Kind,
    signer_and_jti: String,
    about: String,
    until: Millis,
}

impl AuthenticationState {
    /// `jti` is of its signer's choosing, and one of its kind among the signer's own.
    fn new(kind: Kind, signer: &str, jti: &str, until: Millis) -> Self {
        Self { kind, signer_and_jti: format!("{signer}\0{jti}"), about: signer.to_owned(), until }
    }

    fn hash(&self) -> String {
        sha256_base64url(&self.signer_and_jti)
    }
}

/// What a request uses up: its assertion, its proof of possession. The statements go into the batch that the request ends in,
/// whichever that is, and conflict where one of them was used before.
#[derive(Default)]
pub struct SingleUse(Vec<AuthenticationState>);

impl SingleUse {
    /// Uses up the proof as well, if there is one.
    #[must_use]
    pub fn with_proof(mut self, context: &Context, held: &Held) -> Self {
        let until = context.now + PROOF_REMEMBERED;
        self.0.extend(
            held.proof.as_ref().map(|proof| AuthenticationState::new(Kind::Proof, &proof.jkt, &proof.jti, until)),
        );
        self
    }

    /// Uses up an assertion that is a grant.
    #[must_use]
    pub fn with_grant(mut self, issuer: &str, jti: &str, ends_at: Millis) -> Self {
        self.0.push(AuthenticationState::new(Kind::Grant, issuer, jti, ends_at + REMEMBERED));
        self
    }

    /// The statements.
    ///
    /// # Errors
    /// If the platform has no randomness.
    pub fn statements(&self, context: &Context) -> Result<Vec<Statement>> {
        let keep = |seen: &AuthenticationState| {
            let times = (context.now, seen.until);
            Ok(request::store::verification::note(
                context,
                seen.kind.name(),
                &seen.hash(),
                &seen.about,
                times,
                context.row_id()?,
            ))
        };
        self.0.iter().map(keep).collect()
    }

    /// What a batch means that conflicts with what was used before. Which of several it was the database is asked: a client that
    /// is told of the wrong one looks in the wrong place.
    ///
    /// # Errors
    /// `invalid_client`, `invalid_grant` or `invalid_dpop_proof`; 503.
    pub async fn settled(
        &self,
        context: &Context,
        answer: std::result::Result<Answers, StoreError>,
    ) -> Result<Answers> {
        match answer {
            Err(StoreError::Conflict(column)) if column.starts_with("verification.") => {
                Err(self.used_before(context).await?.into())
            }
            other => Ok(other?),
        }
    }

    async fn used_before(&self, context: &Context) -> Result<Problem> {
        let mut kind = self.0.first().map_or(Kind::Assertion, |seen| seen.kind);
        if self.0.len() > 1 {
            let statements: Vec<Statement> = self
                .0
                .iter()
                .map(|seen| request::store::verification::is_kept(context, seen.kind.name(), &seen.hash()))
                .collect();
            let mut answers = context.db()?.batch(statements).await?;
            for seen in &self.0 {
                if answers.row()? == Some(true) {
                    kind = seen.kind;
                    break;
                }
            }
        }
        Ok(match kind {
            Kind::Assertion => failed("an assertion that was used before"),
            Kind::Grant => Problem::new(Code::InvalidGrant, "the assertion is not good").because("used before"),
            Kind::Proof => Problem::new(Code::InvalidDpopProof, "the DPoP proof is not good").because("used before"),
        })
    }

    /// Writes the last batch of a request, if there is anything to write.
    ///
    /// # Errors
    /// As [`Self::settled`].
    pub async fn write(&self, context: &Context, statements: Vec<Statement>) -> Result<()> {
        let mut all = self.statements(context)?;
        all.extend(statements);
        if all.is_empty() {
            return Ok(());
        }
        self.settled(context, context.db()?.batch(all).await).await.map(|_| ())
    }
}
