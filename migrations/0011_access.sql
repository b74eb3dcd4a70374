-- What roles allow, groups, invitations, keys for programs, and what a tenant's security policy has to remember.

create table permission (
  id          text primary key,
  -- null: known to every tenant; what is the server's own is named there, and no tenant adds to it.
  tenant_id   text references tenant (id) on delete cascade,
  name        text not null,
  description text,
  resource    text not null check (length(resource) between 1 and 64),
  action      text not null check (length(action) between 1 and 64),
  created_at  integer not null,
  updated_at  integer not null
) strict;
create unique index permission_system on permission (resource, action) where tenant_id is null;
create unique index permission_tenant on permission (tenant_id, resource, action) where tenant_id is not null;

create table role_permission (
  role_id       text not null references role (id) on delete cascade,
  permission_id text not null references permission (id) on delete cascade,
  created_at    integer not null,
  primary key (role_id, permission_id)
) strict, without rowid;
create index role_permission_permission_id on role_permission (permission_id);

insert into permission (id, name, description, resource, action, created_at, updated_at)
select '00000000-0000-7000-8001-' || printf('%012x', row_number() over ()), column1 || ':' || column2, column3, column1, column2, 0, 0
from (values
  ('*', '*', 'Everything in the tenant'),
  ('organization', 'update', 'Name, slug, logo, metadata and settings'),
  ('organization', 'delete', 'Schedule the deletion of the tenant, and undo it'),
  ('member', 'create', 'Add members'),
  ('member', 'update', 'Change the roles of members'),
  ('member', 'delete', 'Remove members'),
  ('invitation', 'create', 'Invite'),
  ('invitation', 'cancel', 'Cancel invitations'),
  ('team', 'create', 'Make groups'),
  ('team', 'update', 'Change groups and who is in them'),
  ('team', 'delete', 'Delete groups'),
  ('ac', 'create', 'Make roles'),
  ('ac', 'read', 'See roles and what they allow'),
  ('ac', 'update', 'Change roles'),
  ('ac', 'delete', 'Delete roles'),
  ('policy', 'read', 'See the security policy'),
  ('policy', 'update', 'Change the security policy'),
  ('apiKey', 'create', 'Make keys of the tenant'),
  ('apiKey', 'read', 'See keys of the tenant'),
  ('apiKey', 'update', 'Change keys of the tenant'),
  ('apiKey', 'delete', 'Delete keys of the tenant'),
  ('user', 'create', 'Make users'),
  ('user', 'list', 'List and search users'),
  ('user', 'get', 'See a user'),
  ('user', 'update', 'Change a user''s profile'),
  ('user', 'set-email', 'Change a user''s address'),
  ('user', 'set-role', 'Change a user''s roles'),
  ('user', 'set-password', 'Set a user''s password'),
  ('user', 'ban', 'Suspend users, deactivate them and take it back'),
  ('user', 'impersonate', 'Act as a user'),
  ('user', 'impersonate-admins', 'Act as a user who administers'),
  ('user', 'delete', 'Delete users'),
  ('session', 'list', 'See a user''s sessions'),
  ('session', 'revoke', 'End a user''s sessions'),
  ('session', 'delete', 'End a user''s sessions'),
  ('issuer', 'manage', 'Connect upstream issuers'),
  ('client', 'manage', 'Register relying parties'),
  ('tenant', 'manage', 'Make, suspend and delete tenants'));

-- The owner holds everything that there is, and that tenants make up; an administrator what is named here.
insert into role_permission (role_id, permission_id, created_at)
select r.id, p.id, 0 from role r join permission p on p.tenant_id is null
where r.tenant_id is null and (
  (r.name = 'owner' and p.resource = '*')
  or (r.name = 'admin' and p.resource <> '*' and p.name not in ('organization:delete', 'user:impersonate-admins'))
  or (r.name = 'member' and p.name = 'ac:read'));

-- A tenant with a database of its own has users of its own: those of the shared pool are in the main one.
create index tenant_database on tenant (database) where database is not null;
create trigger tenant_database_is_isolated before insert on tenant when new.database is not null and new.user_pool <> 'isolated'
begin
  select raise(abort, 'a tenant with a database of its own must be isolated');
end;

-- Who changed a tenant's status, and why.
alter table tenant add column status_reason text;
alter table tenant add column status_changed_at integer;
alter table tenant add column status_changed_by text references user (id) on delete set null;
create index tenant_status_changed_by on tenant (status_changed_by) where status_changed_by is not null;
-- Audit outlives the tenant: what it was about stays in its details.
create trigger tenant_deleted before delete on tenant
begin
  update audit_event set details = json_set(iif(json_type(details) = 'object', details, '{}'), '$.tenant', json_object('id', old.id, 'slug', old.slug))
  where tenant_id = old.id;
end;

create table user_group (
  id           text primary key,
  tenant_id    text not null references tenant (id) on delete cascade,
  name         text not null,
  slug         text not null check (slug = lower(slug)),
  description  text,
  group_type   text not null default 'team',
  -- Seen by every member of the tenant; otherwise by its own members and those who may change groups.
  is_public    integer not null default 1 check (is_public in (0, 1)),
  -- Joined by whoever sees it; otherwise by being added.
  is_open      integer not null default 0 check (is_open in (0, 1)),
  -- Not to be deleted or renamed.
  is_system    integer not null default 0 check (is_system in (0, 1)),
  is_active    integer not null default 1 check (is_active in (0, 1)),
  -- Kept by triggers, in the transaction of what changes it.
  member_count integer not null default 0 check (member_count >= 0),
  max_members  integer check (max_members > 0),
  tags         text not null default '[]' check (json_valid(tags)),
  settings     text not null default '{}' check (json_valid(settings)),
  owner_id     text references user (id) on delete set null,
  created_by   text references user (id) on delete set null,
  deleted_at   integer,
  deleted_by   text references user (id) on delete set null,
  created_at   integer not null,
  updated_at   integer not null,
  constraint user_group_max_members check (max_members is null or member_count <= max_members)
) strict;
create unique index user_group_name on user_group (tenant_id, name) where deleted_at is null;
create unique index user_group_slug on user_group (tenant_id, slug) where deleted_at is null;
create index user_group_tenant_id on user_group (tenant_id, created_at, id);
create index user_group_owner_id on user_group (owner_id) where owner_id is not null;
create index user_group_created_by on user_group (created_by) where created_by is not null;
create index user_group_deleted_by on user_group (deleted_by) where deleted_by is not null;
create index user_group_deleted_at on user_group (deleted_at) where deleted_at is not null;

create table user_group_member (
  user_group_id text not null references user_group (id) on delete cascade,
  user_id       text not null references user (id) on delete cascade,
  id            text not null unique,
  role_in_group text not null default 'member' check (role_in_group in ('owner', 'admin', 'member')),
  is_active     integer not null default 1 check (is_active in (0, 1)),
  joined_at     integer not null,
  joined_by     text references user (id) on delete set null,
  primary key (user_group_id, user_id)
) strict, without rowid;
create index user_group_member_user_id on user_group_member (user_id);
create index user_group_member_joined_by on user_group_member (joined_by) where joined_by is not null;
create trigger user_group_joined after insert on user_group_member when new.is_active = 1
begin
  update user_group set member_count = member_count + 1 where id = new.user_group_id;
end;
create trigger user_group_left after delete on user_group_member when old.is_active = 1
begin
  update user_group set member_count = member_count - 1 where id = old.user_group_id;
end;
create trigger user_group_member_changed after update of is_active on user_group_member when new.is_active <> old.is_active
begin
  update user_group set member_count = member_count + iif(new.is_active, 1, -1) where id = new.user_group_id;
end;
-- Whoever leaves the tenant leaves its groups, and so does whoever is deleted.
create trigger member_removed after delete on member
begin
  delete from user_group_member
  where user_id = old.user_id and user_group_id in (select id from user_group where tenant_id = old.tenant_id);
  update user_group set owner_id = null where owner_id = old.user_id and tenant_id = old.tenant_id;
end;
create trigger user_deleted_softly after update of deleted_at on user when new.deleted_at is not null and old.deleted_at is null
begin
  delete from member where user_id = new.id;
end;

-- Roles that whoever is in the group has.
create table user_group_role (
  user_group_id text not null references user_group (id) on delete cascade,
  role_id       text not null references role (id) on delete cascade,
  created_by    text references user (id) on delete set null,
  created_at    integer not null,
  primary key (user_group_id, role_id)
) strict, without rowid;
create index user_group_role_role_id on user_group_role (role_id);
create index user_group_role_created_by on user_group_role (created_by) where created_by is not null;

create table invitation (
  id           text primary key,
  tenant_id    text not null references tenant (id) on delete cascade,
  email        text not null check (email = lower(email)),
  -- SHA-256 of what is mailed: whoever has it reads the address's mail.
  token_hash   text not null unique,
  -- An invitation that ran out is pending, and past expires_at, until cron says so.
  status       text not null default 'pending' check (status in ('pending', 'accepted', 'rejected', 'expired', 'cancelled')),
  expires_at   integer not null,
  invited_by   text references user (id) on delete set null,
  accepted_by  text references user (id) on delete set null,
  accepted_at  integer,
  rejected_at  integer,
  cancelled_at integer,
  cancelled_by text references user (id) on delete set null,
  created_at   integer not null,
  updated_at   integer not null,
  check ((status = 'accepted') = (accepted_at is not null)),
  check ((status = 'rejected') = (rejected_at is not null)),
  check ((status = 'cancelled') = (cancelled_at is not null))
) strict;
create unique index invitation_pending on invitation (tenant_id, email) where status = 'pending';
create index invitation_tenant_id on invitation (tenant_id, created_at);
create index invitation_email on invitation (email, status);
create index invitation_expires_at on invitation (expires_at) where status = 'pending';
create index invitation_invited_by on invitation (invited_by) where invited_by is not null;
create index invitation_accepted_by on invitation (accepted_by) where accepted_by is not null;
create index invitation_cancelled_by on invitation (cancelled_by) where cancelled_by is not null;

-- What whoever accepts is given.
create table invitation_role (
  invitation_id text not null references invitation (id) on delete cascade,
  role_id       text not null references role (id) on delete cascade,
  primary key (invitation_id, role_id)
) strict, without rowid;
create index invitation_role_role_id on invitation_role (role_id);
create table invitation_group (
  invitation_id text not null references invitation (id) on delete cascade,
  user_group_id text not null references user_group (id) on delete cascade,
  primary key (invitation_id, user_group_id)
) strict, without rowid;
create index invitation_group_user_group_id on invitation_group (user_group_id);

create table api_key (
  id                     text primary key,
  tenant_id              text not null references tenant (id) on delete cascade,
  -- null: the tenant's own.
  user_id                text references user (id) on delete cascade,
  created_by             text references user (id) on delete set null,
  config_id              text not null default 'default',
  name                   text,
  prefix                 text,
  -- The first characters, by which its owner tells it from others.
  start                  text not null,
  -- SHA-256 of the whole key.
  key_hash               text not null unique,
  enabled                integer not null default 1 check (enabled in (0, 1)),
  -- {"resource":["action"]}: no more than this, and no more than whose it is may do. Null: what they may do.
  permissions            text check (json_valid(permissions)),
  metadata               text check (json_valid(metadata)),
  -- Uses that are left; null is without end.
  remaining              integer check (remaining >= 0),
  refill_amount          integer,
  -- In milliseconds.
  refill_interval        integer,
  last_refill_at         integer,
  rate_limit_enabled     integer not null default 1 check (rate_limit_enabled in (0, 1)),
  -- In milliseconds.
  rate_limit_time_window integer not null default 86400000 check (rate_limit_time_window > 0),
  rate_limit_max         integer not null default 10 check (rate_limit_max > 0),
  request_count          integer not null default 0,
  window_started_at      integer,
  last_request_at        integer,
  expires_at             integer,
  created_at             integer not null,
  updated_at             integer not null,
  check ((refill_amount is null) = (refill_interval is null))
) strict;
create index api_key_tenant_id on api_key (tenant_id, created_at);
create index api_key_user_id on api_key (user_id, created_at) where user_id is not null;
create index api_key_created_by on api_key (created_by) where created_by is not null;
create index api_key_expires_at on api_key (expires_at) where expires_at is not null;

-- The group that the client works in.
alter table session add column active_group_id text references user_group (id) on delete set null;
create index session_active_group_id on session (active_group_id) where active_group_id is not null;
-- The browser that no second factor was asked in.
alter table session add column trusted_device_id text references trusted_device (id) on delete set null;
create index session_trusted_device_id on session (trusted_device_id) where trusted_device_id is not null;

-- A second factor that the tenant asks for: since when of this member, and how often they came without.
alter table member add column second_factor_required_at integer;
alter table member add column second_factor_grace_logins integer not null default 0;
create index member_tenant_id on member (tenant_id, created_at, id);

-- Lists of users, in their orders.
create index user_shared_created_at on user (created_at, id) where tenant_id is null and deleted_at is null;
create index user_isolated_created_at on user (tenant_id, created_at, id) where tenant_id is not null and deleted_at is null;

-- How many there are, so that a list need not count them. The shared pool's is the default tenant's.
alter table tenant add column user_count integer not null default 0;
alter table tenant add column member_count integer not null default 0;
update tenant set
  member_count = (select count(*) from member where tenant_id = tenant.id),
  user_count = iif(slug = 'default', (select count(*) from user where tenant_id is null and deleted_at is null),
                   (select count(*) from user where tenant_id = tenant.id and deleted_at is null));
create trigger user_counted after insert on user when new.deleted_at is null
begin
  update tenant set user_count = user_count + 1 where id = coalesce(new.tenant_id, '00000000-0000-7000-8000-000000000001');
end;
create trigger user_uncounted after delete on user when old.deleted_at is null
begin
  update tenant set user_count = user_count - 1 where id = coalesce(old.tenant_id, '00000000-0000-7000-8000-000000000001');
end;
create trigger user_deletion_counted after update of deleted_at on user when (new.deleted_at is null) <> (old.deleted_at is null)
begin
  update tenant set user_count = user_count + iif(new.deleted_at is null, 1, -1)
  where id = coalesce(new.tenant_id, '00000000-0000-7000-8000-000000000001');
end;
create trigger member_counted after insert on member
begin
  update tenant set member_count = member_count + 1 where id = new.tenant_id;
end;
create trigger member_uncounted after delete on member
begin
  update tenant set member_count = member_count - 1 where id = old.tenant_id;
end;
