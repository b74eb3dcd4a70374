//! `session`: the registry and the truth.

use serde::Deserialize;

use crate::context::Context;
use crate::id::{App, Id, Millis, Session, Tenant, User};
use crate::secret::{OneTime, SessionToken, TokenHash, TrustedDevice};
use crate::session::Record;
use crate::store::database::{Answers, Database, Statement, Stored, sql};
use crate::store::person::person_json;

/// A session to be opened.
#[derive(Clone)]
pub struct NewSession<'a> {
    /// Its id.
    pub id: &'a Id<Session>,
    /// Its token's hash.
    pub hash: &'a TokenHash<SessionToken>,
    /// Whose.
    pub user_id: &'a Id<User>,
    /// How they signed in.
    pub login_method: &'a str,
    /// Authentication Method References, as a JSON array.
    pub amr: &'a str,
    /// Whether the cookie outlives the browser.
    pub is_remembered: bool,
    /// The password's hash that must still be the user's.
    pub while_password: Option<&'a str>,
    /// The address that must be the user's.
    pub while_email: Option<&'a str>,
    /// The session that must have been replaced by this one.
    pub replaces: Option<&'a Id<Session>>,
    /// The session that must still hold.
    pub while_session: Option<&'a Id<Session>>,
    /// When they proved who they are.
    pub authenticated_at: Millis,
    /// The one-time value that must have been used up by this session.
    pub claim: Option<&'a str>,
    /// Whether a user with a second factor gets none yet …
    pub asks_second_factor: bool,
    /// … unless this is one of their trusted devices.
    pub trusted_device: Option<&'a TokenHash<TrustedDevice>>,
}

/// Opens a session; none if the password is another by now, the one-time value was used by somebody else, or a second
/// factor is to be asked for.
#[must_use]
pub fn open(context: &Context, new: &NewSession<'_>) -> Statement {
    let client = context.client();
    sql("insert into session
           (id, token_hash, user_id, tenant_id, login_method, amr, authenticated_at, is_remembered, ip_address, user_agent,
            location, last_activity_at, expires_at, created_at, updated_at)
         select ?2, ?3, ?4, ?1, ?5, ?6, ?14, ?7, ?8, ?9, ?10, ?11, ?12, ?11, ?11
         where (?13 is null
                or exists (select 1 from account where user_id = ?4 and issuer_id is null and password_hash = ?13))
           and (?15 is null or exists (select 1 from verification where id = ?15 and used_by = ?2))
           and (?19 is null or exists (select 1 from session where id = ?19 and revocation_reason = 'replaced by ' || ?2))
           and (?20 is null or exists (select 1 from session where id = ?20 and revoked_at is null and expires_at > ?11))
           and (?18 is null or exists (select 1 from user where id = ?4 and email = ?18))
           and (not ?16
                or not exists (select 1 from two_factor where user_id = ?4 and verified_at is not null)
                or exists (select 1 from trusted_device
                           where user_id = ?4 and token_hash = ?17 and revoked_at is null and expires_at > ?11))")
    .bind(&context.tenant().id)
    .bind(new.id)
    .bind(new.hash)
    .bind(new.user_id)
    .bind(new.login_method)
    .bind(new.amr)
    .bind(new.is_remembered)
    .bind(&client.ip)
    .bind(&client.user_agent)
    .bind(client.location.as_ref())
    .bind(context.now)
    .bind(context.now + context.config.session_seconds * 1000)
    .bind(new.while_password)
    .bind(new.authenticated_at)
    .bind(new.claim)
    .bind(new.asks_second_factor)
    .bind(new.trusted_device)
    .bind(new.while_email)
    .bind(new.replaces)
    .bind(new.while_session)
}

/// Ends a session in favour of another, which is named as the reason.
#[must_use]
pub fn replace(context: &Context, user: &Id<User>, old: &Id<Session>, new: &Id<Session>) -> Statement {
    sql("update session set revoked_at = ?4, revocation_reason = 'replaced by ' || ?3, updated_at = ?4
         where user_id = ?1 and id = ?2 and revoked_at is null")
    .bind(user)
    .bind(old)
    .bind(new)
    .bind(context.now)
}

/// Opens a protected host's session, hanging on the one of the auth host, if that one still holds.
#[must_use]
pub fn open_for_app(
    context: &Context,
    id: &Id<Session>,
    hash: &TokenHash<SessionToken>,
    app: &Id<App>,
    parent: &Id<Session>,
) -> Statement {
    let client = context.client();
    sql("insert into session
           (id, token_hash, user_id, tenant_id, parent_id, proxied_app_id, login_method, amr, authenticated_at, is_remembered,
            ip_address, user_agent, location, last_activity_at, expires_at, created_at, updated_at)
         select ?2, ?3, user_id, ?1, id, ?4, login_method, amr, authenticated_at, is_remembered,
                ?6, ?7, ?8, ?9, expires_at, ?9, ?9
         from session
         where id = ?5 and parent_id is null and revoked_at is null and expires_at > ?9")
    .bind(&context.tenant().id)
    .bind(id)
    .bind(hash)
    .bind(app)
    .bind(parent)
    .bind(&client.ip)
    .bind(&client.user_agent)
    .bind(client.location.as_ref())
    .bind(context.now)
}

/// A session with its user, tenant and roles, by its token's hash.
#[must_use]
pub fn load(tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>) -> Statement {
    sql(concat!(
        "select json_object('session', json_object(
           'id', s.id, 'parent_id', s.parent_id, 'app_id', s.proxied_app_id,
           'user', ",
        person_json!("u"),
        ",
           'tenant_id', t.id, 'tenant_slug', t.slug,
           'is_member', json(iif(m.id is null, 'false', 'true')),
           'roles', (select json_group_array(r.name) from member_role mr join role r on r.id = mr.role_id
                     where mr.member_id = m.id and r.is_active = 1),
           'login_method', s.login_method, 'amr', json(s.amr), 'authenticated_at', s.authenticated_at,
           'is_remembered', json(iif(s.is_remembered, 'true', 'false')),
           'ip_address', s.ip_address, 'user_agent', s.user_agent, 'impersonated_by', s.impersonated_by,
           'active_tenant_id', s.active_tenant_id, 'created_at', s.created_at, 'updated_at', s.updated_at,
           'expires_at', coalesce(p.expires_at, s.expires_at), 'checked_at', 0),
           'revoked_at', coalesce(s.revoked_at, p.revoked_at), 'last_activity_at', s.last_activity_at,
           'user_status', u.status, 'suspended_until', u.suspended_until, 'tenant_status', t.status) as row
         from session s
         join user u on u.id = s.user_id
         join tenant t on t.id = s.tenant_id
         left join session p on p.id = s.parent_id
         left join member m on m.tenant_id = s.tenant_id and m.user_id = s.user_id and m.status = 'active'
         where s.tenant_id = ?1 and s.token_hash = ?2"
    ))
    .bind(tenant)
    .bind(hash)
}

/// Reads what [`load`] answered.
///
/// # Errors
/// If the row cannot be.
pub fn read(answers: &mut Answers) -> Stored<Option<Record>> {
    answers.row()
}

/// The session that a one-time token carries, if it still holds.
#[must_use]
pub fn bound(context: &Context, hash: &TokenHash<OneTime>) -> Statement {
    sql("select json_quote(s.id) as row
         from verification v join session s on s.id = v.identifier join user u on u.id = s.user_id
         where v.tenant_id = ?1 and v.kind = 'one_time_token' and v.token_hash = ?2
           and s.revoked_at is null and s.expires_at > ?3 and u.status = 'active'")
    .bind(&context.tenant().id)
    .bind(hash)
    .bind(context.now)
}

/// Prolongs a session and the one that it hangs on.
#[must_use]
pub fn prolong(
    tenant: &Id<Tenant>,
    id: &Id<Session>,
    parent: Option<&Id<Session>>,
    until: Millis,
    now: Millis,
) -> Statement {
    sql("update session set expires_at = ?4, updated_at = ?5
         where ((tenant_id = ?1 and id = ?2) or id = ?3) and revoked_at is null and expires_at > ?5")
    .bind(tenant)
    .bind(id)
    .bind(parent)
    .bind(until)
    .bind(now)
}

/// A session, as its user sees it in a list.
#[derive(Debug, Deserialize)]
pub struct Listed {
    /// Id, and handle.
    pub id: Id<Session>,
    /// Whose.
    pub user_id: Id<User>,
    /// Address.
    pub ip_address: Option<String>,
    /// Browser.
    pub user_agent: Option<String>,
    /// Organization.
    pub active_tenant_id: Option<Id<Tenant>>,
    /// Opening.
    pub created_at: Millis,
    /// Last prolongation.
    pub updated_at: Millis,
    /// End.
    pub expires_at: Millis,
}

/// A user's live sessions on the auth host, the newest first.
#[must_use]
pub fn list(tenant: &Id<Tenant>, user: &Id<User>, now: Millis) -> Statement {
    sql("select json_object('id', id, 'user_id', user_id, 'ip_address', ip_address, 'user_agent', user_agent,
                            'active_tenant_id', active_tenant_id, 'created_at', created_at, 'updated_at', updated_at,
                            'expires_at', expires_at) as row
         from session
         where tenant_id = ?1 and user_id = ?2 and parent_id is null and revoked_at is null and expires_at > ?3
         order by created_at desc, id desc limit 100")
    .bind(tenant)
    .bind(user)
    .bind(now)
}

/// Which of a user's sessions to end.
#[derive(Clone, Copy)]
pub enum Which<'a> {
    /// This one.
    One(&'a Id<Session>),
    /// All but this one.
    AllBut(&'a Id<Session>),
    /// All.
    All,
}

/// Ends sessions of a user, and those of protected hosts that hang on them; answers the hashes of their tokens,
/// so that KV forgets them too. The sessions need not be of this tenant: a user of the shared pool has one identity,
/// and whoever ends "all sessions" means all. With `if_password`, only if that is the hash of the user's password now:
/// whoever loses the race to change it ends nothing.
#[must_use]
pub fn revoke(
    context: &Context,
    user: &Id<User>,
    which: Which<'_>,
    reason: &str,
    if_password: Option<&str>,
) -> Statement {
    let (one, but) = match which {
        Which::One(id) => (Some(id), None),
        Which::AllBut(id) => (None, Some(id)),
        Which::All => (None, None),
    };
    sql("update session set revoked_at = ?5, revocation_reason = ?4, updated_at = ?5
         where user_id = ?1 and revoked_at is null
           and (?2 is null or coalesce(parent_id, id) = ?2)
           and (?3 is null or coalesce(parent_id, id) <> ?3)
           and (?6 is null
                or exists (select 1 from account where user_id = ?1 and issuer_id is null and password_hash = ?6))
         returning json_quote(token_hash) as row")
    .bind(user)
    .bind(one)
    .bind(but)
    .bind(reason)
    .bind(context.now)
    .bind(if_password)
}

/// Ends the session of a token, and those of protected hosts that hang on it.
#[must_use]
pub fn end(context: &Context, hash: &TokenHash<SessionToken>, reason: &str) -> Statement {
    sql("update session set revoked_at = ?4, revocation_reason = ?3, updated_at = ?4
         where tenant_id = ?1 and revoked_at is null
           and (token_hash = ?2 or parent_id = (select id from session where tenant_id = ?1 and token_hash = ?2))")
    .bind(&context.tenant().id)
    .bind(hash)
    .bind(reason)
    .bind(context.now)
}

/// The hashes that [`revoke`] answered.
///
/// # Errors
/// If the rows cannot be.
pub fn revoked(answers: &mut Answers) -> Stored<Vec<TokenHash<SessionToken>>> {
    Ok(answers.rows::<String>()?.into_iter().map(TokenHash::trusted).collect())
}

/// Runs [`load`] alone.
///
/// # Errors
/// If D1 does not answer.
pub async fn find(db: &Database, tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>) -> Stored<Option<Record>> {
    db.first(load(tenant, hash)).await
}
