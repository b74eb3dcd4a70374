-- Tenants, the hosts they answer on, the people, and who belongs where with which role.

create table tenant (
  id                     text primary key,
  name                   text not null,
  slug                   text not null unique check (slug = lower(slug) and length(slug) between 1 and 63),
  -- 'shared': users are global and join by membership; 'isolated': users belong to this tenant alone.
  user_pool              text not null default 'shared' check (user_pool in ('shared', 'isolated')),
  -- The D1 binding that holds the tenant's own data; null is the main database.
  database               text unique,
  status                 text not null default 'active' check (status in ('active', 'suspended', 'pending_deletion')),
  deletion_requested_at  integer,
  deletion_scheduled_at  integer,
  grace_period_days      integer not null default 7 check (grace_period_days between 0 and 365),
  logo                   text,
  colors                 text not null default '{}' check (json_valid(colors)),
  features               text not null default '{}' check (json_valid(features)),
  feature_flags          text not null default '{}' check (json_valid(feature_flags)),
  settings               text not null default '{}' check (json_valid(settings)),
  metadata               text not null default '{}' check (json_valid(metadata)),
  security_policy        text not null default '{}' check (json_valid(security_policy)),
  onboarding_status      text not null default 'pending' check (onboarding_status in ('pending', 'in_progress', 'completed')),
  created_at             integer not null,
  updated_at             integer not null,
  check ((status = 'pending_deletion') = (deletion_scheduled_at is not null))
) strict;
create index tenant_status on tenant (status);
create index tenant_deletion_scheduled_at on tenant (deletion_scheduled_at) where deletion_scheduled_at is not null;

create table tenant_domain (
  id          text primary key,
  tenant_id   text not null references tenant (id) on delete cascade,
  -- Lower-case host name, without port.
  host        text not null unique check (host = lower(host)),
  is_primary  integer not null default 0 check (is_primary in (0, 1)),
  verified_at integer,
  created_at  integer not null,
  updated_at  integer not null
) strict;
create index tenant_domain_tenant_id on tenant_domain (tenant_id);
create unique index tenant_domain_primary on tenant_domain (tenant_id) where is_primary = 1;

create table user (
  id                     text primary key,
  -- null: the shared pool; otherwise the isolated tenant that the user belongs to.
  tenant_id              text references tenant (id) on delete cascade,
  email                  text not null check (email = lower(email)),
  email_verified         integer not null default 0 check (email_verified in (0, 1)),
  name                   text not null,
  first_name             text,
  last_name              text,
  image                  text,
  username               text check (username = lower(username)),
  display_username       text,
  phone_number           text,
  phone_number_verified  integer not null default 0 check (phone_number_verified in (0, 1)),
  -- The application's own id for the person.
  external_id            text,
  is_anonymous           integer not null default 0 check (is_anonymous in (0, 1)),
  status                 text not null default 'active' check (status in ('active', 'inactive', 'suspended', 'deleted')),
  status_reason          text,
  status_changed_at      integer,
  status_changed_by      text references user (id) on delete set null,
  -- A suspension that ends by itself; null is until lifted.
  suspended_until        integer,
  deactivated_at         integer,
  deactivated_by         text references user (id) on delete set null,
  deactivation_reason    text,
  deleted_at             integer,
  deleted_by             text references user (id) on delete set null,
  -- Consecutive failures; a sign-in sets it to zero.
  failed_login_count     integer not null default 0 check (failed_login_count >= 0),
  last_failed_login_at   integer,
  locked_until           integer,
  last_login_at          integer,
  login_count            integer not null default 0 check (login_count >= 0),
  last_active_at         integer,
  -- phoneNumber, address, timezone, language, bio, socialLinks, skills, title, department
  profile                text not null default '{}' check (json_valid(profile)),
  preferences            text not null default '{}' check (json_valid(preferences)),
  email_preferences      text not null default '{"marketing":true,"updates":true,"security":true,"newsletter":false}' check (json_valid(email_preferences)),
  metadata               text not null default '{}' check (json_valid(metadata)),
  created_at             integer not null,
  updated_at             integer not null,
  check ((status = 'deleted') = (deleted_at is not null))
) strict;
-- One address, name or number in a pool; a deleted user frees theirs. Two partial indexes each,
-- because SQL holds two nulls to be different and the shared pool is tenant_id null.
create unique index user_shared_email on user (email) where tenant_id is null and deleted_at is null;
create unique index user_isolated_email on user (tenant_id, email) where tenant_id is not null and deleted_at is null;
create unique index user_shared_username on user (username) where tenant_id is null and deleted_at is null and username is not null;
create unique index user_isolated_username on user (tenant_id, username) where tenant_id is not null and deleted_at is null and username is not null;
create unique index user_shared_phone_number on user (phone_number) where tenant_id is null and deleted_at is null and phone_number is not null;
create unique index user_isolated_phone_number on user (tenant_id, phone_number) where tenant_id is not null and deleted_at is null and phone_number is not null;
create index user_tenant_id on user (tenant_id) where tenant_id is not null;
create index user_external_id on user (external_id) where external_id is not null;
create index user_status on user (status);
create index user_status_changed_by on user (status_changed_by) where status_changed_by is not null;
create index user_deactivated_by on user (deactivated_by) where deactivated_by is not null;
create index user_deleted_by on user (deleted_by) where deleted_by is not null;
create index user_deleted_at on user (deleted_at) where deleted_at is not null;

create table role (
  id          text primary key,
  -- null: a system role, above tenants.
  tenant_id   text references tenant (id) on delete cascade,
  name        text not null,
  description text,
  -- A system role cannot be deleted.
  is_system   integer not null default 0 check (is_system in (0, 1)),
  -- Given to whoever joins.
  is_default  integer not null default 0 check (is_default in (0, 1)),
  is_active   integer not null default 1 check (is_active in (0, 1)),
  scopes      text not null default '[]' check (json_valid(scopes)),
  created_at  integer not null,
  updated_at  integer not null,
  check (tenant_id is not null or is_system = 1)
) strict;
create unique index role_system_name on role (name) where tenant_id is null;
create unique index role_tenant_name on role (tenant_id, name) where tenant_id is not null;

create table member (
  id         text primary key,
  tenant_id  text not null references tenant (id) on delete cascade,
  user_id    text not null references user (id) on delete cascade,
  status     text not null default 'active' check (status in ('active', 'inactive')),
  created_by text references user (id) on delete set null,
  created_at integer not null,
  updated_at integer not null,
  unique (tenant_id, user_id)
) strict;
create index member_user_id on member (user_id);
create index member_created_by on member (created_by) where created_by is not null;

create table member_role (
  member_id  text not null references member (id) on delete cascade,
  role_id    text not null references role (id) on delete cascade,
  created_by text references user (id) on delete set null,
  created_at integer not null,
  primary key (member_id, role_id)
) strict, without rowid;
create index member_role_role_id on member_role (role_id);
create index member_role_created_by on member_role (created_by) where created_by is not null;

-- The default tenant answers on the auth host and wherever no other tenant is named.
insert into tenant (id, name, slug, created_at, updated_at)
values ('00000000-0000-7000-8000-000000000001', 'Default', 'default', 0, 0);

insert into role (id, tenant_id, name, description, is_system, is_default, created_at, updated_at) values
  ('00000000-0000-7000-8000-000000000011', null, 'owner', 'Everything in the tenant, its deletion included', 1, 0, 0, 0),
  ('00000000-0000-7000-8000-000000000012', null, 'admin', 'Administers the tenant', 1, 0, 0, 0),
  ('00000000-0000-7000-8000-000000000013', null, 'member', 'Belongs to the tenant', 1, 1, 0, 0);
