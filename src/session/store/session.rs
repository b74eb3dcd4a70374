//! `session`: the registry and the truth.

use serde::Deserialize;

use crate::access::action::Permit;
use crate::platform::d1::{Answers, Database, Statement, Stored, sql};
use crate::platform::id::{App, Group, Id, Millis, Session, Tenant, User};
use crate::platform::secret::{OneTime, SessionToken, TokenHash, TrustedDevice};
use crate::platform::time::iso;
use crate::request::context::Context;
use crate::session::live_session::{Record, UNREMEMBERED_SECONDS};
use crate::session::protocol::SessionJson;
use crate::session::store::permission::{may, role_ids, role_names, signs_in};
use crate::users::store::person::person_json;

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
            location, last_activity_at, trusted_device_id, expires_at, created_at, updated_at)
         select ?2, ?3, ?4, ?1, ?5, ?6, ?14, ?7, ?8, ?9, ?10, ?11,
                (select id from trusted_device
                 where ?16 and user_id = ?4 and token_hash = ?17 and revoked_at is null and expires_at > ?11),
                min(?11 + 1000 * coalesce((select json_extract(security_policy, '$.session.sessionTimeout') from tenant where id = ?1), ?12),
                    iif(?7, 9e15, ?11 + 1000 * ?21),
                    coalesce((select expires_at from session where id = ?20), 9e15)),
                ?11, ?11
         where (?13 is null
                or exists (select 1 from account where user_id = ?4 and issuer_id is null and password_hash = ?13))
           and (?15 is null or exists (select 1 from verification where id = ?15 and used_by = ?2))
           and (?19 is null or exists (select 1 from session where id = ?19 and revocation_reason = 'replaced by ' || ?2))
           and (?20 is null or exists (select 1 from session where id = ?20 and revoked_at is null and expires_at > ?11))
           and (?18 is null or exists (select 1 from user where id = ?4 and email = ?18))
           and (not ?16
                or not exists (select 1 from two_factor where user_id = ?4 and verified_at is not null)
                or (coalesce((select json_extract(security_policy, '$.twoFactor.allowRememberDevice') from tenant where id = ?1), 1)
                    and exists (select 1 from trusted_device
                                where user_id = ?4 and token_hash = ?17 and revoked_at is null and expires_at > ?11)))")
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
    .bind(context.config.session_seconds)
    .bind(new.while_password)
    .bind(new.authenticated_at)
    .bind(new.claim)
    .bind(new.asks_second_factor)
    .bind(new.trusted_device)
    .bind(new.while_email)
    .bind(new.replaces)
    .bind(new.while_session)
    .bind(UNREMEMBERED_SECONDS)
}

/// Ends the oldest sessions of a user whose new one is more than the tenant's policy allows, and those that hang on them;
/// answers the hashes of their tokens. Nothing if the new one was not opened.
#[must_use]
pub fn end_surplus(context: &Context, user: &Id<User>, new: &Id<Session>) -> Statement {
    sql("update session set revoked_at = ?4, revocation_reason = 'too_many_sessions', updated_at = ?4
         where revoked_at is null and user_id = ?2
           and exists (select 1 from session where id = ?3)
           and coalesce(parent_id, id) in (
             select id from session
             where user_id = ?2 and tenant_id = ?1 and parent_id is null and impersonated_by is null
               and revoked_at is null and expires_at > ?4
             order by id = ?3 desc, created_at desc, id desc
             limit -1 offset (select coalesce(json_extract(security_policy, '$.session.maxConcurrentSessions'), 1000000000)
                              from tenant where id = ?1))
         returning json_quote(token_hash) as row")
    .bind(&context.tenant().id)
    .bind(user)
    .bind(new)
    .bind(context.now)
}

/// The same for all of a tenant's users, whose policy allows fewer than it did.
#[must_use]
pub fn end_all_surplus(tenant: &Id<Tenant>, now: Millis) -> Statement {
    sql("update session set revoked_at = ?2, revocation_reason = 'too_many_sessions', updated_at = ?2
         where tenant_id = ?1 and revoked_at is null
           and coalesce(parent_id, id) in (
             select id from (
               select id, row_number() over (partition by user_id order by created_at desc, id desc) as place from session
               where tenant_id = ?1 and parent_id is null and impersonated_by is null and revoked_at is null and expires_at > ?2)
             where place > (select coalesce(json_extract(security_policy, '$.session.maxConcurrentSessions'), 1000000000)
                            from tenant where id = ?1))
         returning json_quote(token_hash) as row")
    .bind(tenant)
    .bind(now)
}

/// Counts a sign-in without a second factor in every tenant of the user's that asks for one, if the session was opened.
#[must_use]
pub fn count_grace(context: &Context, user: &Id<User>, session: &Id<Session>) -> Statement {
    sql(concat!(
        "update member set second_factor_required_at = coalesce(second_factor_required_at, ?3),
                           second_factor_grace_logins = second_factor_grace_logins + 1
         where user_id = ?1 and exists (select 1 from session where id = ?2)
           and not exists (select 1 from two_factor where user_id = ?1 and verified_at is not null)
           and exists (select 1 from tenant t
                       where t.id = member.tenant_id and json_extract(t.security_policy, '$.twoFactor.required') = 1
                         and coalesce(iif(json_type(t.security_policy, '$.twoFactor.enforcementDate') = 'integer',
                                          json_extract(t.security_policy, '$.twoFactor.enforcementDate'),
                                          unixepoch(json_extract(t.security_policy, '$.twoFactor.enforcementDate')) * 1000), 0) <= ?3
                         and not exists (select 1 from json_each(t.security_policy, '$.twoFactor.exemptRoles') e
                                         join role r on r.name = e.value and r.is_active = 1
                                         where r.id in (",
        role_ids!("member"),
        ")))"
    ))
    .bind(user)
    .bind(session)
    .bind(context.now)
}

/// Notes when a second factor was first asked of a member: their days of grace begin then.
#[must_use]
pub fn begin_grace(tenant: &Id<Tenant>, user: &Id<User>, now: Millis) -> Statement {
    sql("update member set second_factor_required_at = ?3
         where tenant_id = ?1 and user_id = ?2 and second_factor_required_at is null")
    .bind(tenant)
    .bind(user)
    .bind(now)
}

/// Ends the sessions in which a user acts as somebody else.
#[must_use]
pub fn end_impersonations(context: &Context, user: &Id<User>) -> Statement {
    sql("update session set revoked_at = ?2, revocation_reason = 'roles changed', updated_at = ?2
         where impersonated_by = ?1 and revoked_at is null")
    .bind(user)
    .bind(context.now)
}

/// Takes back a session that was opened and does not hold: nobody had it.
#[must_use]
pub fn discard(tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>) -> Statement {
    sql("delete from session where tenant_id = ?1 and token_hash = ?2").bind(tenant).bind(hash)
}

/// Opens a session in which an administrator acts as a user, for so many seconds and no longer.
#[must_use]
pub fn impersonate(
    context: &Context,
    permit: &Permit,
    user: &Id<User>,
    (id, hash): (&Id<Session>, &TokenHash<SessionToken>),
    seconds: i64,
) -> Statement {
    let client = context.client();
    sql("insert into session
           (id, token_hash, user_id, tenant_id, impersonated_by, login_method, amr, authenticated_at, is_remembered, ip_address,
            user_agent, location, last_activity_at, expires_at, created_at, updated_at)
         values (?2, ?3, ?4, ?1, ?5, 'impersonation', '[]', ?6, 0, ?7, ?8, ?9, ?6, ?10, ?6, ?6)")
    .bind(permit.tenant())
    .bind(id)
    .bind(hash)
    .bind(user)
    .bind(permit.actor())
    .bind(context.now)
    .bind(&client.ip)
    .bind(&client.user_agent)
    .bind(client.location.as_ref())
    .bind(context.now + seconds * 1000)
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

/// Opens a protected host's session, hanging on the one of the auth host, if that one still holds and its user is of the
/// website's pool: the code of a sign-in elsewhere opens nothing here.
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
           (id, token_hash, user_id, tenant_id, parent_id, proxied_app_id, impersonated_by, login_method, amr, authenticated_at,
            is_remembered, ip_address, user_agent, location, last_activity_at, expires_at, created_at, updated_at)
         select ?2, ?3, s.user_id, ?1, s.id, ?4, s.impersonated_by, s.login_method, s.amr, s.authenticated_at, s.is_remembered,
                ?6, ?7, ?8, ?9,
                iif(s.impersonated_by is null,
                    min(?9 + 1000 * coalesce(json_extract(t.security_policy, '$.session.sessionTimeout'), ?10),
                        iif(s.is_remembered, 9e15, s.expires_at)), s.expires_at), ?9, ?9
         from session s join user u on u.id = s.user_id join tenant t on t.id = ?1 join tenant o on o.id = s.tenant_id
         where s.id = ?5 and s.parent_id is null and s.revoked_at is null and s.expires_at > ?9
           and s.updated_at + 1000 * coalesce(json_extract(o.security_policy, '$.session.sessionTimeout'), 3155760000) > ?9
           and u.tenant_id is iif(t.user_pool = 'isolated', t.id, null)")
    .bind(&context.tenant().id)
    .bind(id)
    .bind(hash)
    .bind(app)
    .bind(parent)
    .bind(&client.ip)
    .bind(&client.user_agent)
    .bind(client.location.as_ref())
    .bind(context.now)
    .bind(context.config.session_seconds)
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
           'roles', ",
        role_names!("m"),
        ",
           'login_method', s.login_method, 'amr', json(s.amr), 'authenticated_at', s.authenticated_at,
           'is_remembered', json(iif(s.is_remembered, 'true', 'false')),
           'ip_address', s.ip_address, 'user_agent', s.user_agent, 'impersonated_by', s.impersonated_by,
           'active_tenant_id', s.active_tenant_id, 'active_group_id', s.active_group_id,
           'created_at', s.created_at, 'updated_at', s.updated_at,
           'expires_at', s.expires_at, 'checked_at', 0),
           'revoked_at', coalesce(s.revoked_at, p.revoked_at), 'last_activity_at', s.last_activity_at,
           'user_status', u.status, 'suspended_until', u.suspended_until, 'tenant_status', t.status,
           'policy', json(t.security_policy), 'prolonged_at', s.updated_at,
           'parent', iif(p.id is null, null, json_object('expires_at', p.expires_at, 'prolonged_at', p.updated_at,
                                                         'policy', json(pt.security_policy))),
           'impersonator_may', json(iif(s.impersonated_by is null or exists (
              select 1 from member im join user iu on iu.id = im.user_id and ",
        signs_in!("iu"),
        "
              where im.tenant_id = coalesce(p.tenant_id, s.tenant_id) and im.user_id = s.impersonated_by and im.status = 'active'
                and ",
        may!("im", "'user:impersonate'"),
        "), 'true', 'false')),
           'has_passkey', json(iif(exists (select 1 from passkey where user_id = u.id and uv_initialized = 1), 'true', 'false')),
           'is_device_trusted', json(iif(exists (select 1 from trusted_device
              where id = coalesce(p.trusted_device_id, s.trusted_device_id) and revoked_at is null), 'true', 'false')),
           'second_factor_required_at', m.second_factor_required_at,
           'grace_logins', coalesce(m.second_factor_grace_logins, 0)) as row
         from session s
         join user u on u.id = s.user_id
         join tenant t on t.id = s.tenant_id
         left join session p on p.id = s.parent_id
         left join tenant pt on pt.id = p.tenant_id
         left join member m on m.tenant_id = s.tenant_id and m.user_id = s.user_id and m.status = 'active'
         where s.tenant_id = ?1 and s.token_hash = ?2"
    ))
    .bind(tenant)
    .bind(hash)
}

/// Fails, and the whole batch with it, unless the session of a token holds: what a request writes in a session's name is
/// held to it ([`Database::hold_to`](crate::platform::d1::Database::hold_to)). Its end in time is not asked: that was when the request came.
#[must_use]
pub fn must_live(tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>) -> Statement {
    sql(concat!(
        "select json_extract('{}', iif(exists (
           select 1 from session s
           join user u on u.id = s.user_id and ",
        signs_in!("u"),
        "
           left join session p on p.id = s.parent_id
           where s.tenant_id = ?1 and s.token_hash = ?2 and s.revoked_at is null and p.revoked_at is null),
         '$', 'doorward:broken:session')) as row"
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
         from verification v join session s on s.id = v.identifier join user u on u.id = s.user_id join tenant t on t.id = s.tenant_id
         where v.tenant_id = ?1 and v.kind = 'one_time_token' and v.token_hash = ?2
           and s.revoked_at is null and s.expires_at > ?3 and u.status = 'active'
           and s.updated_at + 1000 * coalesce(json_extract(t.security_policy, '$.session.sessionTimeout'), 3155760000) > ?3")
    .bind(&context.tenant().id)
    .bind(hash)
    .bind(context.now)
}

/// Prolongs a session and the one that it hangs on, each as its own tenant's policy lets it: a website's tenant has no say
/// in the life of what was opened in another.
#[must_use]
pub fn prolong(context: &Context, id: &Id<Session>, parent: Option<&Id<Session>>) -> Statement {
    sql("update session set updated_at = ?4,
           expires_at = ?4 + 1000 * coalesce((select json_extract(security_policy, '$.session.sessionTimeout') from tenant
                                              where id = session.tenant_id), ?5)
         where ((tenant_id = ?1 and id = ?2) or id = ?3) and is_remembered = 1 and revoked_at is null and expires_at > ?4
           and coalesce((select json_extract(security_policy, '$.session.extendOnActivity') from tenant
                         where id = session.tenant_id), 1)")
    .bind(&context.tenant().id)
    .bind(id)
    .bind(parent)
    .bind(context.now)
    .bind(context.config.session_seconds)
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
    /// Group.
    pub active_group_id: Option<Id<Group>>,
    /// The administrator behind an impersonation.
    pub impersonated_by: Option<Id<User>>,
    /// Opening.
    pub created_at: Millis,
    /// Last prolongation.
    pub updated_at: Millis,
    /// End.
    pub expires_at: Millis,
}

impl Listed {
    /// As the protocol shows it.
    #[must_use]
    pub fn json(&self) -> SessionJson<'_> {
        SessionJson {
            id: self.id.as_str(),
            token: self.id.as_str(),
            user_id: self.user_id.as_str(),
            expires_at: iso(self.expires_at),
            created_at: iso(self.created_at),
            updated_at: iso(self.updated_at),
            ip_address: self.ip_address.as_deref(),
            user_agent: self.user_agent.as_deref(),
            active_organization_id: self.active_tenant_id.as_ref().map(Id::as_str),
            active_team_id: self.active_group_id.as_ref().map(Id::as_str),
            must_enrol_second_factor: None,
            impersonated_by: self.impersonated_by.as_ref().map(Id::as_str),
        }
    }
}

/// A user's live sessions on the auth host, the newest first.
#[must_use]
pub fn list(tenant: &Id<Tenant>, user: &Id<User>, now: Millis) -> Statement {
    sql("select json_object('id', id, 'user_id', user_id, 'ip_address', ip_address, 'user_agent', user_agent,
                            'active_tenant_id', active_tenant_id, 'active_group_id', active_group_id, 'impersonated_by', impersonated_by,
                            'created_at', created_at, 'updated_at', updated_at,
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
/// so that KV forgets them too. Whoever ends more than one ends those as well in which the user acts as somebody else. The
/// sessions need not be of this tenant: a user of the shared pool has one identity,
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
         where id in (select id from session where user_id = ?1 and revoked_at is null
                      union all
                      select id from session where impersonated_by = ?1 and ?2 is null and revoked_at is null)
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

/// Ends the session of a token, the one that it hangs on, and all others that hang on that; answers the hashes of their
/// tokens.
#[must_use]
pub fn end_family(context: &Context, hash: &TokenHash<SessionToken>, reason: &str) -> Statement {
    sql("update session set revoked_at = ?4, revocation_reason = ?3, updated_at = ?4
         where revoked_at is null
           and id in (with first as (select coalesce(parent_id, id) as id from session where tenant_id = ?1 and token_hash = ?2)
                      select id from first union all select s.id from session s join first on s.parent_id = first.id)
         returning json_quote(token_hash) as row")
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

/// Revokes whatever clients have in a user's name, codes included; with `if_password`, only if that is the hash of their
/// password now: whoever loses the race to change it ends nothing. The tokens need not be of this tenant: a user of the
/// shared pool has one password everywhere.
#[must_use]
pub fn revoke_user(context: &Context, user: &Id<User>, reason: &str, if_password: Option<&str>) -> [Statement; 2] {
    [
        sql(
            "update oauth_token set revoked_at = ?2, revocation_reason = ?3, updated_at = ?2
             where user_id = ?1 and revoked_at is null
               and (?4 is null
                    or exists (select 1 from account where user_id = ?1 and issuer_id is null and password_hash = ?4))",
        )
        .bind(user)
        .bind(context.now)
        .bind(reason)
        .bind(if_password),
        sql(
            "update oauth_grant set used_at = ?2, updated_at = ?2
             where user_id = ?1 and used_at is null
               and (?3 is null
                    or exists (select 1 from account where user_id = ?1 and issuer_id is null and password_hash = ?3))",
        )
        .bind(user)
        .bind(context.now)
        .bind(if_password),
    ]
}
