//! What a sign-in with a password reads and writes.

use serde_json::{Value, json};

use crate::platform::config::Limit;
use crate::platform::d1::{Answers, Database, Statement, StoreError, Stored};
use crate::platform::id::{Id, Millis, Session, Tenant, User};
use crate::platform::secret::{TokenHash, TrustedDevice};
use crate::platform::sql::sql;
use crate::request;
use crate::request::context::Context;
use crate::request::store::rate_limit::Window;
use crate::users::sign_in_decision::Candidate;

/// A counter: its key, and the one that takes its place for a browser that the account trusts.
pub struct Counter {
    /// Key.
    pub key: String,
    /// Key for a trusted browser.
    pub apart: String,
    /// Limit.
    pub limit: Limit,
}

impl Counter {
    /// The key that counts.
    #[must_use]
    pub fn key(&self, is_trusted: bool) -> &str {
        if is_trusted { &self.apart } else { &self.key }
    }

    fn keys(&self) -> (&str, &str) {
        (&self.key, &self.apart)
    }

    fn before(&self) -> (&str, &str, i64) {
        (&self.key, &self.apart, self.limit.count)
    }
}

/// The counters of an attempt: each is counted if those before it were within their limits.
pub struct Counters {
    /// Whom it is about, whether anybody is called so or not.
    pub name: String,
    /// By address.
    pub network: Counter,
    /// By account: from all networks, or from this one alone, where `whole` counts those of all networks.
    pub account: Counter,
    /// By account, from all networks.
    pub whole: Option<Counter>,
}

impl Counters {
    /// The statements that count.
    #[must_use]
    pub fn statements(&self, context: &Context) -> Vec<Statement> {
        let (network, account) = (&self.network, &self.account);
        let mut statements = vec![
            request::store::rate_limit::count_apart(context, &self.name, network.keys(), network.limit),
            request::store::rate_limit::count_apart_within(
                context,
                &self.name,
                account.keys(),
                account.limit,
                network.before(),
            ),
        ];
        statements.extend(self.whole.as_ref().map(|whole| {
            request::store::rate_limit::count_apart_within(
                context,
                &self.name,
                whole.keys(),
                whole.limit,
                account.before(),
            )
        }));
        statements
    }

    /// What they counted.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn windows(&self, answers: &mut Answers) -> Stored<Windows> {
        let missing = || StoreError::Failed("a counter without an answer".to_owned());
        Ok(Windows {
            network: answers.row()?.ok_or_else(missing)?,
            account: answers.row()?,
            whole: if self.whole.is_some() { answers.row()? } else { None },
        })
    }

    /// The keys by which the account is counted, with a trusted browser and without.
    #[must_use]
    pub fn accounts(&self) -> Vec<&str> {
        std::iter::once(&self.account).chain(&self.whole).flat_map(|counter| [&*counter.key, &*counter.apart]).collect()
    }

    /// Counts against the account, and fails with the whole batch if that is one too many.
    #[must_use]
    pub fn held(&self, now: Millis) -> Vec<Statement> {
        std::iter::once(&self.account)
            .chain(&self.whole)
            .flat_map(|counter| {
                let (key, limit) = (&*counter.key, counter.limit);
                [request::store::rate_limit::count(key, limit, now), request::store::rate_limit::is_within(key, limit)]
            })
            .collect()
    }

    /// Forgets what was counted of an account: what succeeded was no guess.
    #[must_use]
    pub fn forgotten(&self, is_trusted: bool) -> Vec<Statement> {
        std::iter::once(&self.account)
            .chain(&self.whole)
            .map(|counter| request::store::rate_limit::reset(counter.key(is_trusted)))
            .collect()
    }

    /// The same, and gives the network back what succeeded.
    #[must_use]
    pub fn succeeded(&self, is_trusted: bool, now: Millis) -> Vec<Statement> {
        let mut statements = self.forgotten(is_trusted);
        statements.push(request::store::rate_limit::give_back(self.network.key(is_trusted), now));
        statements
    }

    /// The counters as [`code::redeem`](crate::users::store::code::redeem) looks at them.
    #[must_use]
    pub fn watched(&self, context: &Context) -> Watched {
        let counters = [Some(&self.network), Some(&self.account), self.whole.as_ref()].into_iter().flatten();
        let counters: Vec<Value> = counters
            .map(|counter| json!({ "key": counter.key, "apart": counter.apart, "most": counter.limit.count }))
            .collect();
        Watched {
            counters: json!(counters).to_string(),
            device: request::store::rate_limit::trusted_device(context),
            name: self.name.clone(),
        }
    }
}

/// What a statement looks at of counters before it does anything.
pub struct Watched {
    /// Their keys and limits, as JSON.
    pub counters: String,
    /// What the browser shows that may be trusted.
    pub device: Option<TokenHash<TrustedDevice>>,
    /// Whom they are about.
    pub name: String,
}

/// What was counted.
#[derive(Clone, Copy)]
pub struct Windows {
    /// The address's window.
    pub network: Window,
    /// The account's; none if the address was over its own limit.
    pub account: Option<Window>,
    /// The account's, from all networks.
    pub whole: Option<Window>,
}

/// What a sign-in is decided on.
pub struct LoadedSignIn {
    /// What was counted.
    pub windows: Windows,
    /// The user, if anybody has the address.
    pub candidate: Option<Candidate>,
    /// Whether the tenant lets anybody in.
    pub tenant_is_active: bool,
}

/// By what a user is looked for.
#[derive(Clone, Copy, Debug)]
pub enum LookupBy<'a> {
    /// Lower-case address.
    Email(&'a str),
    /// Lower-case user name.
    Username(&'a str),
    /// Phone number (E.164).
    Phone(&'a str),
    /// The hash of a link's token: whoever has the address that it was sent to.
    MagicLink(&'a str),
}

impl LookupBy<'_> {
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
    by: LookupBy<'_>,
    counters: &Counters,
    more: Vec<Statement>,
) -> Stored<(LoadedSignIn, Answers)> {
    let mut statements = counters.statements(context);
    statements.extend([tenant_is_active(&context.tenant().id), candidate(context, by)]);
    statements.extend(more);
    let mut answers = context.db()?.batch(statements).await?;
    let loaded = LoadedSignIn {
        windows: counters.windows(&mut answers)?,
        tenant_is_active: answers.row()?.unwrap_or(false),
        candidate: answers.row()?,
    };
    Ok((loaded, answers))
}

/// [`load_with`] nothing more.
///
/// # Errors
/// If D1 does not answer.
pub async fn load(context: &Context, by: LookupBy<'_>, counters: &Counters) -> Stored<LoadedSignIn> {
    load_with(context, by, counters, Vec::new()).await.map(|(loaded, _)| loaded)
}

/// Whether a tenant is open for business.
#[must_use]
pub fn tenant_is_active(tenant: &Id<Tenant>) -> Statement {
    sql!("select iif(status = 'active', 'true', 'false') as row from tenant where id = :tenant", tenant)
}

/// Two texts each, because an index on `tenant_id is null` serves no `tenant_id is :pool`.
macro_rules! candidate {
    ($condition:literal, $pool:literal) => {
        concat!(
            "select json_object('user_id', u.id, 'status', u.status, 'suspended_until', u.suspended_until,
                                'locked_until', u.locked_until, 'password_hash', a.password_hash, 'email', u.email,
                                'email_verified', json(iif(u.email_verified, 'true', 'false')),
                                'is_trusted', json(iif(exists (
                                  select 1 from trusted_device
                                  where user_id = u.id and token_hash = :device and revoked_at is null and expires_at > :now),
                                  'true', 'false'))) as row
             from user u left join account a on a.user_id = u.id and a.issuer_id is null and a.is_active = 1
             where ",
            $condition,
            " and u.deleted_at is null and ",
            $pool
        )
    };
}

/// The user of the tenant's pool whom somebody may be. A phone number is found once it is proven.
#[must_use]
pub fn candidate(context: &Context, by: LookupBy<'_>) -> Statement {
    let pool = context.tenant().pool();
    let device = request::store::rate_limit::trusted_device(context);
    sql!(
        match (by, pool) {
            (LookupBy::Email(_), None) => candidate!("u.email = :name", "u.tenant_id is null"),
            (LookupBy::Email(_), Some(_)) =>
                candidate!("u.email = :name", "u.tenant_id = :pool and u.tenant_id is not null"),
            (LookupBy::Username(_), None) => candidate!("u.username = :name", "u.tenant_id is null"),
            (LookupBy::Username(_), Some(_)) =>
                candidate!("u.username = :name", "u.tenant_id = :pool and u.tenant_id is not null"),
            (LookupBy::Phone(_), None) =>
                candidate!("u.phone_number_verified = 1 and u.phone_number = :name", "u.tenant_id is null"),
            (LookupBy::Phone(_), Some(_)) => candidate!(
                "u.phone_number_verified = 1 and u.phone_number = :name",
                "u.tenant_id = :pool and u.tenant_id is not null"
            ),
            (LookupBy::MagicLink(_), None) => candidate!(
                "u.email = (select identifier from verification where kind = 'magic_link' and token_hash = :name)",
                "u.tenant_id is null"
            ),
            (LookupBy::MagicLink(_), Some(_)) => candidate!(
                "u.email = (select identifier from verification where kind = 'magic_link' and token_hash = :name)",
                "u.tenant_id = :pool and u.tenant_id is not null"
            ),
        },
        pool,
        name = by.text(),
        device = device.as_ref(),
        now = context.now
    )
}

/// Counts a failure, and locks the account at every `LOCKOUT_FAILURES`-th in a row: each time for twice as long, up to
/// a day. In the statement, because parallel guesses would all decide on the same old count.
#[must_use]
pub fn failed(context: &Context, user: &Id<User>) -> Statement {
    let config = &context.config;
    sql!(
        "update user set
           failed_login_count = failed_login_count + 1,
           last_failed_login_at = :now,
           locked_until = iif((failed_login_count + 1) % cast(:lockout_failures as integer) <> 0, locked_until,
             :now + min(cast(:lockout_seconds as integer) << min((failed_login_count + 1) / cast(:lockout_failures as integer) - 1, 20), :longest_lock))
         where (tenant_id is null or tenant_id = :tenant) and id = :user",
        tenant = &context.tenant().id,
        user,
        now = context.now,
        lockout_failures = config.lockout_failures,
        lockout_seconds = config.lockout_seconds * 1000,
        longest_lock = config.lockout_seconds.max(86_400) * 1000
    )
}

/// Notes a success, if its session was opened: the failures before it no longer count.
#[must_use]
pub fn succeeded(context: &Context, user: &Id<User>, session: &Id<Session>) -> Statement {
    sql!(
        "update user set failed_login_count = 0, locked_until = null, last_login_at = :now, last_active_at = :now,
                         login_count = login_count + 1
         where (tenant_id is null or tenant_id = :tenant) and id = :user and exists (select 1 from session where id = :session)",
        tenant = &context.tenant().id,
        user,
        now = context.now,
        session
    )
}

/// Lifts a lock: whoever reads the account's mail is not the one it is locked against.
#[must_use]
pub fn unlock(context: &Context, user: &Id<User>) -> Statement {
    sql!(
        "update user set failed_login_count = 0, locked_until = null
         where (tenant_id is null or tenant_id = :tenant) and id = :user",
        tenant = &context.tenant().id,
        user
    )
}

/// Runs the batch that ends a failed sign-in.
///
/// # Errors
/// If D1 does not answer.
pub async fn record(db: &Database, statements: Vec<Statement>) -> Stored<()> {
    db.batch(statements).await.map(|_| ())
}
