//! Organizations: what the protocol calls tenants, and who is in them.

use serde_json::{Value, json};

use crate::access::action::{Action, Permit};
use crate::access::giving::{Gift, Giver};
use crate::access::permission::Permissions;
use crate::http::cookie::Cookie;
use crate::http::fields::Fields;
use crate::http::incoming::Incoming;
use crate::http::reply::Reply;
use crate::platform::d1;
use crate::platform::d1::{Answers, Statement};
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Tenant, User};
use crate::platform::secret::{ApiKeySecret, Token, TokenHash};
use crate::platform::time::iso;
use crate::records::store::audit::Severity;
use crate::records::store::notification::News;
use crate::request::context::Context;
use crate::session::authenticate::{Authenticated, judge_session, snapshot_cookie, write_session_copy};
use crate::session::live_session::{JudgedSession, LiveSession};
use crate::session::store::deed::Deed;
use crate::session::store::organization::Organization;
use crate::session::store::permission::{Standing, WhichTenant};
use crate::session::{api_key, authenticate, policy, proof};
use crate::tenants::store;
use crate::{records, session};

/// The longest name of an organization, a role or a group, in characters.
pub const LONGEST_NAME: usize = 128;

/// Which organization a request means, by its fields or its query.
#[derive(Clone, Debug)]
pub enum NamedTenant {
    /// By id; none for what is no id.
    Id(Option<Id<Tenant>>),
    /// By slug.
    Slug(String),
    /// The active one.
    Active,
}

impl NamedTenant {
    /// By what was sent; an id counts before a slug.
    #[must_use]
    pub fn by(id: Option<String>, slug: Option<String>) -> Self {
        match (id.filter(|id| !id.is_empty()), slug.filter(|slug| !slug.is_empty())) {
            (Some(id), _) => Self::Id(Id::parse(&id)),
            (None, Some(slug)) => Self::Slug(slug),
            (None, None) => Self::Active,
        }
    }

    /// By the field `organizationId`, or else `organizationSlug`.
    pub fn in_fields(fields: &mut Fields) -> Self {
        Self::by(fields.optional("organizationId", 100), fields.optional("organizationSlug", 63))
    }

    /// By the parameters `organizationId` and `organizationSlug`, of which the slug counts: a front-end that sends both has the
    /// slug from its address, and the id from what was active before.
    #[must_use]
    pub fn in_query(request: &Incoming) -> Self {
        match request.param("organizationSlug").filter(|slug| !slug.is_empty()) {
            Some(slug) => Self::Slug(slug),
            None => Self::by(request.param("organizationId"), None),
        }
    }

    fn which(&self) -> Result<WhichTenant<'_>> {
        match self {
            Self::Id(Some(id)) => Ok(WhichTenant::Id(id)),
            Self::Id(None) => Err(Error::refused(Wire::ORGANIZATION_NOT_FOUND, "no id")),
            Self::Slug(slug) => Ok(WhichTenant::Slug(slug)),
            Self::Active => Ok(WhichTenant::Active),
        }
    }
}

/// Somebody who acts in an organization that they are a member of.
pub struct ActingMember {
    /// Their session, confirmed by D1.
    pub authenticated: Authenticated,
    /// What they are there.
    pub standing: Standing,
}

impl ActingMember {
    /// The organization.
    #[must_use]
    pub const fn tenant(&self) -> &Id<Tenant> {
        &self.standing.tenant.id
    }

    /// The session.
    #[must_use]
    pub const fn session(&self) -> &LiveSession {
        &self.authenticated.session
    }

    /// The permit for an action.
    ///
    /// # Errors
    /// Its refusal.
    pub fn permit(&self, action: Action) -> Result<Permit> {
        Permit::of(&self.standing.permissions, action, self.tenant(), &self.standing.user_id)
    }

    /// Whether they hold all that they are about to grant, or to take away. Somebody who may change members could make
    /// themselves owner otherwise.
    ///
    /// # Errors
    /// `refusal`.
    pub fn holds(&self, wanted: &Permissions, refusal: Wire) -> Result<()> {
        if self.standing.permissions.covers(wanted) {
            return Ok(());
        }
        let lacking = self.standing.permissions.lacks(wanted).join(" ");
        Err(Error::refused(refusal, format!("without {lacking}")))
    }

    /// Whether they may give these roles.
    ///
    /// # Errors
    /// `refusal`.
    pub fn gives<'a>(&self, gifts: impl IntoIterator<Item = &'a Gift>, refusal: Wire) -> Result<()> {
        let giver = Giver { permissions: &self.standing.permissions, roles: &self.standing.roles };
        let mut gifts = gifts.into_iter();
        gifts.try_for_each(|gift| giver.may_give(gift).map_err(|lacking| Error::refused(refusal, lacking)))
    }

    /// Whether they hold all that somebody does upon whom they act. Of a key that is scoped to an action, its maker.
    ///
    /// # Errors
    /// `refusal`.
    pub fn outranks(&self, theirs: &Permissions, refusal: Wire) -> Result<()> {
        let held = self.standing.uncut.as_ref().unwrap_or(&self.standing.permissions);
        if held.covers(theirs) {
            return Ok(());
        }
        Err(Error::refused(refusal, format!("without {}", held.lacks(theirs).join(" "))))
    }

    /// Whether they may read what is about a resource: members of an organization see it all, and a key what it was made
    /// for.
    ///
    /// # Errors
    /// 403.
    pub fn reads(&self, resource: &str) -> Result<()> {
        let about = |name: &str| name.split(':').next() == Some(resource);
        match &self.session().key_permissions {
            Some(_) if !self.standing.permissions.iter().any(about) => {
                Err(Error::refused(Wire::FORBIDDEN, format!("a key for nothing of {resource}")))
            }
            _ => Ok(()),
        }
    }

    /// An audit event about what they did there.
    ///
    /// # Errors
    /// If the platform has no randomness.
    pub fn audited(&self, context: &Context, event: &str, severity: Severity, details: Value) -> Result<Statement> {
        self.audited_of(context, &Deed { event, severity, subject: None, details })
    }

    /// The same, about somebody.
    ///
    /// # Errors
    /// As [`Self::audited`].
    pub fn audited_of(&self, context: &Context, deed: &Deed<'_>) -> Result<Statement> {
        session::store::deed::deed(context, self.tenant(), self.session(), deed)
    }

    /// Tells somebody what was done to them there.
    ///
    /// # Errors
    /// If the platform has no randomness.
    pub fn tells(&self, context: &Context, user: &Id<User>, kind: &str, message: &str) -> Result<Statement> {
        let news = News { tenant: self.tenant(), kind, message, details: &json!({ "by": self.session().user.name }) };
        records::store::notification::tell(context, user, &news)
    }

    /// A JSON answer with the cookies that are due.
    ///
    /// # Errors
    /// None that happens.
    pub fn answer(self, value: &Value) -> Result<Reply> {
        Ok(Reply::json(200, value)?.with_cookies(self.authenticated.cookies))
    }
}

/// Who is asking, and what they are in the organization that they mean, in one batch. Whoever is no member of it is told
/// what they are told of one that is not there.
///
/// # Errors
/// 400 where no organization is active, 401, 403 where its policy does not let them in, 404.
pub async fn authorize_member(context: &Context, named: &NamedTenant) -> Result<ActingMember> {
    let acting = authorize_member_of_any_status(context, named).await?;
    if acting.standing.tenant.status != "active" {
        return Err(Error::refused(Wire::TENANT_UNAVAILABLE, "organization is not active"));
    }
    Ok(acting)
}

/// [`authorize_member`], in an organization that may be suspended or about to be deleted.
///
/// # Errors
/// As [`authorize_member`].
pub async fn authorize_member_of_any_status(context: &Context, named: &NamedTenant) -> Result<ActingMember> {
    let key = api_key::read_api_key(context).filter(|_| context.endpoint.takes_keys);
    let (authenticated, standing) = if let Some(token) = key {
        standing_of_key(context, &token, named).await?
    } else {
        let hash = authenticate::require_ticket(context)?.hash;
        let statement = session::store::permission::standing(context, &hash, named.which()?);
        let (authenticated, mut answers) = authenticate::require_session(context, vec![statement]).await?;
        (authenticated, answers.row::<Standing>()?)
    };
    let standing = standing.ok_or_else(|| match named {
        NamedTenant::Active => Error::refused(Wire::NO_ACTIVE_ORGANIZATION, "none, or no member of it"),
        NamedTenant::Id(_) | NamedTenant::Slug(_) => {
            Error::refused(Wire::ORGANIZATION_NOT_FOUND, "unknown, or no member of it")
        }
    })?;
    policy::check_organization(context, &standing, &authenticated.session)?;
    // An administrator who acts as somebody sees what they see, and decides nothing for their organizations.
    if context.endpoint.changes_organizations {
        proof::refuse_impersonator(&authenticated)?;
    }
    Ok(ActingMember { authenticated, standing })
}

/// What a user's key is in an organization: no more than its user, and no more than it is scoped to. It works in the
/// tenant that it was made in.
async fn standing_of_key(
    context: &Context,
    token: &Token<ApiKeySecret>,
    named: &NamedTenant,
) -> Result<(Authenticated, Option<Standing>)> {
    let session = api_key::authenticate_api_key(context, token).await?;
    let here = &context.tenant().id;
    let is_here = match named {
        NamedTenant::Id(id) => id.as_ref() == Some(here),
        NamedTenant::Slug(slug) => *slug == context.tenant().slug,
        NamedTenant::Active => true,
    };
    let mut standing: Option<Standing> = None;
    if is_here {
        standing = context.db()?.first(session::store::permission::standing_of(here, &session.user.id)).await?;
    }
    if let (Some(standing), Some(scope)) = (&mut standing, &session.key_permissions) {
        standing.uncut = Some(standing.permissions.clone());
        standing.permissions = standing.permissions.intersection(scope);
        standing.roles.clear();
    }
    let hash = TokenHash::trusted(String::new());
    Ok((Authenticated { session, hash, cookies: Vec::new(), due: None }, standing))
}

/// Commits, and reads the session back in the same batch: its copies say at once what changed. The `Set-Cookie` lines;
/// of two cookies of one name a browser keeps the later.
///
/// # Errors
/// As the batch.
pub async fn commit_and_refresh(
    context: &Context,
    authenticated: &Authenticated,
    mut statements: Vec<Statement>,
) -> std::result::Result<Vec<String>, d1::StoreError> {
    let skipped = statements.len();
    statements.push(session::store::session::load(&context.tenant().id, &authenticated.hash));
    let mut answers: Answers = context.db()?.batch(statements).await?.skip(skipped);
    let record = session::store::session::read(&mut answers)?;
    let mut cookies = authenticated.cookies.clone();
    if let Some(Ok(JudgedSession { session, .. })) = record.map(|record| judge_session(context, record)) {
        write_session_copy(context, &authenticated.hash, &session);
        let snapshot = snapshot_cookie(context, &authenticated.hash, &session);
        cookies.push(snapshot.unwrap_or_else(|| Cookie::Snapshot.clear(context.is_secure)));
    }
    Ok(cookies)
}

/// An organization, as the protocol shows it.
#[must_use]
pub fn organization_json(tenant: &Organization) -> Value {
    json!({
        "id": tenant.id, "name": tenant.name, "slug": tenant.slug, "logo": tenant.logo, "metadata": tenant.metadata,
        "createdAt": iso(tenant.created_at),
    })
}

/// Roles, as the protocol shows them: one text.
#[must_use]
pub fn role_text(roles: &[String]) -> String {
    roles.join(",")
}

/// Reads the field `role`: a text with commas, or a list of texts.
pub fn roles_field(fields: &mut Fields) -> Vec<String> {
    let given = match fields.take("role") {
        Some(Value::String(text)) => text.split(',').map(|name| name.trim().to_owned()).collect(),
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
            names.iter().filter_map(|name| name.as_str().map(|name| name.trim().to_owned())).collect()
        }
        _ => Vec::new(),
    };
    let mut roles: Vec<String> = Vec::new();
    for name in given {
        if !name.is_empty() && !roles.contains(&name) {
            roles.push(name);
        }
    }
    if roles.is_empty() {
        fields.refuse("role", "Invalid input: expected the name of a role, or several");
    }
    if roles.len() > 100 {
        fields.refuse("role", "Too big: expected array to have <=100 items");
    }
    roles
}

/// The roles of these names, every one of which there must be, and which `acting` may grant.
///
/// # Errors
/// 400 `missing` for one that is not there, 403 `refusal` for one that they do not hold.
pub async fn load_grantable_roles(
    context: &Context,
    acting: &ActingMember,
    names: &[String],
    (missing, refusal): (Wire, Wire),
) -> Result<Vec<store::role::RoleRecord>> {
    let answers = context.db()?.batch([store::role::named(acting.tenant(), names)]).await;
    let found: Vec<store::role::RoleRecord> = answers?.rows()?;
    for name in names {
        let role = found.iter().find(|role| role.name == *name);
        let role = role.ok_or_else(|| Error::refused(missing, format!("role {name:?}")))?;
        acting.gives([&role.gift()], refusal)?;
    }
    Ok(found)
}

/// What whoever acts for themselves may do.
#[must_use]
pub fn is_oneself(acting: &ActingMember) -> Permit {
    Permit::for_oneself(acting.tenant(), &acting.standing.user_id)
}
