//! Assertions of upstream issuers as grants (RFC 7523, section 2.1).

use serde_json::{Value, json};

use crate::federation::flow::begin::with_endpoints;
use crate::jose::jws::{JwsError, UnverifiedJws};
use crate::jose::key_set;
use crate::platform::d1::{Answers, Statement};
use crate::platform::error::Result;
use crate::platform::problem::{Code, Problem};
use crate::provider::assertion_grant::{judge, read};
use crate::provider::authorization::{judge_resources, of_resource};
use crate::provider::grant::Granting;
use crate::provider::issue::Issue;
use crate::provider::parameters::Parameters;
use crate::provider::store;
use crate::provider::store::asserted::Asserted;
use crate::provider::subject::issuer;
use crate::provider::token::narrowed;
use crate::records;
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::users::person::user_is_active;

fn bad(reason: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidGrant, "the assertion is not good").because(reason)
}

fn load_assertion(parameters: &Parameters) -> Result<UnverifiedJws<'_>> {
    let missing = || Problem::new(Code::InvalidRequest, "assertion is missing");
    Ok(parameters.get("assertion").map(UnverifiedJws).ok_or_else(missing)?)
}

/// The issuer and the user that an assertion names, and what that user agreed to.
///
/// # Errors
/// `invalid_request`, `invalid_grant`.
pub fn wanted_scopes(context: &Context, parameters: &Parameters, client_id: &str) -> Result<Vec<Statement>> {
    let named = read(load_assertion(parameters)?)?;
    Ok(vec![store::asserted::find(context, (&named.issuer, &named.subject), client_id)])
}

/// A token for the user that a trusted issuer names, for as much as they agreed to themselves.
///
/// # Errors
/// `invalid_grant`, `invalid_scope`, `invalid_target`.
pub async fn grant_by_assertion(context: &Context, granting: Granting<'_>, answers: &mut Answers) -> Result<Value> {
    let Granting { client, parameters, once, .. } = granting;
    let found: Option<Asserted> = answers.row()?;
    let Asserted { upstream, user_id, status, suspended_until, agreed } =
        found.ok_or_else(|| bad("of no issuer that is trusted to, or of nobody that it signed in"))?;
    let jws = load_assertion(parameters)?;
    let (upstream, mut statements) = with_endpoints(context, upstream).await?;
    let jwks_uri = upstream.endpoint("jwks_uri").ok_or_else(|| bad("an issuer without jwks_uri"))?;
    let keys = key_set::load_key_set(context, &jwks_uri, false).await.map_err(bad)?;
    let verified = match jws.verify(&keys) {
        Err(JwsError::UnknownKey(_)) => {
            jws.verify(&*key_set::load_key_set(context, &jwks_uri, true).await.map_err(bad)?)
        }
        other => other,
    };
    let verified = verified.map_err(|error| bad(error.to_string()))?;
    let (us, endpoint) = (issuer(context), format!("{}/oauth2/token", issuer(context)));
    let assertion = judge(&verified.claims, &client.client_id, &[&us, &endpoint], context.now)?;
    if !user_is_active(&status, suspended_until, context.now) {
        return Err(bad("the user is not active").into());
    }
    // The issuer says who they are; what the client may have of them they have said here.
    let is_agreed = |scope: &&str| client.skips_consent || agreed.iter().any(|known| known == scope);
    let own: Vec<&str> =
        client.scopes.iter().map(String::as_str).filter(|scope| *scope != "offline_access").filter(is_agreed).collect();
    if own.is_empty() {
        return Err(bad("the user has not agreed").into());
    }
    let scope = narrowed(&own.join(" "), parameters)?;
    judge_resources(parameters.resources(), client)?;
    let is_agreed = |resource: &String| client.skips_consent || agreed.contains(&of_resource(resource));
    if !parameters.resources().iter().all(is_agreed) {
        return Err(Problem::new(Code::InvalidTarget, "the user has not agreed to the resource").into());
    }
    let family = context.row_id()?;
    // They were not here: nothing is said of when and how they signed in.
    let issue =
        Issue { user: Some(&user_id), ..Issue::new(client, &family, (&scope, parameters.resources()), granting.cnf) };
    let (body, tokens) = issue.carry_out(context).await?;
    let details = json!({ "client": client.client_id, "issuer": upstream.name });
    let event = context.row_id()?;
    statements.extend(tokens);
    statements.push(records::store::audit::audit(
        context,
        &event,
        Some(&user_id),
        "token.asserted",
        Severity::Medium,
        &details,
    ));
    once.with_grant(upstream.id.as_str(), &assertion.jti, assertion.ends_at).write(context, statements).await?;
    Ok(body)
}
