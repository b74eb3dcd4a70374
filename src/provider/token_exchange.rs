//! Token exchange (RFC 8693).

use serde_json::{Value, json};

use crate::platform::d1::{Answers, Statement};
use crate::platform::error::Result;
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::sha256_base64url;
use crate::provider::exchange::{ACCESS_TOKEN, SubjectToken, exchange, judge_types};
use crate::provider::grant::{Granting, commit_tokens};
use crate::provider::issue::Issue;
use crate::provider::parameters::Parameters;
use crate::provider::store;
use crate::provider::store::token::FoundToken;
use crate::provider::subject::subject_identifier;
use crate::records;
use crate::records::store::audit::Severity;
use crate::request::context::Context;

/// The tokens that a request presents.
///
/// # Errors
/// `invalid_request`.
pub fn wanted_token(context: &Context, parameters: &Parameters) -> Result<Vec<Statement>> {
    let missing = || Problem::new(Code::InvalidRequest, "subject_token is missing");
    let texts = [Some(parameters.get("subject_token").ok_or_else(missing)?), parameters.get("actor_token")];
    let find = |text: &str| store::token::find(context, &sha256_base64url(text));
    Ok(texts.into_iter().flatten().map(find).collect())
}

/// What a client calls whoever a token stands for: a pairwise name stays one.
fn name_token(context: &Context, found: &FoundToken) -> String {
    match &found.person {
        Some(person) => subject_identifier(context.pairwise(found.is_pairwise), &person.id, &found.redirect_uris),
        None => found.client_id.clone(),
    }
}

fn load_subject_token<'a>(found: &'a FoundToken, subject: &'a str) -> SubjectToken<'a> {
    SubjectToken {
        is_good: found.is_good && found.kind == "access",
        has_user: found.person.is_some(),
        subject,
        client_id: &found.client_id,
        scope: &found.scope,
        audience: &found.audience,
        act: found.act.as_ref(),
        expires_at: found.expires_at,
    }
}

/// A token for the tokens that were presented. It ends with what they came of.
///
/// # Errors
/// As [`exchange::exchange`](crate::provider::exchange::exchange).
pub async fn grant_by_exchange(context: &Context, granting: Granting<'_>, answers: &mut Answers) -> Result<Value> {
    let Granting { client, parameters, .. } = granting;
    judge_types(parameters, client)?;
    let unknown = |description| Problem::new(Code::InvalidRequest, description).because("unknown");
    let found: Option<FoundToken> = answers.row()?;
    let found = found.ok_or_else(|| unknown("subject_token is not good, or of no user"))?;
    let actor: Option<FoundToken> = if parameters.get("actor_token").is_some() {
        let actor: Option<FoundToken> = answers.row()?;
        Some(actor.ok_or_else(|| unknown("actor_token is not good, or another client's"))?)
    } else {
        None
    };
    let names =
        (name_token(context, &found), actor.as_ref().map(|actor| name_token(context, actor)).unwrap_or_default());
    let actor = actor.as_ref().map(|actor| load_subject_token(actor, &names.1));
    let exchanged = exchange(parameters, client, &load_subject_token(&found, &names.0), actor.as_ref())?;
    // What was bound to a key stays bound: to the same one where it is the client's own token, and else to the client's.
    let is_own = found.client == client.id;
    let is_bound = if is_own { granting.held.confirms(&found.cnf) } else { !granting.cnf.is_none() };
    if !found.cnf.is_none() && !is_bound {
        return Err(Problem::new(
            Code::InvalidDpopProof,
            "subject_token is bound to a key, and so is what comes of it",
        )
        .into());
    }
    let user = found.person.as_ref().map(|person| &person.id);
    let issue = Issue {
        user,
        session: found.session_id.as_ref(),
        authenticated_at: found.authenticated_at,
        amr: &found.amr,
        act: exchanged.act.as_ref(),
        origin: Some(found.origin.as_ref().unwrap_or(&found.client)),
        is_offline: found.is_offline,
        until: Some(exchanged.until),
        ..Issue::new(client, &found.family_id, (&exchanged.scope, &exchanged.resources), granting.cnf)
    };
    let (mut body, tokens) = issue.carry_out(context).await?;
    body["issued_token_type"] = json!(ACCESS_TOKEN);
    let details = json!({ "client": client.client_id, "from": found.client_id, "act": exchanged.act });
    let event = context.row_id()?;
    // It may have been revoked since it was read.
    let alive = store::token::touch(context, &found.id);
    let mut statements = tokens;
    statements.push(records::store::audit::audit(context, &event, user, "token.exchanged", Severity::Medium, &details));
    let gone = || unknown("subject_token is not good, or of no user");
    commit_tokens(context, &granting.once, alive, statements).await?.ok_or_else(gone)?;
    Ok(body)
}
