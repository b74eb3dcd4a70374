//! Clients, as those who look after them see and change them: the administrators of their tenant, and users their own.

use serde_json::{Value, json};

use crate::access::action::{Action, Permit};
use crate::admin::administrator::{authorize_administrator, is_global, require_permission, standing_statement};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::config::Registration;
use crate::platform::d1::{Answers, Statement, StoreError, must_change};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::secret::{ClientSecret, InitialAccessToken, Token};
use crate::platform::time::iso;
use crate::provider::client_registration::{check_registration_limit, put_secret, read_metadata};
use crate::provider::clients::New;
use crate::provider::store::client::{Keeper, ListedClient};
use crate::provider::{client, clients, store};
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::session::authenticate::Authenticated;
use crate::session::call::Call;
use crate::session::proof;
use crate::session::store::permission::Standing;
use crate::{records, request, session};

/// How long the secret before the new one stays good, in milliseconds: a day to change over.
const CHANGING_OVER: i64 = 86_400_000;

/// How long an initial access token waits for its client, in seconds.
const INITIAL_SECONDS: i64 = 86_400;

/// The same with what is ours alone to say.
fn administered(client: &ListedClient) -> Value {
    let mut body = clients::client_json(client);
    body["disabled"] = json!(client.disabled);
    body["user_id"] = json!(client.user_id);
    body["created_at"] = json!(iso(client.created_at));
    body["updated_at"] = json!(iso(client.updated_at));
    body
}

/// Whoever looks after clients.
struct Caretaker {
    authenticated: Authenticated,
    /// An administrator's.
    permit: Option<Permit>,
    is_global: bool,
}

impl Caretaker {
    /// The caller: an administrator, or a user for clients of their own.
    async fn of(call: &Call) -> Result<Self> {
        let (caretaker, _) = Self::with(call, Vec::new()).await?;
        Ok(caretaker)
    }

    async fn with(call: &Call, more: Vec<Statement>) -> Result<(Self, Answers)> {
        let statements = std::iter::once(standing_statement(&call.context)?).chain(more).collect();
        let (authenticated, mut answers) = call.confirmed(statements).await?;
        proof::refuse_impersonator(&authenticated)?;
        if authenticated.session.user.is_anonymous {
            return Err(Error::refused(Wire::FORBIDDEN, "a guest"));
        }
        let standing: Option<Standing> = answers.row()?;
        let permit =
            require_permission(&call.context, standing.as_ref(), Action::ManageClients, &authenticated.session.user.id)
                .ok();
        Ok((Self { authenticated, permit, is_global: is_global(&call.context) }, answers))
    }

    /// The caller, and a client that is theirs to look after, in one batch.
    async fn of_client(call: &Call, id: &str) -> Result<(Self, ListedClient)> {
        let keeper = if is_global(&call.context) { Keeper::Everybody } else { Keeper::Tenant };
        let one = store::client::one(&call.context, id, keeper);
        let (caretaker, mut answers) = Self::with(call, vec![one]).await?;
        let found: Option<ListedClient> = answers.row()?;
        let user = caretaker.authenticated.session.user.id.as_str();
        let is_theirs = |client: &ListedClient| caretaker.permit.is_some() || client.user_id.as_deref() == Some(user);
        let client = found.filter(is_theirs).ok_or_else(clients::client_not_found)?;
        Ok((caretaker, client))
    }

    fn keeper(&self) -> Keeper<'_> {
        match (self.permit.is_some(), self.is_global) {
            (true, true) => Keeper::Everybody,
            (true, false) => Keeper::Tenant,
            (false, _) => Keeper::Owner(&self.authenticated.session.user.id),
        }
    }

    /// Does something to a client that changes nothing of another's.
    async fn write(&self, context: &Context, event: &str, id: &str, statements: Vec<Statement>) -> Result<()> {
        let user = &self.authenticated.session.user.id;
        let (row, details) = (context.row_id()?, json!({ "client_id": id }));
        let audit = records::store::audit::audit(context, &row, Some(user), event, Severity::Medium, &details);
        let mut all: Vec<Statement> =
            self.permit.as_ref().map(session::store::permission::holds_still).into_iter().collect();
        all.extend(statements);
        all.extend([must_change(), audit]);
        match context.db()?.batch(all).await {
            Err(StoreError::Unchanged) => Err(clients::client_not_found()),
            other => Ok(other.map(|_| ())?),
        }
    }
}

/// `POST /admin/oauth2/create-client`: the tenant's.
///
/// # Errors
/// 400, 401, 403.
pub async fn create_by_administrator(call: &mut Call) -> Result<Reply> {
    let metadata = read_metadata(&mut call.request).await?;
    let administrator = authorize_administrator(&call.context, Action::ManageClients, Vec::new()).await?;
    let new = New {
        metadata: &metadata,
        permit: Some(&administrator.permit),
        owner: None,
        by: Some(administrator.permit.actor()),
        registration: None,
        condition: None,
    };
    let body = clients::create_client(&call.context, new).await?;
    Ok(Reply::json(201, &body)?.with_cookies(administrator.authenticated.cookies))
}

/// `POST /oauth2/create-client`: a user's own, where users may.
///
/// # Errors
/// 400, 401, 403.
pub async fn create_by_user(call: &mut Call) -> Result<Reply> {
    let metadata = read_metadata(&mut call.request).await?;
    let caretaker = Caretaker::of(call).await?;
    let is_open = call.context.config.registration >= Registration::Users;
    if !is_open && caretaker.permit.is_none() {
        return Err(Error::refused(Wire::FORBIDDEN, "registration is not open to users"));
    }
    if caretaker.permit.is_none() {
        check_registration_limit(&call.context).await?;
    }
    let user = &caretaker.authenticated.session.user.id;
    let new = New {
        metadata: &metadata,
        permit: caretaker.permit.as_ref(),
        owner: caretaker.permit.is_none().then_some(user),
        by: Some(user),
        registration: None,
        condition: None,
    };
    let body = clients::create_client(&call.context, new).await?;
    Ok(Reply::json(201, &body)?.with_cookies(caretaker.authenticated.cookies))
}

/// `POST /admin/oauth2/initial-access-token`: what one client registers itself with, within a day.
///
/// # Errors
/// 401, 403.
pub async fn initial_access_token(call: &mut Call) -> Result<Reply> {
    let administrator = authorize_administrator(&call.context, Action::ManageClients, Vec::new()).await?;
    let context = &call.context;
    let user = &administrator.authenticated.session.user.id;
    let token: Token<InitialAccessToken> = Token::new(context.random()?);
    let until = context.now + INITIAL_SECONDS * 1000;
    let event = context.row_id()?;
    let name = "client.initial_access_token";
    let statements = [
        session::store::permission::holds_still(&administrator.permit),
        request::store::verification::keep(context, &context.tenant().id, &token, user.as_str(), b"{}", until)?,
        records::store::audit::audit(context, &event, Some(user), name, Severity::Medium, &json!({})),
    ];
    context.db()?.batch(statements).await?;
    let body = json!({ "token": token.expose(), "expires_in": INITIAL_SECONDS });
    Ok(Reply::json(200, &body)?.with_cookies(administrator.authenticated.cookies))
}

/// `GET /oauth2/get-clients`: the tenant's for administrators, a user's own for everybody else.
///
/// # Errors
/// 401, 403.
pub async fn list(call: &mut Call) -> Result<Reply> {
    let caretaker = Caretaker::of(call).await?;
    let statement = store::client::of(&call.context, caretaker.keeper());
    let clients: Vec<ListedClient> = call.context.db()?.batch([statement]).await?.rows()?;
    let body: Vec<Value> = clients.iter().map(administered).collect();
    Ok(Reply::json(200, &body)?.with_cookies(caretaker.authenticated.cookies))
}

/// `GET /oauth2/get-client?client_id=…`.
///
/// # Errors
/// 401, 404.
pub async fn show(call: &mut Call) -> Result<Reply> {
    let id = call.request.param("client_id").unwrap_or_default();
    let (caretaker, client) = Caretaker::of_client(call, &id).await?;
    Ok(Reply::json(200, &administered(&client))?.with_cookies(caretaker.authenticated.cookies))
}

/// `GET /oauth2/public-client?client_id=…`: what the consent page says, for whoever makes one of their own.
///
/// # Errors
/// 401, 404.
pub async fn public(call: &mut Call) -> Result<Reply> {
    let id = call.request.param("client_id").unwrap_or_default();
    let cookies = call.session()?.cookies.clone();
    let context = &call.context;
    let found: Option<client::Client> = context.db()?.first(store::client::by_client_id(context, &id)).await?;
    let client = found.ok_or_else(clients::client_not_found)?;
    let body = json!({
        "client_id": client.client_id, "client_name": client.name, "logo_uri": client.icon,
        "policy_uri": client.policy_uri, "tos_uri": client.tos_uri,
    });
    Ok(Reply::json(200, &body)?.with_cookies(cookies))
}

/// `POST /oauth2/update-client`, and `PATCH /admin/oauth2/update-client`: `update` has the members that are to be otherwise;
/// what is null is taken away.
///
/// # Errors
/// 400, 401, 403, 404, 409.
pub async fn update(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.required("client_id", 500);
    let update = fields.take("update");
    fields.finish()?;
    let Some(Value::Object(update)) = update else {
        return Err(Error::Validation("[body.update] Invalid input: expected object".to_owned()));
    };
    let (caretaker, client) = Caretaker::of_client(call, &id).await?;
    let context = &call.context;
    let mut metadata = client.metadata.clone();
    if update.contains_key("token_endpoint_auth_method") {
        // Who says which way means that one.
        metadata.remove("either_secret_method");
    } else if update.get("classical") == Some(&Value::Bool(true)) {
        metadata.entry("either_secret_method").or_insert(Value::Bool(true));
    }
    for (name, value) in update {
        if value.is_null() {
            metadata.remove(&name)
        } else {
            metadata.insert(name, value)
        };
    }
    let user = &caretaker.authenticated.session.user.id;
    let (changed, secret) =
        clients::update_client(context, &client, caretaker.keeper(), &metadata, caretaker.permit.as_ref(), Some(user))
            .await?;
    let mut body = administered(&changed);
    if let Some(secret) = &secret {
        put_secret(&mut body, secret);
    }
    Ok(Reply::json(200, &body)?.with_cookies(caretaker.authenticated.cookies))
}

async fn named(call: &mut Call) -> Result<(String, Option<bool>)> {
    let mut fields = call.request.fields(Media::Json).await?;
    let id = fields.required("client_id", 500);
    let disabled = fields.boolean("disabled");
    fields.finish()?;
    Ok((id, disabled))
}

/// `POST /oauth2/client/rotate-secret`: another secret, shown once; the one before is good for a day more.
///
/// # Errors
/// 401, 404 also for a client without a secret.
pub async fn rotate_secret(call: &mut Call) -> Result<Reply> {
    let (id, _) = named(call).await?;
    let caretaker = Caretaker::of(call).await?;
    let context = &call.context;
    let secret: Token<ClientSecret> = Token::new(context.random()?);
    let until = context.now + CHANGING_OVER;
    let rotate = store::client::rotate_secret(context, &id, caretaker.keeper(), &secret.hash(), until);
    caretaker.write(context, "client.secret_rotated", &id, vec![rotate]).await?;
    let mut body = json!({ "client_id": id });
    put_secret(&mut body, &secret);
    Ok(Reply::json(200, &body)?.with_cookies(caretaker.authenticated.cookies))
}

/// `POST /admin/oauth2/disable-client`: `disabled` or not. Its tokens are worth nothing while it is.
///
/// # Errors
/// 400, 401, 403, 404.
pub async fn disable(call: &mut Call) -> Result<Reply> {
    let (id, disabled) = named(call).await?;
    let disabled = disabled.unwrap_or(true);
    let caretaker = Caretaker::of(call).await?;
    if caretaker.permit.is_none() {
        return Err(Error::refused(Wire::FORBIDDEN, "no administrator"));
    }
    let statement = store::client::disable(&call.context, &id, caretaker.keeper(), disabled);
    let event = if disabled { "client.disabled" } else { "client.enabled" };
    let mut statements = Vec::new();
    if disabled {
        statements.push(store::token::revoke_exchanged(&call.context, &id));
    }
    statements.push(statement);
    caretaker.write(&call.context, event, &id, statements).await?;
    let body = json!({ "client_id": id, "disabled": disabled });
    Ok(Reply::json(200, &body)?.with_cookies(caretaker.authenticated.cookies))
}

/// `POST /oauth2/delete-client`: with its tokens and what was agreed to.
///
/// # Errors
/// 401, 404.
pub async fn delete(call: &mut Call) -> Result<Reply> {
    let (id, _) = named(call).await?;
    let caretaker = Caretaker::of(call).await?;
    let statement = store::client::delete(&call.context, &id, caretaker.keeper());
    let exchanged = store::token::revoke_exchanged(&call.context, &id);
    caretaker.write(&call.context, "client.deleted", &id, vec![exchanged, statement]).await?;
    Ok(Reply::json(200, &json!({ "status": true }))?.with_cookies(caretaker.authenticated.cookies))
}
