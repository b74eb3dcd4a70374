//! Keys for programs: `/api-key/…`. A user's own, or an organization's.

use serde_json::{Value, json};

use crate::access::action::{Action, Permit};
use crate::access::permission::Permissions;
use crate::http::fields::Fields;
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::{Statement, StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{ApiKey, Id, Millis, Tenant};
use crate::platform::secret::Token;
use crate::platform::time::iso;
use crate::records::deliver::deliver_later;
use crate::records::mail;
use crate::records::store::audit::Severity;
use crate::records::store::notification::News;
use crate::request::context::Context;
use crate::session::authenticate::Authenticated;
use crate::session::call::Call;
use crate::session::store::api_key::{ApiKeyDraft, ApiKeyRecord, NewKey, Owner};
use crate::session::store::deed::Deed;
use crate::session::store::permission::Standing;
use crate::session::{api_key, proof};
use crate::tenants::caller::{ActingMember, NamedTenant, authorize_member};
use crate::tenants::listing::{bounded_parameter, invalid_parameter};
use crate::{records, session};

/// The longest name and the longest prefix, in characters.
const LONGEST_NAME: usize = 32;

/// The longest that is read of either, to say so by the protocol's own code.
const LONGEST_READ: usize = 1000;

/// The shortest and the longest life, in seconds.
const LIFE: (i64, i64) = (86_400, 31_536_000);

/// How many characters of a key its owner sees.
const START: usize = 6;

/// The largest number of a limit.
const MOST: i64 = 1_000_000_000;

/// The longest window, in milliseconds: a year.
const LONGEST_WINDOW: i64 = 31_536_000_000;

/// What `update` changes.
const SETTABLE: [&str; 10] = [
    "name",
    "enabled",
    "permissions",
    "metadata",
    "remaining",
    "refillAmount",
    "rateLimitEnabled",
    "rateLimitTimeWindow",
    "rateLimitMax",
    "expiresIn",
];

fn not_found() -> Error {
    Error::refused(Wire::KEY_NOT_FOUND, "unknown, or another's")
}

/// A key, as the protocol shows it.
fn json_of(key: &ApiKeyRecord) -> Value {
    let reference = key.user_id.as_ref().map_or(key.tenant_id.as_str(), Id::as_str);
    json!({
        "id": key.id, "configId": key.config_id, "name": key.name, "start": key.start, "prefix": key.prefix,
        "referenceId": reference, "enabled": key.enabled, "permissions": key.permissions, "metadata": key.metadata,
        "remaining": key.remaining, "refillAmount": key.refill_amount, "refillInterval": key.refill_interval,
        "lastRefillAt": key.last_refill_at.map(iso), "rateLimitEnabled": key.rate_limit_enabled,
        "rateLimitTimeWindow": key.rate_limit_time_window, "rateLimitMax": key.rate_limit_max,
        "requestCount": key.request_count, "lastRequest": key.last_request_at.map(iso), "expiresAt": key.expires_at.map(iso),
        "createdAt": iso(key.created_at), "updatedAt": iso(key.updated_at),
    })
}

/// Whose keys a request is about, and who asks.
enum Whose {
    /// One's own.
    Own(Box<Authenticated>),
    /// An organization's.
    Organization(Box<ActingMember>, Permit),
}

impl Whose {
    async fn find(call: &Call, organization: Option<String>, action: Action) -> Result<Self> {
        let Some(organization) = organization else {
            let (authenticated, _) = call.confirmed(Vec::new()).await?;
            return Ok(Self::Own(Box::new(authenticated)));
        };
        let acting = authorize_member(&call.context, &NamedTenant::by(Some(organization), None)).await?;
        let permit = acting.permit(action)?;
        Ok(Self::Organization(Box::new(acting), permit))
    }

    const fn authenticated(&self) -> &Authenticated {
        match self {
            Self::Own(authenticated) => authenticated,
            Self::Organization(acting, _) => &acting.authenticated,
        }
    }

    /// The tenant in which the key works: the one that its user is signed in to, or the organization.
    fn tenant(&self) -> &Id<Tenant> {
        match self {
            Self::Own(authenticated) => &authenticated.session.tenant_id,
            Self::Organization(acting, _) => acting.tenant(),
        }
    }

    /// First in a batch: a caller who lost the permission meanwhile, or what they are about to give or to act upon, changes
    /// nothing. One's own key is judged each time that it is used.
    fn holds_still(&self, upon: &[&Permissions]) -> Vec<Statement> {
        match self {
            Self::Own(_) => Vec::new(),
            Self::Organization(_, permit) => {
                let all = upon.iter().map(|wanted| session::store::permission::holds_all_still(permit, wanted));
                std::iter::once(session::store::permission::holds_still(permit)).chain(all).collect()
            }
        }
    }

    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Own(authenticated) => Owner::User(&authenticated.session.user.id),
            Self::Organization(..) => Owner::Tenant,
        }
    }

    fn answer(self, body: &Value) -> Result<Reply> {
        let authenticated = match self {
            Self::Own(authenticated) => *authenticated,
            Self::Organization(acting, _) => acting.authenticated,
        };
        Ok(Reply::json(200, body)?.with_cookies(authenticated.cookies))
    }
}

/// Reads a number that may be there, or `null` to clear it.
#[expect(clippy::option_option, reason = "left alone, clear_session_cookies, or set")]
fn number(fields: &mut Fields, name: &str, bounds: (i64, i64)) -> Option<Option<i64>> {
    if !fields.has(name) {
        return None;
    }
    Some(if fields.is_null(name) { None } else { fields.number(name, bounds) })
}

/// What is said of a key, and the permissions in it.
fn draft(fields: &mut Fields, now: Millis, mut refusal: Option<Wire>) -> Result<(ApiKeyDraft, Option<Permissions>)> {
    let name = fields.optional_line("name", LONGEST_READ);
    let is_blank = fields.has("name") && !fields.is_null("name") && name.is_none();
    if is_blank || name.as_ref().is_some_and(|name| name.chars().count() > LONGEST_NAME) {
        refusal.get_or_insert(Wire::INVALID_NAME_LENGTH);
    }
    let expires_in = number(fields, "expiresIn", (1, MOST));
    let (amount, interval) =
        (number(fields, "refillAmount", (1, MOST)), number(fields, "refillInterval", (1000, LONGEST_WINDOW)));
    let refill = match (amount, interval) {
        (None, None) => None,
        (Some(Some(amount)), Some(Some(interval))) => Some(Some((amount, interval))),
        (Some(None), Some(None)) => Some(None),
        (_, None | Some(None)) => {
            refusal.get_or_insert(Wire::REFILL_AMOUNT_AND_INTERVAL_REQUIRED);
            None
        }
        _ => {
            refusal.get_or_insert(Wire::REFILL_INTERVAL_AND_AMOUNT_REQUIRED);
            None
        }
    };
    let mut wanted = None;
    let permissions = fields.has("permissions").then(|| {
        let value = fields.take("permissions")?;
        match Permissions::parse(&value) {
            Ok(parsed) => {
                let text = json!(parsed.statements()).to_string();
                wanted = Some(parsed);
                Some(text)
            }
            Err(problem) => {
                fields.refuse("permissions", &problem.0);
                None
            }
        }
    });
    let metadata = fields.has("metadata").then(|| {
        let value = fields.take("metadata")?;
        let text = value.to_string();
        if !value.is_object() {
            refusal.get_or_insert(Wire::INVALID_METADATA_TYPE);
        } else if text.len() > 4096 {
            fields.refuse("metadata", "Too big: expected object of at most 4096 bytes");
        }
        Some(text)
    });
    let draft = ApiKeyDraft {
        name,
        enabled: fields.boolean("enabled"),
        permissions,
        metadata,
        remaining: number(fields, "remaining", (0, MOST)),
        refill,
        rate_limit_enabled: fields.boolean("rateLimitEnabled"),
        rate_limit_time_window: fields.number("rateLimitTimeWindow", (1000, LONGEST_WINDOW)),
        rate_limit_max: fields.number("rateLimitMax", (1, MOST)),
        expires_at: expires_in.map(|seconds| seconds.map(|seconds| now + seconds * 1000)),
    };
    std::mem::take(fields).finish()?;
    if let Some(refusal) = refusal {
        return Err(Error::refused(refusal, "a field of the key"));
    }
    match expires_in.flatten() {
        Some(seconds) if seconds < LIFE.0 => Err(Error::refused(Wire::KEY_LIFE_TOO_SHORT, "shorter than a day")),
        Some(seconds) if seconds > LIFE.1 => Err(Error::refused(Wire::KEY_LIFE_TOO_LONG, "longer than a year")),
        _ => Ok((draft, wanted)),
    }
}

/// Nobody gives a key what they do not hold.
async fn holds(call: &Call, whose: &Whose, wanted: Option<&Permissions>) -> Result<()> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    match whose {
        Whose::Organization(acting, _) => acting.holds(wanted, Wire::KEY_PERMISSION),
        Whose::Own(authenticated) => {
            let statement = session::store::permission::standing_of(
                &authenticated.session.tenant_id,
                &authenticated.session.user.id,
            );
            let standing: Option<Standing> = call.context.db()?.first(statement).await?;
            let covers = standing.is_some_and(|standing| standing.permissions.covers(wanted));
            if covers { Ok(()) } else { Err(Error::refused(Wire::OWN_KEY_PERMISSION, "more than they hold")) }
        }
    }
}

/// Whether an organization's key is within reach: a caller who holds less than it neither makes it do more nor takes it away. What
/// it holds.
fn outranks(whose: &Whose, key: &ApiKeyRecord) -> Result<Permissions> {
    let theirs = key.permissions.as_ref().map(Permissions::parse).transpose();
    let theirs =
        theirs.map_err(|problem| Error::Internal(format!("api_key.permissions of {}: {}", key.id, problem.0)))?;
    let theirs = theirs.unwrap_or_default();
    if let Whose::Organization(acting, _) = whose {
        acting.outranks(&theirs, Wire::KEY_PERMISSION)?;
    }
    Ok(theirs)
}

/// Tells the user who made a key, by mail and where they are signed in: one that a thief made is seen nowhere else.
fn told(context: &Context, whose: &Whose, name: &str, id: &Id<ApiKey>) -> Result<[Statement; 2]> {
    let user = &whose.authenticated().session.user.id;
    let (what, may) = match whose {
        Whose::Own(_) => ("your account", "It may do what you may, or the part of it that it was made for"),
        Whose::Organization(..) => ("an organization, in your name", "It may do what it was made for"),
    };
    let message = format!("The API key \"{name}\" was made for {what}. {may}, until it is deleted or ends.");
    let letter = mail::security_notice(&context.tenant().name, "An API key was made", &message);
    let details = json!({ "key": id });
    let news = News { tenant: whose.tenant(), kind: "api_key.created", message: &message, details: &details };
    Ok([
        records::store::outbox::queue_to_user(context, user, &letter, None)?,
        records::store::notification::tell(context, user, &news)?,
    ])
}

/// `POST /api-key/create`: the key is in this answer and nowhere else. It does all that its maker may, and stays when their
/// session ends: as where a credential is changed, the session must be fresh, and its maker is told.
///
/// # Errors
/// 400 for bad fields, 401, 403 for permissions that the maker does not hold or a session that is not fresh, 404.
pub async fn create(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let organization = fields.optional("organizationId", 100);
    let user = fields.optional("userId", 100);
    let config = fields.optional_line("configId", 64).unwrap_or_else(|| "default".to_owned());
    let prefix = fields.optional("prefix", LONGEST_READ);
    let too_long = prefix.as_ref().is_some_and(|prefix| prefix.chars().count() > LONGEST_NAME);
    let is_plain = |text: &String| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if fields.has("prefix") && !fields.is_null("prefix") && !prefix.as_ref().is_some_and(is_plain) {
        fields
            .refuse("prefix", "Invalid prefix format, must be alphanumeric and contain only underscores and hyphens.");
    }
    let (draft, wanted) = draft(&mut fields, call.context.now, too_long.then_some(Wire::INVALID_PREFIX_LENGTH))?;
    let whose = Whose::find(call, organization, Action::CreateKey).await?;
    proof::refuse_impersonator(whose.authenticated())?;
    let context = &call.context;
    let session = &whose.authenticated().session;
    if user.is_some_and(|user| user != session.user.id.as_str()) || session.user.is_anonymous {
        return Err(Error::refused(Wire::KEY_OF_ANOTHER, "a key in another's name, or a guest's"));
    }
    proof::require_fresh_session(context, whose.authenticated())?;
    holds(call, &whose, wanted.as_ref()).await?;
    let text = api_key::compose_key(prefix.as_deref().unwrap_or_default(), &Token::new(context.random()?));
    let (id, hash): (Id<ApiKey>, _) = (context.id()?, api_key::api_key_token(&text).hash());
    let new = NewKey {
        id: &id,
        hash: &hash,
        owner: whose.owner(),
        created_by: &session.user.id,
        config_id: &config,
        prefix: prefix.as_deref(),
        start: &text[..START],
    };
    let deed = Deed {
        event: "api_key.created",
        severity: Severity::Medium,
        subject: None,
        details: json!({ "key": id, "name": draft.name, "permissions": wanted.as_ref().map(Permissions::statements) }),
    };
    let [mail, news] = told(context, &whose, draft.name.as_deref().unwrap_or(&text[..START]), &id)?;
    let statements = [
        session::store::api_key::create(context, whose.tenant(), &new, &draft),
        must_change(),
        session::store::deed::deed(context, whose.tenant(), session, &deed)?,
        mail,
        news,
        session::store::api_key::find(whose.tenant(), whose.owner(), &id),
    ];
    let given: Vec<&Permissions> = wanted.iter().collect();
    let key: Option<ApiKeyRecord> =
        match context.db()?.batch(whose.holds_still(&given).into_iter().chain(statements)).await {
            Err(StoreError::Unchanged) => return Err(Error::refused(Wire::TOO_MANY_KEYS, "too many keys")),
            other => other?.last()?,
        };
    deliver_later(context);
    let mut body = json_of(&key.ok_or_else(not_found)?);
    body["key"] = json!(text);
    whose.answer(&body)
}

/// The key that a request names: one's own, or one of an organization where one may do this to keys.
async fn named(call: &Call, id: &str, action: Action) -> Result<(Whose, ApiKeyRecord)> {
    let id: Id<ApiKey> = Id::parse(id).ok_or_else(not_found)?;
    let (authenticated, _) = call.confirmed(Vec::new()).await?;
    let session = &authenticated.session;
    let own = session::store::api_key::find(&session.tenant_id, Owner::User(&session.user.id), &id);
    let mut answers =
        call.context.db()?.batch([own, session::store::api_key::tenant_of(&id, &session.user.id)]).await?;
    if let Some(key) = answers.row::<ApiKeyRecord>()? {
        return Ok((Whose::Own(Box::new(authenticated)), key));
    }
    // The key names its organization: a third round trip, for keys that are not the user's own.
    let tenant: Id<Tenant> = answers.row()?.ok_or_else(not_found)?;
    let whose =
        Whose::find(call, Some(tenant.as_str().to_owned()), action).await.map_err(|error| match error.wire() {
            Wire::ORGANIZATION_NOT_FOUND => not_found(),
            _ => error,
        })?;
    let key: Option<ApiKeyRecord> =
        call.context.db()?.first(session::store::api_key::find(&tenant, Owner::Tenant, &id)).await?;
    Ok((whose, key.ok_or_else(not_found)?))
}

/// `GET /api-key/get`.
///
/// # Errors
/// 400, 401, 403, 404.
pub async fn get(call: &mut Call) -> Result<Reply> {
    let id = call.request.param("id").ok_or_else(|| invalid_parameter("id", "an id"))?;
    let (whose, key) = named(call, &id, Action::ReadKey).await?;
    whose.answer(&json_of(&key))
}

/// `GET /api-key/list`: one's own, or with `organizationId` an organization's.
///
/// # Errors
/// 400, 401, 403, 404.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let organization = call.request.param("organizationId").filter(|id| !id.is_empty());
    let limit = bounded_parameter(&call.request, "limit", 100, (0, 1000))?;
    let offset = bounded_parameter(&call.request, "offset", 0, (0, MOST))?;
    let by = match call.request.param("sortBy").as_deref() {
        None | Some("" | "createdAt") => "created_at",
        Some("name") => "name",
        Some("updatedAt") => "updated_at",
        Some("expiresAt") => "expires_at",
        Some("lastRequest") => "last_request_at",
        Some(_) => return Err(invalid_parameter("sortBy", "createdAt, updatedAt, expiresAt, lastRequest or name")),
    };
    let descends = match call.request.param("sortDirection").as_deref() {
        None | Some("" | "asc") => false,
        Some("desc") => true,
        Some(_) => return Err(invalid_parameter("sortDirection", "asc or desc")),
    };
    let whose = Whose::find(call, organization, Action::ReadKey).await?;
    let (tenant, owner) = (whose.tenant(), whose.owner());
    let statements = [
        session::store::api_key::list(tenant, owner, (by, descends), (limit, offset)),
        session::store::api_key::count(tenant, owner),
    ];
    let mut answers = call.context.db()?.batch(statements).await?;
    let keys: Vec<ApiKeyRecord> = answers.rows()?;
    let total: Option<i64> = answers.row()?;
    let keys: Vec<Value> = keys.iter().map(json_of).collect();
    whose.answer(&json!({ "apiKeys": keys, "total": total.unwrap_or(0), "limit": limit, "offset": offset }))
}

/// `POST /api-key/update`. A key is renamed or switched off in any session; what lets it do more, or at all, or longer, is
/// as good as making one, and needs a fresh one.
///
/// # Errors
/// 400 for bad fields or none, 401, 403 also for a session that is not fresh, 404.
pub async fn update(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.line("keyId", 100);
    let is_empty = !fields.names().any(|name| SETTABLE.contains(&name));
    let (draft, wanted) = draft(&mut fields, call.context.now, None)?;
    let (whose, key) = named(call, &id, Action::UpdateKey).await?;
    if is_empty {
        return Err(Error::refused(Wire::NO_VALUES_TO_UPDATE, "nothing to update"));
    }
    proof::refuse_impersonator(whose.authenticated())?;
    if draft.gives() {
        proof::require_fresh_session(&call.context, whose.authenticated())?;
    }
    let theirs = outranks(&whose, &key)?;
    holds(call, &whose, wanted.as_ref()).await?;
    let context = &call.context;
    let deed = Deed {
        event: "api_key.changed",
        severity: Severity::Medium,
        subject: None,
        details: json!({ "key": key.id, "permissions": wanted.as_ref().map(Permissions::statements), "enabled": draft.enabled }),
    };
    let statements = [
        session::store::api_key::update(context, whose.tenant(), whose.owner(), &key.id, &draft),
        must_change(),
        session::store::deed::deed(context, whose.tenant(), &whose.authenticated().session, &deed)?,
        session::store::api_key::find(whose.tenant(), whose.owner(), &key.id),
    ];
    let upon: Vec<&Permissions> = wanted.iter().chain([&theirs]).collect();
    let key: Option<ApiKeyRecord> =
        match context.db()?.batch(whose.holds_still(&upon).into_iter().chain(statements)).await {
            Err(StoreError::Unchanged) => return Err(not_found()),
            other => other?.last()?,
        };
    let body = json_of(&key.ok_or_else(not_found)?);
    whose.answer(&body)
}

/// `POST /api-key/delete`.
///
/// # Errors
/// 400, 401, 403, 404.
pub async fn delete(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.line("keyId", 100);
    fields.finish()?;
    let (whose, key) = named(call, &id, Action::DeleteKey).await?;
    proof::refuse_impersonator(whose.authenticated())?;
    let theirs = outranks(&whose, &key)?;
    let context = &call.context;
    let deed = Deed {
        event: "api_key.deleted",
        severity: Severity::Medium,
        subject: None,
        details: json!({ "key": key.id, "name": key.name }),
    };
    let statements = [
        session::store::api_key::delete(whose.tenant(), whose.owner(), &key.id),
        must_change(),
        session::store::deed::deed(context, whose.tenant(), &whose.authenticated().session, &deed)?,
    ];
    match context.db()?.batch(whose.holds_still(&[&theirs]).into_iter().chain(statements)).await {
        Err(StoreError::Unchanged) => return Err(not_found()),
        other => drop(other?),
    }
    whose.answer(&json!({ "success": true }))
}
