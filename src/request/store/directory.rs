//! Which tenant or app answers on a host. Remembered by the isolate for `ROUTING_CACHE_SECONDS`, so that a request
//! with a snapshot needs no I/O at all; and for `ROUTING_STALE_SECONDS` while D1 does not answer.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;
use url::Url;
use worker::Env;

use crate::access::path_rules::{Access, Rule};
use crate::access::policy::SecurityPolicy;
use crate::platform::config::Config;
use crate::platform::d1::{Database, Statement, StoreError, Stored};
use crate::platform::error::Error;
use crate::platform::id::{App, Id, Millis, Tenant};
use crate::platform::log::note;
use crate::platform::sql::sql;
use crate::request::own_hosts::{KnownHost, host_question, is_own as is_own_url};

/// A tenant, as far as routing needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct TenantPlace {
    /// Id.
    pub id: Id<Tenant>,
    /// Slug.
    pub slug: String,
    /// Name.
    pub name: String,
    /// Whether its users are its own.
    pub is_isolated: bool,
    /// Whether it is open for business.
    pub is_active: bool,
    /// The host that its people sign in on, if not the default one.
    pub auth_host: Option<String>,
    /// What pairwise names follow from.
    pub pairwise_salt: String,
    /// Where its passkeys work.
    pub passkey: PasskeyPlace,
    /// The D1 binding that holds its own data; none is the main one.
    pub database: Option<String>,
    /// Its security policy, as it was written.
    security_policy: Value,
    #[serde(skip)]
    policy: OnceCell<Option<SecurityPolicy>>,
}

/// `tenant.settings`, member `passkey`: what of it is not set follows from the tenant's host.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PasskeyPlace {
    /// `rpId`: the host, or a domain above it (`WebAuthn` Level 3, section 4).
    #[serde(rename = "rpId")]
    pub rp_id: Option<String>,
    /// `origins`: of the pages that may use them.
    pub origins: Option<Vec<String>>,
}

impl TenantPlace {
    /// Its security policy; none where it cannot be read.
    #[must_use]
    pub fn policy(&self) -> Option<&SecurityPolicy> {
        self.policy.get_or_init(|| SecurityPolicy::parse(&self.security_policy).ok()).as_ref()
    }

    /// Whether it is the server's own tenant, which answers wherever no other is named.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.slug == "default"
    }

    /// The pool that its users are in: null, or its own id.
    #[must_use]
    pub fn pool(&self) -> Option<&Id<Tenant>> {
        self.is_isolated.then_some(&self.id)
    }
}

/// A protected app and its rules.
#[derive(Clone, Debug, Deserialize)]
pub struct AppPlace {
    /// Id.
    pub id: Id<App>,
    /// Name.
    pub name: String,
    /// Host, without port.
    pub host: String,
    /// Where it is, by URL.
    pub origin_url: Option<String>,
    /// Where it is, by service binding.
    pub service_binding: Option<String>,
    /// What holds where no rule matches.
    pub default_access: Access,
    /// In order.
    pub rules: Vec<Rule>,
}

/// What answers on a host.
#[derive(Clone, Debug, Deserialize)]
pub struct HostPlace {
    /// The tenant.
    pub tenant: TenantPlace,
    /// The protected app; none on an auth host.
    pub app: Option<AppPlace>,
}

/// What an isolate remembers of a host.
struct Remembered {
    /// A host that is asked for in vain is remembered as well: a flood of made-up hosts must not reach D1.
    place: Option<Rc<HostPlace>>,
    /// When D1 said so.
    at: Millis,
    /// When D1 was last asked in vain.
    failed_at: Option<Millis>,
}

/// Hosts that an isolate remembers; past it, it forgets all and starts again.
const MOST_REMEMBERED: usize = 1000;

/// How long D1 is not asked again about a host after it failed, in milliseconds, if routes are remembered for longer than
/// that: visitors would wait for it to fail at each request.
const PAUSE: Millis = 5_000;

thread_local! {
    static CACHE: RefCell<HashMap<String, Remembered>> = RefCell::new(HashMap::new());
}

/// The isolate's own answer, not older than `ROUTING_CACHE_SECONDS`; an older one right after D1 failed.
#[must_use]
pub fn remembered(host: &str, config: &Config, now: Millis) -> Option<Option<Rc<HostPlace>>> {
    let fresh = config.routing_cache_seconds * 1000;
    CACHE.with_borrow(|cache| {
        let known = cache.get(host)?;
        let is_paused = known.failed_at.is_some_and(|at| now < at + PAUSE.min(fresh));
        if now < known.at + fresh {
            return Some(known.place.clone());
        }
        let place =
            known.place.clone().filter(|_| is_paused && now < known.at + config.routing_stale_seconds * 1000)?;
        Some(Some(place))
    })
}

fn remember(host: &str, place: Option<Rc<HostPlace>>, now: Millis) {
    CACHE.with_borrow_mut(|cache| {
        if cache.len() >= MOST_REMEMBERED {
            cache.clear();
        }
        cache.insert(host.to_owned(), Remembered { place, at: now, failed_at: None });
    });
}

/// What was remembered of a host, if it is not older than `ROUTING_STALE_SECONDS`: D1 has just failed. What it would say now
/// nobody knows: where D1 answers others and not this isolate, a change is not seen here until it answers again. A host that was asked for in
/// vain may be one by now, and is not kept.
fn stale(host: &str, config: &Config, now: Millis) -> Option<Rc<HostPlace>> {
    CACHE.with_borrow_mut(|cache| {
        let known = cache.get_mut(host).filter(|known| now < known.at + config.routing_stale_seconds * 1000)?;
        known.failed_at = Some(now);
        known.place.clone()
    })
}

/// Forgets every host: what was remembered of them was changed here. Other isolates follow when theirs is old.
pub fn forget_all() {
    CACHE.with_borrow_mut(HashMap::clear);
    OWN.with_borrow_mut(HashMap::clear);
}

/// The parts of a place: a tenant, and the app under the host, if it is one.
macro_rules! place {
    ($condition:literal) => {
        concat!(
            "select json_object(
               'tenant', json_object(
                 'id', t.id, 'slug', t.slug, 'name', t.name,
                 'is_isolated', json(iif(t.user_pool = 'isolated', 'true', 'false')),
                 'is_active', json(iif(t.status = 'active', 'true', 'false')),
                 'auth_host', (select host from tenant_domain where tenant_id = t.id order by is_primary desc, host limit 1),
                 'pairwise_salt', t.pairwise_salt, 'database', t.database, 'security_policy', json(t.security_policy),
                 'passkey', json_object(
                   'rpId', iif(json_type(t.settings, '$.passkey.rpId') = 'text', t.settings ->> '$.passkey.rpId', null),
                   'origins', iif(json_type(t.settings, '$.passkey.origins') = 'array', json(t.settings -> '$.passkey.origins'), null))),
               'app', iif(a.id is null, null, json_object(
                 'id', a.id, 'name', a.name, 'host', a.host, 'origin_url', a.origin_url,
                 'service_binding', a.service_binding,
                 'default_access', json_object('access', a.default_access),
                 'rules', (select json_group_array(json_object('path', path, 'methods', json(methods), 'access', access,
                                                               'roles', iif(access = 'role', json(roles), null)))
                           from (select * from access_rule where proxied_app_id = a.id order by position)))))
             as row
             from tenant t
             left join proxied_app a on a.tenant_id = t.id and a.host = :host and a.enabled = 1
             where t.id = ",
            $condition
        )
    };
}

/// Why a host was not looked up.
enum Unread {
    /// D1 did not answer. Of a tenant's own database that did not: what the main one has just said of the host.
    Away(StoreError, Option<(String, Id<Tenant>)>),
    /// It did, and what it says cannot be read: nobody is let in by it, nor by what it said before.
    Bad(StoreError),
}

/// D1 that answers with an error of a statement's has answered.
fn unread(error: StoreError) -> Unread {
    match error {
        StoreError::Failed(text) if !text.contains("SQLITE_ERROR") => Unread::Away(StoreError::Failed(text), None),
        other => Unread::Bad(other),
    }
}

/// Looks a host up. `is_default` says that it is the default tenant's auth host. While D1 does not answer, what was remembered
/// is gone on with.
///
/// # Errors
/// If D1 does not answer and nothing is remembered, or if it answers what cannot be read.
pub async fn find(
    env: &Env,
    host: &str,
    is_default: bool,
    config: &Config,
    now: Millis,
) -> Stored<Option<Rc<HostPlace>>> {
    match read(env, host, is_default).await {
        Ok(place) => {
            let place = place.map(Rc::new);
            remember(host, place.clone(), now);
            Ok(place)
        }
        Err(Unread::Bad(error)) => {
            CACHE.with_borrow_mut(|cache| cache.remove(host));
            Err(error)
        }
        Err(Unread::Away(error, named)) => {
            // A host that was given to another tenant meanwhile is not served to the one that had it.
            let is_named = |place: &Rc<HostPlace>| {
                named.as_ref().is_none_or(|(binding, tenant)| {
                    place.tenant.id == *tenant && place.tenant.database.as_ref() == Some(binding)
                })
            };
            let Some(place) = stale(host, config, now).filter(is_named) else {
                return Err(error);
            };
            note("none", &format!("D1 failed, and the route of {host} is remembered: {}", Error::from(error)));
            Ok(Some(place))
        }
    }
}

/// Asks D1. Of a tenant whose data lives elsewhere the main database knows where, and on which hosts it answers; all else of
/// it is there.
async fn read(env: &Env, host: &str, is_default: bool) -> std::result::Result<Option<HostPlace>, Unread> {
    let main = Database::open(env, Database::BINDING).map_err(Unread::Bad)?;
    let statement = sql!(
        place!(
            "iif(:is_default, (select id from tenant where slug = 'default'),
                 coalesce((select tenant_id from proxied_app where host = :host and enabled = 1),
                          (select tenant_id from tenant_domain where host = :host)))"
        ),
        host,
        is_default
    );
    let mut answers = main.batch([statement]).await.map_err(unread)?;
    let mut place: Option<HostPlace> = answers.row().map_err(Unread::Bad)?;
    if let Some((binding, id, is_active)) = place.as_ref().and_then(elsewhere) {
        let own = Database::open(env, &binding).map_err(Unread::Bad)?;
        let statement = sql!(place!(":id"), host, id = &id);
        let answered = own.batch([statement]).await;
        // The main database has just said that the tenant is closed: that holds, whatever is remembered.
        let mut answers = answered.map_err(|error| match unread(error) {
            Unread::Away(error, _) if is_active => Unread::Away(error, Some((binding.clone(), id))),
            Unread::Away(error, _) | Unread::Bad(error) => Unread::Bad(error),
        })?;
        place = answers.row().map_err(Unread::Bad)?;
        if let Some(place) = &mut place {
            place.tenant.database = Some(binding);
            place.tenant.is_active &= is_active;
        }
    }
    Ok(place)
}

/// Where a tenant's own data is, if it is not here.
fn elsewhere(place: &HostPlace) -> Option<(String, Id<Tenant>, bool)> {
    let tenant = &place.tenant;
    tenant.database.clone().map(|binding| (binding, tenant.id.clone(), tenant.is_active))
}

thread_local! {
    /// Whether a URL's host is ours, as it was last looked up.
    static OWN: RefCell<HashMap<String, (bool, Millis)>> = RefCell::new(HashMap::new());
}

/// Whether a URL leads to a host that we answer on, or to an origin behind the gate, as far as the databases know that are
/// named: the main one, and that of the tenant who asks. Remembered as hosts are.
///
/// # Errors
/// If D1 does not answer.
pub async fn is_own(env: &Env, config: &Config, binding: &str, url: &Url, now: Millis) -> Stored<bool> {
    let Some((host, [secure, plain])) = host_question(url) else {
        return Ok(false);
    };
    let key = format!("{binding} {host}:{}", url.port_or_known_default().unwrap_or_default());
    let kept = OWN.with_borrow(|kept| kept.get(&key).copied());
    if let Some((own, _)) = kept.filter(|(_, at)| now < at + config.routing_cache_seconds * 1000) {
        return Ok(own);
    }
    let mut own = false;
    for name in [Database::BINDING, binding].iter().take(if binding == Database::BINDING { 1 } else { 2 }) {
        let db = Database::open(env, name)?;
        let known: Option<KnownHost> = db.first(known(&host, &secure, &plain)).await?;
        own |= is_own_url(url, &known.unwrap_or_default(), &config.auth_origin, config.development);
    }
    OWN.with_borrow_mut(|kept| {
        if kept.len() >= MOST_REMEMBERED {
            kept.clear();
        }
        kept.insert(key, (own, now));
    });
    Ok(own)
}

/// What is known of a host: `secure` and `plain` are what the URLs of origins on it begin with.
fn known(host: &str, secure: &str, plain: &str) -> Statement {
    sql!(
        "select json_object(
           'is_host', json(iif(exists (select 1 from tenant_domain where host = :host)
                               or exists (select 1 from proxied_app where host = :host), 'true', 'false')),
           'origins', (select json_group_array(origin_url) from (
             select origin_url from proxied_app
             where origin_url >= :secure collate nocase and origin_url < :secure || '~' collate nocase
             union all
             select origin_url from proxied_app
             where origin_url >= :plain collate nocase and origin_url < :plain || '~' collate nocase))) as row",
        host,
        secure,
        plain
    )
}
