//! `session`: the registry and the truth.

use serde::Deserialize;

use crate::access::action::Permit;
use crate::platform::d1::{Answers, Database, Statement, Stored};
use crate::platform::id::{App, Group, Id, Millis, Session, Tenant, User};
use crate::platform::secret::{OneTime, SessionToken, TokenHash, TrustedDevice};
use crate::platform::sql::sql;
use crate::platform::time::iso;
use crate::request::context::Context;
use crate::session::live_session::{SessionRecord, UNREMEMBERED_SECONDS};
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
    sql!(
        "insert into session
           (id, token_hash, user_id, tenant_id, login_method, amr, authenticated_at, is_remembered, ip_address, user_agent,
            location, last_activity_at, trusted_device_id, expires_at, created_at, updated_at)
         select :id, :hash, :user_id, :tenant, :login_method, :amr, :authenticated_at, :is_remembered, :ip, :user_agent, :location, :now,
                (select id from trusted_device
                 where :asks_second_factor and user_id = :user_id and token_hash = :trusted_device and revoked_at is null and expires_at > :now),
                min(:now + 1000 * coalesce((select json_extract(security_policy, '$.session.sessionTimeout') from tenant where id = :tenant), :session_seconds),
                    iif(:is_remembered, 9e15, :now + 1000 * :unremembered_seconds),
                    coalesce((select expires_at from session where id = :while_session), 9e15)),
                :now, :now
         where (:while_password is null
                or exists (select 1 from account where user_id = :user_id and issuer_id is null and password_hash = :while_password))
           and (:claim is null or exists (select 1 from verification where id = :claim and used_by = :id))
           and (:replaces is null or exists (select 1 from session where id = :replaces and revocation_reason = 'replaced by ' || :id))
           and (:while_session is null or exists (select 1 from session where id = :while_session and revoked_at is null and expires_at > :now))
           and (:while_email is null or exists (select 1 from user where id = :user_id and email = :while_email))
           and (not :asks_second_factor
                or not exists (select 1 from two_factor where user_id = :user_id and verified_at is not null)
                or (coalesce((select json_extract(security_policy, '$.twoFactor.allowRememberDevice') from tenant where id = :tenant), 1)
                    and exists (select 1 from trusted_device
                                where user_id = :user_id and token_hash = :trusted_device and revoked_at is null and expires_at > :now)))",
        tenant = &context.tenant().id,
        id = new.id,
        hash = new.hash,
        user_id = new.user_id,
        login_method = new.login_method,
        amr = new.amr,
        is_remembered = new.is_remembered,
        ip = &client.ip,
        user_agent = &client.user_agent,
        location = client.location.as_ref(),
        now = context.now,
        session_seconds = context.config.session_seconds,
        while_password = new.while_password,
        authenticated_at = new.authenticated_at,
        claim = new.claim,
        asks_second_factor = new.asks_second_factor,
        trusted_device = new.trusted_device,
        while_email = new.while_email,
        replaces = new.replaces,
        while_session = new.while_session,
        unremembered_seconds = UNREMEMBERED_SECONDS
    )
}

/// Ends the oldest sessions of a user whose new one is more than the tenant's policy allows, and those that hang on them;
/// answers the hashes of their tokens. Nothing if the new one was not opened.
#[must_use]
pub fn end_surplus(context: &Context, user: &Id<User>, new: &Id<Session>) -> Statement {
    sql!(
        "update session set revoked_at = :now, revocation_reason = 'too_many_sessions', updated_at = :now
         where revoked_at is null and user_id = :user
           and exists (select 1 from session where id = :new)
           and coalesce(parent_id, id) in (
             select id from session
             where user_id = :user and tenant_id = :tenant and parent_id is null and impersonated_by is null
               and revoked_at is null and expires_at > :now
             order by id = :new desc, created_at desc, id desc
             limit -1 offset (select coalesce(json_extract(security_policy, '$.session.maxConcurrentSessions'), 1000000000)
                              from tenant where id = :tenant))
         returning json_quote(token_hash) as row",
        tenant = &context.tenant().id,
        user,
        new,
        now = context.now
    )
}

/// The same for all of a tenant's users, whose policy allows fewer than it did.
#[must_use]
pub fn end_all_surplus(tenant: &Id<Tenant>, now: Millis) -> Statement {
    sql!(
        "update session set revoked_at = :now, revocation_reason = 'too_many_sessions', updated_at = :now
         where tenant_id = :tenant and revoked_at is null
           and coalesce(parent_id, id) in (
             select id from (
               select id, row_number() over (partition by user_id order by created_at desc, id desc) as place from session
               where tenant_id = :tenant and parent_id is null and impersonated_by is null and revoked_at is null and expires_at > :now)
             where place > (select coalesce(json_extract(security_policy, '$.session.maxConcurrentSessions'), 1000000000)
                            from tenant where id = :tenant))
         returning json_quote(token_hash) as row",
        tenant,
        now
    )
}

/// Counts a sign-in without a second factor in every tenant of the user's that asks for one, if the session was opened.
#[must_use]
pub fn count_grace(context: &Context, user: &Id<User>, session: &Id<Session>) -> Statement {
    sql!(
        concat!(
        "update member set second_factor_required_at = coalesce(second_factor_required_at, :now),
                           second_factor_grace_logins = second_factor_grace_logins + 1
         where user_id = :user and exists (select 1 from session where id = :session)
           and not exists (select 1 from two_factor where user_id = :user and verified_at is not null)
           and exists (select 1 from tenant t
                       where t.id = member.tenant_id and json_extract(t.security_policy, '$.twoFactor.required') = 1
                         and coalesce(iif(json_type(t.security_policy, '$.twoFactor.enforcementDate') = 'integer',
                                          json_extract(t.security_policy, '$.twoFactor.enforcementDate'),
                                          unixepoch(json_extract(t.security_policy, '$.twoFactor.enforcementDate')) * 1000), 0) <= :now
                         and not exists (select 1 from json_each(t.security_policy, '$.twoFactor.exemptRoles') e
                                         join role r on r.name = e.value and r.is_active = 1
                                         where r.id in (",
        role_ids!("member"),
        ")))"
    ),
        user,
        session,
        now = context.now
    )
}

/// Notes when a second factor was first asked of a member: their days of grace begin then.
#[must_use]
pub fn begin_grace(tenant: &Id<Tenant>, user: &Id<User>, now: Millis) -> Statement {
    sql!(
        "update member set second_factor_required_at = :now
         where tenant_id = :tenant and user_id = :user and second_factor_required_at is null",
        tenant,
        user,
        now
    )
}

/// Ends the sessions in which a user acts as somebody else.
#[must_use]
pub fn end_impersonations(context: &Context, user: &Id<User>) -> Statement {
    sql!(
        "update session set revoked_at = :now, revocation_reason = 'roles changed', updated_at = :now
         where impersonated_by = :user and revoked_at is null",
        user,
        now = context.now
    )
}

/// Takes back a session that was opened and does not hold: nobody had it.
#[must_use]
pub fn discard(tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>) -> Statement {
    sql!("delete from session where tenant_id = :tenant and token_hash = :hash", tenant, hash)
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
    sql!(
        "insert into session
           (id, token_hash, user_id, tenant_id, impersonated_by, login_method, amr, authenticated_at, is_remembered, ip_address,
            user_agent, location, last_activity_at, expires_at, created_at, updated_at)
         values (:id, :hash, :user, :tenant, :actor, 'impersonation', '[]', :now, 0, :ip, :user_agent, :location, :now, :expires_at, :now, :now)",
        tenant = permit.tenant(),
        id,
        hash,
        user,
        actor = permit.actor(),
        now = context.now,
        ip = &client.ip,
        user_agent = &client.user_agent,
        location = client.location.as_ref(),
        expires_at = context.now + seconds * 1000
    )
}

/// Ends a session in favour of another, which is named as the reason.
#[must_use]
pub fn replace(context: &Context, user: &Id<User>, old: &Id<Session>, new: &Id<Session>) -> Statement {
    sql!(
        "update session set revoked_at = :now, revocation_reason = 'replaced by ' || :new, updated_at = :now
         where user_id = :user and id = :old and revoked_at is null",
        user,
        old,
        new,
        now = context.now
    )
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
    sql!(
        "insert into session
           (id, token_hash, user_id, tenant_id, parent_id, proxied_app_id, impersonated_by, login_method, amr, authenticated_at,
            is_remembered, ip_address, user_agent, location, last_activity_at, expires_at, created_at, updated_at)
         select :id, :hash, s.user_id, :tenant, s.id, :app, s.impersonated_by, s.login_method, s.amr, s.authenticated_at, s.is_remembered,
                :ip, :user_agent, :location, :now,
                iif(s.impersonated_by is null,
                    min(:now + 1000 * coalesce(json_extract(t.security_policy, '$.session.sessionTimeout'), :session_seconds),
                        iif(s.is_remembered, 9e15, s.expires_at)), s.expires_at), :now, :now
         from session s join user u on u.id = s.user_id join tenant t on t.id = :tenant join tenant o on o.id = s.tenant_id
         where s.id = :parent and s.parent_id is null and s.revoked_at is null and s.expires_at > :now
           and s.updated_at + 1000 * coalesce(json_extract(o.security_policy, '$.session.sessionTimeout'), 3155760000) > :now
           and u.tenant_id is iif(t.user_pool = 'isolated', t.id, null)",
        tenant = &context.tenant().id,
        id,
        hash,
        app,
        parent,
        ip = &client.ip,
        user_agent = &client.user_agent,
        location = client.location.as_ref(),
        now = context.now,
        session_seconds = context.config.session_seconds
    )
}

/// A session with its user, tenant and roles, by its token's hash.
#[must_use]
pub fn load(tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>) -> Statement {
    sql!(
        concat!(
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
         where s.tenant_id = :tenant and s.token_hash = :hash"
    ),
        tenant,
        hash
    )
}

/// Fails, and the whole batch with it, unless the session of a token holds: what a request writes in a session's name is
/// held to it ([`Database::hold_to`](crate::platform::d1::Database::hold_to)). Its end in time is not asked: that was when the request came.
#[must_use]
pub fn must_live(tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>) -> Statement {
    sql!(
        concat!(
            "select json_extract('{}', iif(exists (
           select 1 from session s
           join user u on u.id = s.user_id and ",
            signs_in!("u"),
            "
           left join session p on p.id = s.parent_id
           where s.tenant_id = :tenant and s.token_hash = :hash and s.revoked_at is null and p.revoked_at is null),
         '$', 'doorward:broken:session')) as row"
        ),
        tenant,
        hash
    )
}

/// Reads what [`load`] answered.
///
/// # Errors
/// If the row cannot be.
pub fn read(answers: &mut Answers) -> Stored<Option<SessionRecord>> {
    answers.row()
}

/// The session that a one-time token carries, if it still holds.
#[must_use]
pub fn bound(context: &Context, hash: &TokenHash<OneTime>) -> Statement {
    sql!(
        "select json_quote(s.id) as row
         from verification v join session s on s.id = v.identifier join user u on u.id = s.user_id join tenant t on t.id = s.tenant_id
         where v.tenant_id = :tenant and v.kind = 'one_time_token' and v.token_hash = :hash
           and s.revoked_at is null and s.expires_at > :now and u.status = 'active'
           and s.updated_at + 1000 * coalesce(json_extract(t.security_policy, '$.session.sessionTimeout'), 3155760000) > :now",
        tenant = &context.tenant().id,
        hash,
        now = context.now
    )
}

/// Prolongs a session and the one that it hangs on, each as its own tenant's policy lets it: a website's tenant has no say
/// in the life of what was opened in another.
#[must_use]
pub fn prolong(context: &Context, id: &Id<Session>, parent: Option<&Id<Session>>) -> Statement {
    sql!(
        "update session set updated_at = :now,
           expires_at = :now + 1000 * coalesce((select json_extract(security_policy, '$.session.sessionTimeout') from tenant
                                              where id = session.tenant_id), :session_seconds)
         where ((tenant_id = :tenant and id = :id) or id = :parent) and is_remembered = 1 and revoked_at is null and expires_at > :now
           and coalesce((select json_extract(security_policy, '$.session.extendOnActivity') from tenant
                         where id = session.tenant_id), 1)",
        tenant = &context.tenant().id,
        id,
        parent,
        now = context.now,
        session_seconds = context.config.session_seconds
    )
}

/// A session, as its user sees it in a list.
#[derive(Debug, Deserialize)]
pub struct ListedSession {
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

impl ListedSession {
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
    sql!(
        "select json_object('id', id, 'user_id', user_id, 'ip_address', ip_address, 'user_agent', user_agent,
                            'active_tenant_id', active_tenant_id, 'active_group_id', active_group_id, 'impersonated_by', impersonated_by,
                            'created_at', created_at, 'updated_at', updated_at,
                            'expires_at', expires_at) as row
         from session
         where tenant_id = :tenant and user_id = :user and parent_id is null and revoked_at is null and expires_at > :now
         order by created_at desc, id desc limit 100",
        tenant,
        user,
        now
    )
}

/// Which of a user's sessions to end.
#[derive(Clone, Copy)]
pub enum WhichSessions<'a> {
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
    which: WhichSessions<'_>,
    reason: &str,
    if_password: Option<&str>,
) -> Statement {
    let (one, but) = match which {
        WhichSessions::One(id) => (Some(id), None),
        WhichSessions::AllBut(id) => (None, Some(id)),
        WhichSessions::All => (None, None),
    };
    sql!(
        "update session set revoked_at = :now, revocation_reason = :reason, updated_at = :now
         where id in (select id from session where user_id = :user and revoked_at is null
                      union all
                      select id from session where impersonated_by = :user and :one is null and revoked_at is null)
           and (:one is null or coalesce(parent_id, id) = :one)
           and (:but is null or coalesce(parent_id, id) <> :but)
           and (:if_password is null
                or exists (select 1 from account where user_id = :user and issuer_id is null and password_hash = :if_password))
         returning json_quote(token_hash) as row",
        user,
        one,
        but,
        reason,
        now = context.now,
        if_password
    )
}

/// Ends the session of a token, and those of protected hosts that hang on it.
#[must_use]
pub fn end(context: &Context, hash: &TokenHash<SessionToken>, reason: &str) -> Statement {
    sql!(
        "update session set revoked_at = :now, revocation_reason = :reason, updated_at = :now
         where tenant_id = :tenant and revoked_at is null
           and (token_hash = :hash or parent_id = (select id from session where tenant_id = :tenant and token_hash = :hash))",
        tenant = &context.tenant().id,
        hash,
        reason,
        now = context.now
    )
}

/// Ends the session of a token, the one that it hangs on, and all others that hang on that; answers the hashes of their
/// tokens.
#[must_use]
pub fn end_family(context: &Context, hash: &TokenHash<SessionToken>, reason: &str) -> Statement {
    sql!(
        "update session set revoked_at = :now, revocation_reason = :reason, updated_at = :now
         where revoked_at is null
           and id in (with first as (select coalesce(parent_id, id) as id from session where tenant_id = :tenant and token_hash = :hash)
                      select id from first union all select s.id from session s join first on s.parent_id = first.id)
         returning json_quote(token_hash) as row",
        tenant = &context.tenant().id,
        hash,
        reason,
        now = context.now
    )
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
pub async fn find(db: &Database, tenant: &Id<Tenant>, hash: &TokenHash<SessionToken>) -> Stored<Option<SessionRecord>> {
    db.first(load(tenant, hash)).await
}

/// Revokes whatever clients have in a user's name, codes included; with `if_password`, only if that is the hash of their
/// password now: whoever loses the race to change it ends nothing. The tokens need not be of this tenant: a user of the
/// shared pool has one password everywhere.
#[must_use]
pub fn revoke_user(context: &Context, user: &Id<User>, reason: &str, if_password: Option<&str>) -> [Statement; 2] {
    [
        sql!(
            "update oauth_token set revoked_at = :now, revocation_reason = :reason, updated_at = :now
             where user_id = :user and revoked_at is null
               and (:if_password is null
                    or exists (select 1 from account where user_id = :user and issuer_id is null and password_hash = :if_password))",
            user,
            now = context.now,
            reason,
            if_password
        ),
        sql!(
            "update oauth_grant set used_at = :now, updated_at = :now
             where user_id = :user and used_at is null
               and (:if_password is null
                    or exists (select 1 from account where user_id = :user and issuer_id is null and password_hash = :if_password))",
            user,
            now = context.now,
            if_password
        ),
    ]
}
