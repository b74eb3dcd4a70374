-- The provider: clients known by a certificate, tokens bound to a key, what is told to clients when a session ends.

-- A check cannot be changed, and a table that others refer to cannot be made anew without their rows: the column is.
alter table oauth_client rename column token_endpoint_auth_method to former_auth_method;
alter table oauth_client add column token_endpoint_auth_method text not null default 'client_secret_basic'
  check (token_endpoint_auth_method in
    ('none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth'));
update oauth_client set token_endpoint_auth_method = former_auth_method;
alter table oauth_client drop column former_auth_method;

-- The rest of a client's metadata (RFC 7591 and those that extend it), by its members' own names.
alter table oauth_client add column details text not null default '{}' check (json_valid(details));
alter table oauth_client add column backchannel_logout_uri text;
alter table oauth_client add column frontchannel_logout_uri text;
-- What a client that registered itself reads and changes its own registration with (RFC 7592).
alter table oauth_client add column registration_token_hash text;
create unique index oauth_client_registration_token_hash on oauth_client (registration_token_hash)
  where registration_token_hash is not null;
-- A client whose client_id is the address of its metadata: when that was last read.
alter table oauth_client add column document_read_at integer;

-- The key that a token is bound to (RFC 7800): `jkt` (RFC 9449), `x5t#S256` (RFC 8705). Null: whoever has it.
alter table oauth_token add column cnf text check (json_valid(cnf));
-- Who acts for the user (RFC 8693, section 4.1).
alter table oauth_token add column act text check (json_valid(act));
-- The client whose user's token it was exchanged for, however often: what is worth nothing there is worth nothing here.
alter table oauth_token add column origin_client_id text references oauth_client (id) on delete cascade;
create index oauth_token_origin_client_id on oauth_token (origin_client_id) where origin_client_id is not null;
-- Whether it outlives the session that it came of: by what was granted, and not by the part of it that this one is for.
alter table oauth_token add column is_offline integer not null default 0 check (is_offline in (0, 1));
update oauth_token set is_offline = 1 where ' ' || scope || ' ' like '% offline_access %';
-- Claims that the client asked for one by one (OpenID Connect Core 1.0, section 5.5).
alter table oauth_token add column requested_claims text check (json_valid(requested_claims));

alter table outbox rename column kind to former_kind;
alter table outbox add column kind text not null default 'mail' check (kind in ('mail', 'webhook', 'logout'));
update outbox set kind = former_kind;
alter table outbox drop column former_kind;
-- What is no secret: which client is told of which session.
alter table outbox add column payload text check (json_valid(payload));

-- Sessions end in many places: whichever it is, every client of the session is told (OpenID Connect Back-Channel Logout
-- 1.0), and if the batch fails nobody is.
create trigger session_revoked after update of revoked_at on session
when new.revoked_at is not null and old.revoked_at is null
begin
  insert into outbox (id, tenant_id, kind, recipient, payload_sealed, payload, next_attempt_at, created_at, updated_at)
  select lower(hex(randomblob(16))), s.tenant_id, 'logout', c.backchannel_logout_uri, '',
         json_object('client', c.id, 'session', new.id, 'user', new.user_id), new.revoked_at, new.revoked_at, new.revoked_at
  from session_client s join oauth_client c on c.id = s.client_id
  where s.session_id = new.id and c.backchannel_logout_uri is not null;
  -- A code or a device that was agreed to in it, and comes now, comes too late.
  update oauth_grant set used_at = new.revoked_at, updated_at = new.revoked_at where session_id = new.id and used_at is null;
end;
-- A client is its owner's, or, without one, its tenant's. Until now user_id was the administrator who made it, and null where
-- it had registered itself: nobody vouches for that one, and nobody has a token to change it by.
update oauth_client set registration_token_hash = 'none: ' || id where user_id is null;
update oauth_client set user_id = null;

-- What clients of a pairwise subject type know users and sessions by follows from it: whoever knows the ids alone cannot tell.
alter table tenant add column pairwise_salt text;
update tenant set pairwise_salt = lower(hex(randomblob(32)));
create trigger tenant_created after insert on tenant
begin
  update tenant set pairwise_salt = lower(hex(randomblob(32))) where id = new.id;
end;

-- Which clients were signed in to by a session: kept for as long as the session, which tokens are not.
create table session_client (
  session_id text not null references session (id) on delete cascade,
  client_id  text not null references oauth_client (id) on delete cascade,
  tenant_id  text not null references tenant (id) on delete cascade,
  created_at integer not null,
  primary key (session_id, client_id)
) strict, without rowid;
create index session_client_client_id on session_client (client_id);
create index session_client_tenant_id on session_client (tenant_id);
insert into session_client (session_id, client_id, tenant_id, created_at)
select session_id, client_id, tenant_id, min(created_at) from oauth_token where session_id is not null group by session_id, client_id;

-- The resources that there are.
create index oauth_client_resource on oauth_client (tenant_id) where details ->> '$.resource' is not null;

-- A user who is deleted takes sessions and tokens along. Nobody looks after their clients any more.
create trigger user_deleted before delete on user
begin
  insert into outbox (id, tenant_id, kind, recipient, payload_sealed, payload, next_attempt_at, created_at, updated_at)
  select lower(hex(randomblob(16))), k.tenant_id, 'logout', c.backchannel_logout_uri, '',
         json_object('client', c.id, 'session', s.id, 'user', old.id),
         unixepoch() * 1000, unixepoch() * 1000, unixepoch() * 1000
  from session s join session_client k on k.session_id = s.id join oauth_client c on c.id = k.client_id
  where s.user_id = old.id and s.revoked_at is null and c.backchannel_logout_uri is not null;
  update oauth_client set disabled = 1, updated_at = unixepoch() * 1000 where user_id = old.id;
end;
