//! The page that asks a user whether a client may know them.

use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::Result;
use crate::platform::problem::{Code, Problem};
use crate::provider::authorization::{AuthorizationRequest, Refused, judge};
use crate::provider::authorize::{
    LoadedRequest, answer_authorization, is_authentication_too_old, issue_code, load_authorization_request,
    refuse_authorization, response_target, spend_statements,
};
use crate::provider::parameters::Parameters;
use crate::provider::subject::{load_signed_in_person, sign_in_redirect};
use crate::provider::{pages, store};
use crate::records;
use crate::records::store::audit::Severity;
use crate::session::call::Call;

async fn asked(call: &Call, client_id: &str, request_uri: &str) -> Result<(LoadedRequest, AuthorizationRequest)> {
    let mut parameters = Parameters::default();
    parameters.set("client_id", client_id);
    parameters.set("request_uri", request_uri);
    let asked = load_authorization_request(&call.context, parameters).await?;
    // What was kept was good; the client may have been changed since.
    match judge(&asked.parameters, &asked.client) {
        Ok(request) => Ok((asked, request)),
        Err(refused) => Err(refused.problem.of_client(&asked.client.name, asked.client.client_uri.as_deref()).into()),
    }
}

/// `GET /consent?client_id=…&request_uri=…`.
///
/// # Errors
/// 400 for a request that is unknown or too old; 503.
pub async fn page(call: &mut Call) -> Result<Reply> {
    let parameter = |name: &str| call.request.param(name).unwrap_or_default();
    let (client_id, request_uri) = (parameter("client_id"), parameter("request_uri"));
    let (asked, request) = asked(call, &client_id, &request_uri).await?;
    let Some(authenticated) = load_signed_in_person(&call.context).await? else {
        return Ok(Reply::redirect(302, &sign_in_redirect(call.request.path_and_query())));
    };
    if asked.asks.as_ref() != Some(&authenticated.session.id) {
        // Somebody else was asked, or nobody yet: from the beginning, with whoever is signed in now.
        let again = Target::own("/oauth2/authorize").with_query("client_id", &client_id);
        return Ok(Reply::redirect(302, &again.with_query("request_uri", &request_uri)));
    }
    let title = format!("Sign in to {}?", asked.client.name);
    let page = pages::consent::page(
        &call.context.frame(&title),
        &pages::consent::Question {
            client: &asked.client,
            scopes: &request.consent_scopes(&asked.client),
            email: &authenticated.session.user.email,
            redirect_uri: &request.redirect_uri,
            request_uri: &request_uri,
        },
    );
    Ok(Reply::page(200, page).with_cookies(authenticated.cookies))
}

/// `POST /consent`: the answer. It is written, and the code with it; the request is used up by it.
///
/// # Errors
/// 400 for a request that is unknown, used or too old; 401, 503.
pub async fn decide(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let (client_id, request_uri) = (fields.required("client_id", 500), fields.required("request_uri", 200));
    let agrees = fields.required("decision", 10) == "allow";
    fields.finish()?;
    let (asked, request) = asked(call, &client_id, &request_uri).await?;
    let context = &call.context;
    let authenticated = load_signed_in_person(&call.context).await?;
    let Some(authenticated) = authenticated else {
        let back = Target::own("/consent").with_query("client_id", &client_id).with_query("request_uri", &request_uri);
        return Ok(Reply::redirect(303, &sign_in_redirect(back.as_str())));
    };
    if asked.asks.as_ref() != Some(&authenticated.session.id) {
        let problem = Problem::new(Code::AccessDenied, "somebody else was asked");
        let problem = problem.of_client(&asked.client.name, asked.client.client_uri.as_deref());
        return Err(problem.because("the form was shown to another user, or to nobody").into());
    }
    let kept = asked.kept_id.clone().unwrap_or_default();
    let spent = || is_authentication_too_old(&asked.client);
    let mut statements = vec![store::grant::redeem(context, &kept), must_change()];
    // The copy that was asked by, and the pushed request that it is of.
    statements.extend(spend_statements(context, &asked));
    if !agrees {
        match context.db()?.batch(statements).await {
            Err(StoreError::Unchanged) => return Err(spent().into()),
            other => other?,
        };
        let problem = Problem::new(Code::AccessDenied, "the user said no");
        return refuse_authorization(
            context,
            &asked.client,
            Refused { problem, place: Some(response_target(&request)) },
        )
        .await;
    }
    let user = &authenticated.session.user.id;
    let (code, keep) = issue_code(context, &asked.client, &request, &authenticated)?;
    let scopes = request.consent_scopes(&asked.client);
    let details = serde_json::json!({ "client": asked.client.client_id, "scopes": scopes });
    let event = context.row_id()?;
    statements.extend([
        store::consent::give(context, &asked.client.id, user, &scopes)?,
        records::store::audit::audit(context, &event, Some(user), "consent.given", Severity::Low, &details),
        keep,
    ]);
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Err(spent().into()),
        other => other?,
    };
    let reply =
        answer_authorization(context, &asked.client, &response_target(&request), &[("code", code.expose())]).await?;
    Ok(reply.with_cookies(authenticated.cookies))
}
