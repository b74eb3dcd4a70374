//! Tokens made.

use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::error::Result;
use crate::handlers::provider::{issuer, subject};
use crate::id::{Id, Millis, Session, User};
use crate::oauth::client::Client;
use crate::oauth::token::at_hash;
use crate::secret::{AccessToken, RefreshToken, Token, TokenHash};
use crate::store;
use crate::store::database::Statement;
use crate::store::oauth::token::NewToken;
use crate::store::signing_key;

/// What tokens are made for.
pub struct Issue<'a> {
    /// Whose.
    pub client: &'a Client,
    /// For whom; none for the client itself.
    pub user: Option<&'a Id<User>>,
    /// The session that it came of.
    pub session: Option<&'a Id<Session>>,
    /// What it came of.
    pub family: &'a str,
    /// Scopes, space-separated.
    pub scope: &'a str,
    /// Resources; none is our own userinfo endpoint.
    pub resources: &'a [String],
    /// When the user proved who they are.
    pub authenticated_at: Option<Millis>,
    /// How.
    pub amr: &'a [String],
    /// `nonce` of the request.
    pub nonce: Option<&'a str>,
    /// The refresh token, if there is to be one.
    pub refresh: Option<Token<RefreshToken>>,
    /// Whether the refresh token is there already, and given once more.
    pub refresh_is_kept: bool,
    /// The scopes that the refresh token is good for, of which these may be a part.
    pub refresh_scope: &'a str,
    /// The resources, likewise.
    pub refresh_resources: &'a [String],
}

impl Issue<'_> {
    /// The token endpoint's answer (RFC 6749, section 5.1), and the statements that keep the tokens.
    ///
    /// # Errors
    /// If there is no key to sign with, or no randomness.
    pub async fn carry_out(self, context: &Context) -> Result<(Value, Vec<Statement>)> {
        let seconds = context.config.access_token_seconds;
        let access = self.access_token(context, seconds).await?;
        let hash: TokenHash<AccessToken> = TokenHash::trusted(crate::secret::sha256_base64url(&access));
        let mut statements = vec![store::oauth::token::keep_access(
            context,
            &self.row(&hash, self.scope, self.resources, context.now + seconds * 1000),
        )?];
        let mut body = json!({
            "access_token": access, "token_type": "Bearer", "expires_in": seconds, "scope": self.scope,
        });
        if let Some(refresh) = &self.refresh {
            if !self.refresh_is_kept {
                let until = context.now + context.config.refresh_token_seconds * 1000;
                let hash = refresh.hash();
                let row = self.row(&hash, self.refresh_scope, self.refresh_resources, until);
                statements.push(store::oauth::token::keep_refresh(context, &row)?);
            }
            body["refresh_token"] = json!(refresh.expose());
        }
        if self.user.is_some() && self.scope.split(' ').any(|scope| scope == "openid") {
            body["id_token"] = json!(self.id_token(context, &access, seconds).await?);
        }
        Ok((body, statements))
    }

    fn row<'a, K>(
        &'a self,
        hash: &'a TokenHash<K>,
        scope: &'a str,
        audience: &'a [String],
        expires_at: Millis,
    ) -> NewToken<'a, K> {
        NewToken {
            hash,
            client: &self.client.id,
            user: self.user,
            session: self.session,
            family: self.family,
            scope,
            audience,
            authenticated_at: self.authenticated_at,
            amr: self.amr,
            expires_at,
        }
    }

    fn subject(&self) -> String {
        match self.user {
            Some(user) => subject(user, self.client.is_pairwise, &self.client.redirect_uris),
            None => self.client.client_id.clone(),
        }
    }

    /// A JWT (RFC 9068), or 256 random bits.
    async fn access_token(&self, context: &Context, seconds: i64) -> Result<String> {
        if !self.client.has_jwt_access_tokens {
            return Ok(Token::<AccessToken>::new(context.random()?).expose().to_owned());
        }
        let issuer = issuer(context);
        let audience = match self.resources {
            [] => json!(issuer),
            [one] => json!(one),
            many => json!(many),
        };
        let mut claims = json!({
            "iss": issuer, "sub": self.subject(), "aud": audience, "client_id": self.client.client_id,
            "scope": self.scope, "jti": context.row_id()?,
        });
        if let Some(at) = self.authenticated_at {
            claims["auth_time"] = json!(at / 1000);
            claims["amr"] = json!(self.amr);
        }
        signing_key::signer(context).await?.sign_as("at+jwt", claims, context.now, seconds).await
    }

    /// The ID token (OpenID Connect Core 1.0, section 2).
    async fn id_token(&self, context: &Context, access_token: &str, seconds: i64) -> Result<String> {
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("iss", json!(issuer(context)));
        put("sub", json!(self.subject()));
        put("aud", json!(self.client.client_id));
        put("azp", json!(self.client.client_id));
        put("at_hash", json!(at_hash(access_token)));
        put("amr", json!(self.amr));
        if let Some(at) = self.authenticated_at {
            put("auth_time", json!(at / 1000));
        }
        if let Some(nonce) = self.nonce {
            put("nonce", json!(nonce));
        }
        if let Some(session) = self.session {
            put("sid", json!(session));
        }
        signing_key::signer(context).await?.sign(Value::Object(claims), context.now, seconds).await
    }
}
