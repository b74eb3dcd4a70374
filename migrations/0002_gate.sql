-- The gate: which host is forwarded where, and who may ask for what there.

create table proxied_app (
  id              text primary key,
  tenant_id       text not null references tenant (id) on delete cascade,
  name            text not null,
  -- Lower-case host name, without port.
  host            text not null unique check (host = lower(host)),
  -- Where requests go: an absolute URL, or the name of a service binding of the Worker.
  -- Neither: only `/forward-auth` is asked about this host.
  origin_url      text,
  service_binding text,
  -- What holds where no rule matches.
  default_access  text not null default 'signed_in' check (default_access in ('public', 'signed_in', 'deny')),
  enabled         integer not null default 1 check (enabled in (0, 1)),
  settings        text not null default '{}' check (json_valid(settings)),
  created_at      integer not null,
  updated_at      integer not null,
  check (origin_url is null or service_binding is null)
) strict;
create index proxied_app_tenant_id on proxied_app (tenant_id);

create table access_rule (
  id             text primary key,
  proxied_app_id text not null references proxied_app (id) on delete cascade,
  -- The first rule that matches decides; lower comes first.
  position       integer not null,
  -- `/exact`, or `/prefix/*` for the prefix and all below it.
  path           text not null check (path like '/%'),
  -- Upper-case method names; an empty list is every method.
  methods        text not null default '[]' check (json_valid(methods)),
  access         text not null check (access in ('public', 'signed_in', 'role', 'deny')),
  -- With access 'role': any one of these suffices.
  roles          text not null default '[]' check (json_valid(roles)),
  created_at     integer not null,
  updated_at     integer not null,
  unique (proxied_app_id, position),
  check ((access = 'role') = (json_array_length(roles) > 0))
) strict;
