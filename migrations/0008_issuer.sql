-- Upstream issuers administered at run time: how their fields become ours, their refresh tokens, and accounts of the
-- platform's own with them.

-- The private JWK by which we authenticate as a client: private_key_jwt (RFC 7523, section 2.2), and Apple's secrets.
alter table issuer add column client_key_sealed text;
-- Whether the mapped fields are taken over at every sign-in, and not the first alone.
alter table issuer add column sync_profile integer not null default 0 check (sync_profile in (0, 1));
-- Counts the changes: of two administrators who change it at once, one is told.
alter table issuer add column revision integer not null default 0;

create table issuer_field_mapping (
  id             text primary key,
  issuer_id      text not null references issuer (id) on delete cascade,
  -- A dotted path into what the issuer says: `address.country`, `emails.0.value`.
  external_field text not null,
  internal_field text not null,
  updated_by     text references user (id) on delete set null,
  created_at     integer not null,
  updated_at     integer not null,
  unique (issuer_id, internal_field)
) strict;
create index issuer_field_mapping_updated_by on issuer_field_mapping (updated_by) where updated_by is not null;

-- Refresh tokens were one an account; now one for each set of scopes, so that a plain sign-in does not take the place of
-- a wider consent. Sealed values are bound to their cell and cannot be moved: whoever had one signs in once more.
alter table account drop column refresh_token_sealed;
alter table account drop column refresh_token_expires_at;
-- The scopes that the access token was requested with: those granted are said in the issuer's own words.
alter table account add column requested_scope text;
-- Whoever refreshes the access token now, and until when nobody else does; when that last failed.
alter table account add column leased_by text;
alter table account add column leased_until integer;
alter table account add column refresh_failed_at integer;

create table issuer_refresh_token (
  id           text primary key,
  account_id   text not null references account (id) on delete cascade,
  scope        text not null,
  scope_hash   text not null,
  token_sealed text not null,
  expires_at   integer,
  created_at   integer not null,
  updated_at   integer not null,
  unique (account_id, scope_hash)
) strict;
create index issuer_refresh_token_scope_hash on issuer_refresh_token (scope_hash);

create table system_account (
  id                   text primary key,
  issuer_id            text not null unique references issuer (id) on delete cascade,
  subject              text not null,
  email                text,
  username             text,
  -- Space-separated, as granted.
  granted_scopes       text not null,
  refresh_token_sealed text not null,
  -- What services of the platform ask for access tokens with.
  service_token_hash   text unique,
  -- The refresh token may rotate, so of all who need an access token, one uses it at a time.
  leased_by            text,
  leased_until         integer,
  refresh_failed_at    integer,
  updated_by           text references user (id) on delete set null,
  created_at           integer not null,
  updated_at           integer not null
) strict;
create index system_account_updated_by on system_account (updated_by) where updated_by is not null;

create table issuer_access_token (
  id           text primary key,
  issuer_id    text not null references issuer (id) on delete cascade,
  scope        text not null,
  scope_hash   text not null,
  token_sealed text,
  expires_at   integer,
  updated_by   text references user (id) on delete set null,
  created_at   integer not null,
  updated_at   integer not null,
  unique (issuer_id, scope_hash)
) strict;
create index issuer_access_token_updated_by on issuer_access_token (updated_by) where updated_by is not null;
create index issuer_access_token_expires_at on issuer_access_token (expires_at) where expires_at is not null;
