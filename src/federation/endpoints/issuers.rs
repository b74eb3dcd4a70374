//! Upstream issuers, kept at run time: `/admin/issuers`.

use serde_json::{Value, json};
use url::Url;

use crate::access::action::Action;
use crate::access::permission::{EVERYTHING, Permissions};
use crate::admin::administrator::{Administrator, authorize_administrator};
use crate::federation::store::issuer::{IN_USE, IssuerDraft, IssuerRecord, Upstream};
use crate::federation::{discover, issuer_draft, issuers, store};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::{Statement, StoreError, Stored, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Issuer};
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::request::fetch::OWN;
use crate::session::call::Call;
use crate::{records, request, session};

/// `GET /admin/issuers`: the tenant's and everybody's, in the order of the login page.
///
/// # Errors
/// 401, 403.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let mut administrator = authorize_administrator(
        &call.context,
        Action::ManageIssuers,
        vec![store::issuer::records(&context.tenant().id)],
    )
    .await?;
    let records: Vec<IssuerRecord> = administrator.answers.rows()?;
    let records: Vec<IssuerRecord> =
        records.into_iter().map(|record| record.with_public_key(context)).collect::<Stored<_>>()?;
    Ok(Reply::json(200, &json!({ "issuers": records }))?.with_cookies(administrator.authenticated.cookies))
}

/// `GET /admin/issuers/:id`.
///
/// # Errors
/// 401, 403, 404.
pub async fn show(call: &mut Call) -> Result<Reply> {
    let (administrator, record) = issuers::load_issuer_as_administrator(&call.context, call.segment.as_deref()).await?;
    Ok(Reply::json(200, &record)?.with_cookies(administrator.authenticated.cookies))
}

/// `POST /admin/issuers`.
///
/// # Errors
/// 400, 401, 403 for one of every tenant's, or one whose word on addresses is believed, by a caller who does not hold everything;
/// 409 for a name that is taken.
pub async fn create(call: &mut Call) -> Result<Reply> {
    let fields = call.request.fields(Media::Json).await?;
    let administrator = authorize_administrator(&call.context, Action::ManageIssuers, Vec::new()).await?;
    let context = &call.context;
    let mut draft = issuer_draft::read_issuer_draft(context, fields, None).await?;
    draft.record.id = context.row_id()?;
    issuers::may_change(&administrator, &draft.record)?;
    let body = save(context, &administrator, &draft, "issuer.created").await?;
    Ok(Reply::json(201, &body)?.with_cookies(administrator.authenticated.cookies))
}

/// `PATCH /admin/issuers/:id`: what is sent is changed. Whoever is linked is linked to who they are at this issuer, so it
/// does not become another while anybody is.
///
/// # Errors
/// As [`create`], also for what gives linked accounts to other people; 404, 409 for what makes it another issuer while
/// users are linked.
pub async fn update(call: &mut Call) -> Result<Reply> {
    let fields = call.request.fields(Media::Json).await?;
    let (administrator, record) = issuers::load_issuer_as_administrator(&call.context, call.segment.as_deref()).await?;
    issuers::may_change(&administrator, &record)?;
    let context = &call.context;
    let is_in_use = record.is_in_use;
    let draft = issuer_draft::read_issuer_draft(context, fields, Some(record)).await?;
    if draft.becomes_another && is_in_use {
        return Err(in_use());
    }
    let body = save(context, &administrator, &draft, "issuer.changed").await?;
    Ok(Reply::json(200, &body)?.with_cookies(administrator.authenticated.cookies))
}

fn in_use() -> Error {
    Error::refused(Wire::ISSUER_IN_USE, "users are linked")
}

/// Who is believed about people says who they are: an issuer opens an owner's session where it is believed
/// about the owner's address. That is set by a user who may give everything.
fn may_speak_for_others(administrator: &Administrator, draft: &IssuerDraft) -> Result<Vec<Statement>> {
    if !draft.speaks_for_others {
        return Ok(Vec::new());
    }
    let everything = Permissions::of([EVERYTHING.to_owned()]);
    if !administrator.held.covers(&everything) {
        return Err(Error::refused(Wire::FORBIDDEN, "an issuer that speaks for others, without everything"));
    }
    Ok(vec![session::store::permission::holds_all_still(&administrator.permit, &everything)])
}

/// Whether what we are to ask of an issuer is elsewhere.
///
/// # Errors
/// 400, 503.
async fn elsewhere(context: &Context, draft: &IssuerDraft) -> Result<()> {
    let record = &draft.record;
    let endpoints = record.endpoints.iter().map(|(name, url)| (format!("endpoints.{name}"), url));
    for (name, text) in std::iter::once(("baseUrl".to_owned(), &record.base_url)).chain(endpoints) {
        let Ok(url) = Url::parse(text) else { continue };
        if request::store::directory::is_own(&context.env, &context.config, context.binding(), &url, context.now)
            .await?
        {
            return Err(Error::Validation(format!("[body.{name}] Invalid URL: {OWN}")));
        }
    }
    Ok(())
}

/// Writes a draft and, where there is discovery, asks it; answers the issuer as it is then.
async fn save(context: &Context, administrator: &Administrator, draft: &IssuerDraft, event: &str) -> Result<Value> {
    let (permit, record) = (&administrator.permit, &draft.record);
    elsewhere(context, draft).await?;
    let details = json!({ "issuer": record.id, "name": record.name });
    let audit_id = context.row_id()?;
    let mut statements = vec![session::store::permission::holds_still(permit)];
    statements.extend(may_speak_for_others(administrator, draft)?);
    // Somebody may have been linked since it was read.
    statements.extend(draft.becomes_another.then(|| store::issuer::nobody_is_linked(&record.id)));
    statements.extend(store::issuer::save(context, permit.actor(), draft)?);
    statements.push(records::store::audit::audit(
        context,
        &audit_id,
        Some(permit.actor()),
        event,
        Severity::High,
        &details,
    ));
    match context.db()?.batch(statements).await {
        Err(StoreError::Conflict(_)) => return Err(Error::refused(Wire::ISSUER_NAME_TAKEN, "the name is taken")),
        Err(StoreError::Broken(name)) if name == IN_USE => return Err(in_use()),
        Err(StoreError::Unchanged) => return Err(Error::refused(Wire::ISSUER_CHANGED, "another request was quicker")),
        other => other?,
    };
    let id = Id::trusted(record.id.clone());
    let problem = rediscover(context, &id).await?;
    answer(context, &id, problem).await
}

/// Reads the discovery document of an issuer anew; answers what was wrong with it.
async fn rediscover(context: &Context, id: &Id<Issuer>) -> Result<Option<String>> {
    let upstream: Option<Upstream> = context.db()?.first(store::issuer::by_id(&context.tenant().id, id)).await?;
    let Some(upstream) = upstream.filter(Upstream::is_open_id) else {
        return Ok(None);
    };
    match discover::fetch_metadata(context, &upstream.base_url, &upstream.discovered_issuer()).await {
        Ok(metadata) => {
            context.db()?.batch(store::issuer::keep_discovery(context, id, &metadata)?).await?;
            Ok(None)
        }
        Err(problem) => Ok(Some(problem)),
    }
}

async fn answer(context: &Context, id: &Id<Issuer>, problem: Option<String>) -> Result<Value> {
    let record: Option<IssuerRecord> =
        context.db()?.first(crate::federation::store::issuer::record(&context.tenant().id, id)).await?;
    let record = record.ok_or_else(issuers::issuer_not_found)?.with_public_key(context)?;
    let mut body = serde_json::to_value(&record).map_err(|error| Error::Internal(error.to_string()))?;
    body["discoveryProblem"] = json!(problem);
    body["unsupportedScopes"] = json!(record.unsupported_scopes());
    Ok(body)
}

/// `POST /admin/issuers/:id/discover`: reads the discovery document anew.
///
/// # Errors
/// 401, 403, 404. What is wrong with the document is told.
pub async fn discover(call: &mut Call) -> Result<Reply> {
    call.request.fields(Media::Json).await?.finish()?;
    let (administrator, record) = issuers::load_issuer_as_administrator(&call.context, call.segment.as_deref()).await?;
    issuers::may_change(&administrator, &record)?;
    let context = &call.context;
    let id = Id::trusted(record.id);
    let problem = rediscover(context, &id).await?;
    let user = &administrator.authenticated.session.user.id;
    let (event, details) = (context.row_id()?, json!({ "issuer": id, "name": record.name, "problem": problem }));
    let audit = records::store::audit::audit(context, &event, Some(user), "issuer.discovered", Severity::Low, &details);
    context.db()?.batch([session::store::permission::holds_still(&administrator.permit), audit]).await?;
    let body = answer(context, &id, problem).await?;
    Ok(Reply::json(200, &body)?.with_cookies(administrator.authenticated.cookies))
}

/// `DELETE /admin/issuers/:id`: not while users are linked, unless by `?force=true`: the links go with it.
///
/// # Errors
/// 401, 403, 404, 409.
pub async fn delete(call: &mut Call) -> Result<Reply> {
    let (administrator, record) = issuers::load_issuer_as_administrator(&call.context, call.segment.as_deref()).await?;
    issuers::may_change(&administrator, &record)?;
    let context = &call.context;
    let force = call.request.param("force").as_deref() == Some("true");
    let user = &administrator.authenticated.session.user.id;
    let details = json!({ "issuer": record.id, "name": record.name, "force": force });
    let event = context.row_id()?;
    let statements = [
        session::store::permission::holds_still(&administrator.permit),
        store::issuer::delete(&context.tenant().id, &Id::trusted(record.id), force),
        must_change(),
        records::store::audit::audit(context, &event, Some(user), "issuer.deleted", Severity::High, &details),
    ];
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Err(in_use()),
        other => other?,
    };
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(administrator.authenticated.cookies))
}
