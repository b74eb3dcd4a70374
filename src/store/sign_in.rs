//! What a sign-in with a password reads and writes.

use crate::config::Limit;
use crate::context::Context;
use crate::credentials::sign_in::Candidate;
use crate::http::cookie::Cookie;
use crate::id::{Id, Session, Tenant, User};
use crate::secret::{Token, TrustedDevice};
use crate::store::database::{Answers, Database, Statement, StoreError, Stored, sql};
use crate::store::rate_limit::{self, Window};

/// The two counters of a sign-in.
pub struct Counters<'a> {
    /// By address.
    pub network: (&'a str, Limit),
    /// By account, whether it exists or not.
    pub account: (&'a str, Limit),
}

/// What a sign-in is decided on.
pub struct Loaded {
    /// The address's window.
    pub network: Window,
    /// The account's window; none if the address was over its own limit.
    pub account: Option<Window>,
    /// The user, if anybody has the address.
    pub candidate: Option<Candidate>,
    /// Whether the tenant lets anybody in.
    pub tenant_is_active: bool,
}

/// By what a user is looked for.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// Lower-case address.
    Email(&'a str),
    /// Lower-case user name.
    Username(&'a str),
    /// Phone number (E.164).
    Phone(&'a str),
    /// The hash of a link's token: whoever has the address that it was sent to.
    MagicLink(&'a str),
}

impl By<'_> {
    /// What was looked for.
    #[must_use]
    pub const fn text(&self) -> &str {
        match self {
            Self::Email(text) | Self::Username(text) | Self::Phone(text) | Self::MagicLink(text) => text,
        }
    }
}

/// Counts the attempt, before anything is known about it, and loads who it may be; `more` comes in between and is
/// answered along.
///
/// # Errors
/// If D1 does not answer.
pub async fn load_with(
    context: &Context,
    by: By<'_>,
    counters: &Counters<'_>,
    more: Vec<Statement>,
) -> Stored<(Loaded, Answers)> {
    let tenant = context.tenant();
    let mut statements = vec![
        rate_limit::count(counters.network.0, counters.network.1, context.now),
        rate_limit::count_within(counters.account.0, counters.account.1, counters.network, context.now),
        tenant_is_active(&tenant.id),
        candidate(context, by),
    ];
    statements.extend(more);
    let mut answers = context.db()?.batch(statements).await?;
    let missing = || StoreError::Failed("a counter without an answer".to_owned());
    let loaded = Loaded {
        network: answers.row()?.ok_or_else(missing)?,
        account: answers.row()?,
        tenant_is_active: answers.row()?.unwrap_or(false),
        candidate: answers.row()?,
    };
    Ok((loaded, answers))
}

/// [`load_with`] nothing more.
///
/// # Errors
/// If D1 does not answer.
pub async fn load(context: &Context, by: By<'_>, counters: &Counters<'_>) -> Stored<Loaded> {
    load_with(context, by, counters, Vec::new()).await.map(|(loaded, _)| loaded)
}

/// Whether a tenant is open for business.
#[must_use]
pub fn tenant_is_active(tenant: &Id<Tenant>) -> Statement {
    sql("select iif(status = 'active', 'true', 'false') as row from tenant where id = ?1").bind(tenant)
}

/// Two texts each, because an index on `tenant_id is null` serves no `tenant_id is ?1`.
macro_rules! candidate {
    ($condition:literal, $pool:literal) => {
        concat!(
            "select json_object('user_id', u.id, 'status', u.status, 'suspended_until', u.suspended_until,
                                'locked_until', u.locked_until, 'password_hash', a.password_hash, 'email', u.email,
                                'email_verified', json(iif(u.email_verified, 'true', 'false')),
                                'is_trusted', json(iif(exists (
                                  select 1 from trusted_device
                                  where user_id = u.id and token_hash = ?3 and revoked_at is null and expires_at > ?4),
                                  'true', 'false'))) as row
             from user u left join account a on a.user_id = u.id and a.issuer_id is null and a.is_active = 1
             where ",
            $condition,
            " and u.deleted_at is null and ",
            $pool
        )
    };
    ($condition:literal) => {
        [
            candidate!($condition, "u.tenant_id is null and ?1 is null"),
            candidate!($condition, "u.tenant_id = ?1 and u.tenant_id is not null"),
        ]
    };
}

/// The user of the tenant's pool whom somebody may be. A phone number is found once it is proven.
#[must_use]
pub fn candidate(context: &Context, by: By<'_>) -> Statement {
    let pool = context.tenant().pool();
    let [shared, isolated] = match by {
        By::Email(_) => candidate!("u.email = ?2"),
        By::Username(_) => candidate!("u.username = ?2"),
        By::Phone(_) => candidate!("u.phone_number_verified = 1 and u.phone_number = ?2"),
        By::MagicLink(_) => {
            candidate!("u.email = (select identifier from verification where kind = 'magic_link' and token_hash = ?2)")
        }
    };
    let device: Option<Token<TrustedDevice>> =
        context.cookie(Cookie::TrustedDevice).and_then(|text| Token::parse(&text));
    let device = device.map(|token| token.hash());
    sql(if pool.is_some() { isolated } else { shared })
        .bind(pool)
        .bind(by.text())
        .bind(device.as_ref())
        .bind(context.now)
}

/// Counts a failure, and locks the account at every `LOCKOUT_FAILURES`-th in a row: each time for twice as long, up to
/// a day. In the statement, because parallel guesses would all decide on the same old count.
#[must_use]
pub fn failed(context: &Context, user: &Id<User>) -> Statement {
    let config = &context.config;
    sql("update user set
           failed_login_count = failed_login_count + 1,
           last_failed_login_at = ?3,
           locked_until = iif((failed_login_count + 1) % cast(?4 as integer) <> 0, locked_until,
             ?3 + min(cast(?5 as integer) << min((failed_login_count + 1) / cast(?4 as integer) - 1, 20), ?6))
         where (tenant_id is null or tenant_id = ?1) and id = ?2")
    .bind(&context.tenant().id)
    .bind(user)
    .bind(context.now)
    .bind(config.lockout_failures)
    .bind(config.lockout_seconds * 1000)
    .bind(config.lockout_seconds.max(86_400) * 1000)
}

/// Notes a success, if its session was opened: the failures before it no longer count.
#[must_use]
pub fn succeeded(context: &Context, user: &Id<User>, session: &Id<Session>) -> Statement {
    sql("update user set failed_login_count = 0, locked_until = null, last_login_at = ?3, last_active_at = ?3,
                         login_count = login_count + 1
         where (tenant_id is null or tenant_id = ?1) and id = ?2 and exists (select 1 from session where id = ?4)")
    .bind(&context.tenant().id)
    .bind(user)
    .bind(context.now)
    .bind(session)
}

/// Lifts a lock: whoever reads the account's mail is not the one it is locked against.
#[must_use]
pub fn unlock(context: &Context, user: &Id<User>) -> Statement {
    sql("update user set failed_login_count = 0, locked_until = null
         where (tenant_id is null or tenant_id = ?1) and id = ?2")
    .bind(&context.tenant().id)
    .bind(user)
}

/// Runs the batch that ends a failed sign-in.
///
/// # Errors
/// If D1 does not answer.
pub async fn record(db: &Database, statements: Vec<Statement>) -> Stored<()> {
    db.batch(statements).await.map(|_| ())
}
