//! Tokens made.

use serde_json::{Map, Value, json};

use crate::jose;
use crate::platform::d1::Statement;
use crate::platform::error::Result;
use crate::platform::id::{Id, Millis, OauthClient, Session, User};
use crate::platform::secret::{AccessToken, RefreshToken, Token, TokenHash, sha256_base64url};
use crate::provider::assurance::acr;
use crate::provider::client::Client;
use crate::provider::dpop::Confirmation;
use crate::provider::store;
use crate::provider::store::token::NewToken;
use crate::provider::subject::{issuer, session_identifier, subject_identifier};
use crate::request::context::Context;

/// A refresh token that comes along.
pub struct Refreshing<'a> {
    /// The token.
    pub token: Token<RefreshToken>,
    /// Whether it is there already, and given once more.
    pub is_kept: bool,
    /// The scopes that it is good for, of which the access token's may be a part.
    pub scope: &'a str,
    /// The resources, likewise.
    pub resources: &'a [String],
}

/// What an ID token says beside who signed in.
#[derive(Default)]
pub struct Saying<'a> {
    /// `nonce` of the request.
    pub nonce: Option<&'a str>,
    /// The code that it came of.
    pub code: Option<&'a str>,
    /// What `acr` was wanted to be.
    pub acr: &'a [String],
    /// Claims that were asked for by name.
    pub claims: Map<String, Value>,
}

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
    /// The key that they are bound to.
    pub cnf: Confirmation,
    /// When the user proved who they are.
    pub authenticated_at: Option<Millis>,
    /// How.
    pub amr: &'a [String],
    /// Claims that the userinfo endpoint was asked for by name.
    pub userinfo_claims: &'a [String],
    /// Who acts for the user (RFC 8693, section 4.1).
    pub act: Option<&'a Value>,
    /// The client whose user's token it is exchanged for.
    pub origin: Option<&'a Id<OauthClient>>,
    /// Whether they outlive the session.
    pub is_offline: bool,
    /// A time that the access token does not outlive.
    pub until: Option<Millis>,
    /// The refresh token.
    pub refresh: Option<Refreshing<'a>>,
    /// The ID token.
    pub id_token: Option<Saying<'a>>,
}

impl<'a> Issue<'a> {
    /// An access token for the client itself, of a family.
    #[must_use]
    pub fn new(
        client: &'a Client,
        family: &'a str,
        (scope, resources): (&'a str, &'a [String]),
        cnf: Confirmation,
    ) -> Self {
        Self {
            client,
            user: None,
            session: None,
            family,
            scope,
            resources,
            cnf,
            authenticated_at: None,
            amr: &[],
            userinfo_claims: &[],
            act: None,
            origin: None,
            is_offline: false,
            until: None,
            refresh: None,
            id_token: None,
        }
    }

    /// The token endpoint's answer (RFC 6749, section 5.1), and the statements that keep the tokens.
    ///
    /// # Errors
    /// If there is no key to sign with, or no randomness.
    pub async fn carry_out(self, context: &Context) -> Result<(Value, Vec<Statement>)> {
        let longest = context.config.access_token_seconds;
        let seconds = self.until.map_or(longest, |until| longest.min((until - context.now) / 1000).max(1));
        let access = self.access_token(context, seconds).await?;
        let hash: TokenHash<AccessToken> = TokenHash::trusted(sha256_base64url(&access));
        let row = self.row(&hash, (self.scope, self.resources), &self.cnf, context.now + seconds * 1000);
        let mut statements = vec![store::token::keep_access(context, &row)?];
        statements.extend(self.session.map(|session| store::logout::enter(context, session, &self.client.id)));
        let mut body = json!({ "access_token": access, "token_type": self.cnf.token_type(), "expires_in": seconds });
        // RFC 6749, section 3.3: a scope has one word at least.
        if !self.scope.is_empty() {
            body["scope"] = json!(self.scope);
        }
        if let Some(refresh) = &self.refresh {
            if !refresh.is_kept {
                let until = context.now + context.config.refresh_token_seconds * 1000;
                let hash = refresh.token.hash();
                // A client that authenticates is bound to its credentials, and may change its keys (RFC 9449, section 5).
                let cnf = if self.client.is_public() { self.cnf.clone() } else { Confirmation::default() };
                let row = self.row(&hash, (refresh.scope, refresh.resources), &cnf, until);
                statements.push(store::token::keep_refresh(context, &row)?);
            }
            body["refresh_token"] = json!(refresh.token.expose());
        }
        if let Some(saying) = &self.id_token
            && self.user.is_some()
            && self.scope.split(' ').any(|scope| scope == "openid")
        {
            body["id_token"] = json!(self.id_token(context, &access, saying, longest).await?);
        }
        Ok((body, statements))
    }

    fn row<'b, K>(
        &'b self,
        hash: &'b TokenHash<K>,
        (scope, audience): (&'b str, &'b [String]),
        cnf: &'b Confirmation,
        expires_at: Millis,
    ) -> NewToken<'b, K> {
        NewToken {
            hash,
            client: &self.client.id,
            user: self.user,
            session: self.session,
            family: self.family,
            scope,
            audience,
            cnf,
            act: self.act,
            origin: self.origin,
            is_offline: self.is_offline,
            userinfo_claims: self.userinfo_claims,
            authenticated_at: self.authenticated_at,
            amr: self.amr,
            expires_at,
        }
    }

    fn subject(&self, context: &Context) -> String {
        match self.user {
            Some(user) => {
                subject_identifier(context.pairwise(self.client.is_pairwise), user, &self.client.redirect_uris)
            }
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
            // Not the issuer alone: that is what our own front-ends' JWTs are for, whose user no client may be.
            [] => json!(crate::provider::subject::userinfo(context)),
            [one] => json!(one),
            many => json!(many),
        };
        let mut claims = json!({
            "iss": issuer, "sub": self.subject(context), "aud": audience, "client_id": self.client.client_id,
            "scope": self.scope, "jti": context.row_id()?,
        });
        if let Some(at) = self.authenticated_at {
            claims["auth_time"] = json!(at / 1000);
            claims["amr"] = json!(self.amr);
            if let Some(acr) = acr(self.amr, &[]) {
                claims["acr"] = json!(acr);
            }
        }
        if !self.cnf.is_none() {
            claims["cnf"] = json!(self.cnf);
        }
        if let Some(act) = self.act {
            claims["act"] = act.clone();
        }
        jose::store::signer(context).await?.sign_as("at+jwt", claims, context.now, seconds).await
    }

    /// The ID token (OpenID Connect Core 1.0, section 2).
    async fn id_token(
        &self,
        context: &Context,
        access_token: &str,
        saying: &Saying<'_>,
        seconds: i64,
    ) -> Result<String> {
        let algorithm = self.client.details.id_token_signed_response_alg;
        let mut claims = saying.claims.clone();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("iss", json!(issuer(context)));
        put("sub", json!(self.subject(context)));
        put("aud", json!(self.client.client_id));
        put("azp", json!(self.client.client_id));
        put("at_hash", json!(algorithm.half_digest(access_token)));
        put("amr", json!(self.amr));
        if let Some(acr) = acr(self.amr, saying.acr) {
            put("acr", json!(acr));
        }
        if let Some(code) = saying.code {
            put("c_hash", json!(algorithm.half_digest(code)));
        }
        if let Some(at) = self.authenticated_at {
            put("auth_time", json!(at / 1000));
        }
        if let Some(nonce) = saying.nonce {
            put("nonce", json!(nonce));
        }
        if let Some(session) = self.session {
            put(
                "sid",
                json!(session_identifier(context.pairwise(self.client.is_pairwise), session, &self.client.client_id)),
            );
        }
        let signer = jose::store::signer_for(context, algorithm).await?;
        signer.sign(Value::Object(claims), context.now, seconds).await
    }
}
