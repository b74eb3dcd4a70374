//! The userinfo endpoint (OpenID Connect Core 1.0, section 5.3).

use serde_json::{Value, json};

use crate::http::reply::Reply;
use crate::jose;
use crate::platform::error::{Error, Result};
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::sha256_base64url;
use crate::provider::authenticate_client::SingleUse;
use crate::provider::authorize::refuse_doubled_parameter;
use crate::provider::claims::{Subject, by_name, by_scope};
use crate::provider::parameters::Parameters;
use crate::provider::sender_constraint::Held;
use crate::provider::store::token::FoundToken;
use crate::provider::subject::{issuer, subject_identifier};
use crate::provider::{store, userinfo};
use crate::request::context::Context;
use crate::session::call::Call;

/// The longest token read, in bytes.
const LONGEST: usize = 8192;

/// `GET /oauth2/userinfo`.
///
/// # Errors
/// 401 `invalid_token`, 403 `insufficient_scope`.
pub async fn get(call: &mut Call) -> Result<Reply> {
    answer(&call.context, "GET", None).await
}

/// `POST /oauth2/userinfo`: the token in the header, or in the form (RFC 6750, section 2.2).
///
/// # Errors
/// As [`get`].
pub async fn post(call: &mut Call) -> Result<Reply> {
    let has_form = call.request.header("Content-Type").is_some_and(|kind| kind.contains("form-urlencoded"));
    let form = if has_form { call.request.form().await? } else { String::new() };
    let parameters = Parameters::parse(&form).map_err(refuse_doubled_parameter)?;
    answer(&call.context, "POST", parameters.get("access_token")).await
}

async fn answer(context: &Context, method: &str, posted: Option<&str>) -> Result<Reply> {
    let invalid = |reason: &str| Problem::new(Code::InvalidToken, "the access token is not good").because(reason);
    let proven = userinfo::token_of_scheme(context, "DPoP");
    let has_proof = proven.is_some();
    let said = |problem: Problem| if has_proof { problem.with_dpop() } else { problem };
    let header = proven.or_else(|| userinfo::read_access_token(context));
    if header.is_some() && posted.is_some() {
        return Err(Problem::new(Code::InvalidRequest, "the access token is there twice").into());
    }
    let missing = || Problem::new(Code::MissingToken, "there is no access token");
    let token = header.or_else(|| posted.map(str::to_owned)).ok_or_else(missing)?;
    if token.len() > LONGEST {
        return Err(said(invalid("too long")).into());
    }
    let held = match Held::read(context, method, &crate::provider::subject::userinfo(context), Some(&token)) {
        Err(Error::OAuth(problem)) => return Err(problem.with_dpop().into()),
        other => other?,
    };
    // A proof without its scheme is no use of it (RFC 9449, section 7.1).
    if has_proof && held.proof.is_none() {
        return Err(invalid("DPoP without a proof").with_dpop().into());
    }
    let found: Option<FoundToken> = context.db()?.first(store::token::find(context, &sha256_base64url(&token))).await?;
    let found = found.ok_or_else(|| said(invalid("unknown")))?;
    if found.kind != "access" || !found.is_good {
        return Err(said(invalid("no access token, or not good any more")).into());
    }
    // A bound token is worth nothing by itself, and one that is not bound proves nothing (section 7.2).
    if !held.confirms(&found.cnf) || found.cnf.jkt.is_some() != has_proof {
        let problem = invalid("bound to another key, or to none");
        return Err(if found.cnf.jkt.is_some() { problem.with_dpop() } else { problem }.into());
    }
    held.check_algorithm(found.is_fapi).map_err(said)?;
    // RFC 8707: a token for another resource is none for us.
    let issuer = issuer(context);
    let is_us = |resource: &String| {
        resource.trim_end_matches('/') == issuer || *resource == crate::provider::subject::userinfo(context)
    };
    if !found.audience.is_empty() && !found.audience.iter().any(is_us) {
        return Err(said(invalid("for another resource")).into());
    }
    let person = found.person.as_ref().filter(|_| found.scope.split(' ').any(|scope| scope == "openid"));
    let no_scope = || Problem::new(Code::InsufficientScope, "the access token is not of an OpenID Connect request");
    let person = person.ok_or_else(|| said(no_scope()))?;
    if has_proof {
        match SingleUse::default().with_proof(context, &held).write(context, Vec::new()).await {
            Err(Error::OAuth(problem)) => return Err(problem.with_dpop().into()),
            other => other?,
        }
    }
    let tenant = context.tenant();
    let about =
        Subject { person, profile: &found.profile, roles: &found.roles, tenant: (tenant.id.as_str(), &tenant.name) };
    let mut claims = by_scope(&about, &found.scope);
    claims.extend(by_name(&about, &found.userinfo_claims));
    claims.insert(
        "sub".to_owned(),
        json!(subject_identifier(context.pairwise(found.is_pairwise), &person.id, &found.redirect_uris)),
    );
    let Some(algorithm) = found.userinfo_alg else {
        return Reply::json(200, &Value::Object(claims));
    };
    // Section 5.3.2.
    claims.insert("iss".to_owned(), json!(issuer));
    claims.insert("aud".to_owned(), json!(found.client_id));
    let token = jose::store::signer_for(context, algorithm).await?.sign_claims("JWT", claims).await?;
    Ok(Reply::text(200, "application/jwt", token))
}
