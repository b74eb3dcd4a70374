//! The client that asks at an endpoint of its own, authenticated.

use crate::context::Context;
use crate::error::Result;
use crate::handlers::outgoing;
use crate::handlers::provider::issuer;
use crate::id::Millis;
use crate::oauth::client::Client;
use crate::oauth::client_authentication::{Credential, Expected, UnverifiedClient, check};
use crate::oauth::jws::{JwsError, KeySet, UnverifiedJws};
use crate::oauth::problem::{Code, Problem};
use crate::secret::{ClientAssertion, Token, sha256_base64url};
use crate::store;
use crate::store::database::Statement;

/// How long a used assertion is remembered past its end, in milliseconds: longer than any clock is off.
const REMEMBERED: i64 = 120_000;

fn failed(reason: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidClient, "client authentication failed").because(reason)
}

/// Checks that a request comes of the client that it names.
///
/// # Errors
/// `invalid_client`, for an unknown client as for a wrong secret.
pub async fn authenticate(
    context: &Context,
    client: Option<Client>,
    presented: &UnverifiedClient,
) -> Result<(Client, Once)> {
    let client = client.ok_or_else(|| failed(format!("no client {:?}", presented.client_id)))?;
    let issuer = issuer(context);
    let endpoint = format!("{issuer}/oauth2/token");
    let expected = Expected { audiences: &[&issuer, &endpoint], now: context.now };
    let Credential::Assertion(assertion) = &presented.credential else {
        check(&client, &presented.credential, None, &expected)?;
        return Ok((client, Once(None)));
    };
    let assertion = UnverifiedJws(assertion);
    let verified = assertion.verify(&keys(context, &client, false).await?);
    let verified = match verified {
        Err(JwsError::UnknownKey(_)) if client.jwks_uri.is_some() => {
            assertion.verify(&keys(context, &client, true).await?)
        }
        other => other,
    };
    let verified = verified.map_err(|error| failed(error.to_string()))?;
    check(&client, &presented.credential, Some(&verified.claims), &expected)?;
    let jti = verified.claims.get("jti").and_then(serde_json::Value::as_str).unwrap_or_default();
    let seen: Option<Token<ClientAssertion>> = Token::parse(&sha256_base64url(&format!("{}\0{jti}", client.id)));
    let seen = seen.ok_or_else(|| failed("a digest that is no token"))?;
    let until = assertion.ends_at().unwrap_or(context.now) + REMEMBERED;
    let about = client.id.as_str().to_owned();
    Ok((client, Once(Some((seen, about, until)))))
}

/// What a request uses up: its assertion, if it has one. The statements go into the batch that the request ends in, whichever
/// that is, and conflict where it was used before.
pub struct Once(Option<(Token<ClientAssertion>, String, Millis)>);

impl Once {
    /// The statements.
    ///
    /// # Errors
    /// If the platform has no randomness.
    pub fn statements(&self, context: &Context) -> Result<Vec<Statement>> {
        let Some((seen, about, until)) = &self.0 else {
            return Ok(Vec::new());
        };
        Ok(vec![store::verification::keep(context, &context.tenant().id, seen, about, b"{}", *until)?])
    }
}

/// A conflict of what is good once: an assertion that was used before.
#[must_use]
pub fn replayed() -> Problem {
    failed("an assertion that was used before")
}

async fn keys(context: &Context, client: &Client, missed_key: bool) -> Result<KeySet> {
    if let Some(jwks) = &client.jwks {
        return Ok(KeySet::read(jwks.to_string().as_bytes()).map_err(failed)?);
    }
    let uri = client.jwks_uri.as_deref().ok_or_else(|| failed("a client without keys"))?;
    let set = outgoing::key_set(context, uri, missed_key).await.map_err(failed)?;
    Ok((*set).clone())
}
