-- Upstream issuers, the identities linked to a user, sessions and one-time values.

create table issuer (
  id                    text primary key,
  -- null: offered by every tenant.
  tenant_id             text references tenant (id) on delete cascade,
  -- What the login protocol calls the provider: `sign-in/social {provider}` and `callback/:id`.
  name                  text not null check (name = lower(name) and name <> 'credential'),
  login_page_name       text not null,
  service_type          text not null default 'oidc',
  -- The issuer identifier (OpenID Connect Discovery 1.0, section 3).
  base_url              text not null,
  client_id             text not null,
  client_secret_sealed  text,
  -- client_secret_basic where 1, client_secret_post where 0 (RFC 6749, section 2.3.1).
  basic_auth            integer not null default 1 check (basic_auth in (0, 1)),
  login_scopes          text not null default 'openid email profile',
  login_scopes_offline  text not null default 'openid email profile offline_access',
  login_params          text not null default '{}' check (json_valid(login_params)),
  login_params_offline  text not null default '{}' check (json_valid(login_params_offline)),
  scopes_supported      text not null default '[]' check (json_valid(scopes_supported)),
  -- E-mail domains whose people may sign in through it; an empty list is all.
  allowed_domains       text not null default '[]' check (json_valid(allowed_domains)),
  require_confirmation  integer not null default 0 check (require_confirmation in (0, 1)),
  -- May link to a local user by the e-mail that it verified.
  trust_email           integer not null default 0 check (trust_email in (0, 1)),
  show_on_login_page    integer not null default 1 check (show_on_login_page in (0, 1)),
  sort_order            integer not null default 0,
  image                 text,
  enabled               integer not null default 1 check (enabled in (0, 1)),
  settings              text not null default '{}' check (json_valid(settings)),
  -- The discovery document's members beyond the endpoints, and when it was read.
  discovered            text check (json_valid(discovered)),
  discovered_at         integer,
  updated_by            text references user (id) on delete set null,
  created_at            integer not null,
  updated_at            integer not null
) strict;
create unique index issuer_global_name on issuer (name) where tenant_id is null;
create unique index issuer_tenant_name on issuer (tenant_id, name) where tenant_id is not null;
create index issuer_service_type on issuer (service_type);
create index issuer_updated_by on issuer (updated_by) where updated_by is not null;

create table issuer_endpoint (
  id            text primary key,
  issuer_id     text not null references issuer (id) on delete cascade,
  -- The member's name in the discovery document: authorization_endpoint, token_endpoint, jwks_uri …
  name          text not null,
  url           text not null,
  -- 1: from discovery, and replaced by it; 0: set by hand, and kept.
  is_discovered integer not null default 1 check (is_discovered in (0, 1)),
  updated_by    text references user (id) on delete set null,
  created_at    integer not null,
  updated_at    integer not null,
  unique (issuer_id, name)
) strict;
create index issuer_endpoint_updated_by on issuer_endpoint (updated_by) where updated_by is not null;

create table account (
  id                       text primary key,
  user_id                  text not null references user (id) on delete cascade,
  -- The user's pool, as in user.tenant_id: one upstream identity may be a user in each isolated tenant.
  tenant_id                text references tenant (id) on delete cascade,
  -- null: the password, of which a user has one.
  issuer_id                text references issuer (id) on delete cascade,
  -- `sub` at the issuer; the user's own id for the password.
  subject                  text not null,
  -- PHC string.
  password_hash            text,
  password_changed_at      integer,
  access_token_sealed      text,
  access_token_expires_at  integer,
  refresh_token_sealed     text,
  refresh_token_expires_at integer,
  id_token_sealed          text,
  scope                    text,
  email                    text,
  email_verified           integer check (email_verified in (0, 1)),
  name                     text,
  first_name               text,
  last_name                text,
  picture                  text,
  raw_profile              text check (json_valid(raw_profile)),
  is_active                integer not null default 1 check (is_active in (0, 1)),
  -- null while a link waits for its confirmation.
  confirmed_at             integer,
  last_login_at            integer,
  created_at               integer not null,
  updated_at               integer not null,
  check ((issuer_id is null) = (password_hash is not null))
) strict;
create unique index account_shared_subject on account (issuer_id, subject) where tenant_id is null and issuer_id is not null;
create unique index account_isolated_subject on account (tenant_id, issuer_id, subject) where tenant_id is not null and issuer_id is not null;
create unique index account_password on account (user_id) where issuer_id is null;
create index account_user_id on account (user_id);
create index account_tenant_id on account (tenant_id) where tenant_id is not null;
create index account_issuer_id on account (issuer_id) where issuer_id is not null;

create table session (
  id                  text primary key,
  -- SHA-256 of the cookie's random value, in base64url. The value itself is stored nowhere.
  token_hash          text not null unique,
  user_id             text not null references user (id) on delete cascade,
  tenant_id           text not null references tenant (id) on delete cascade,
  -- A protected host's session hangs on the one of the auth host and ends with it.
  parent_id           text references session (id) on delete cascade,
  proxied_app_id      text references proxied_app (id) on delete cascade,
  impersonated_by     text references user (id) on delete cascade,
  active_tenant_id    text references tenant (id) on delete set null,
  login_method        text not null,
  -- Authentication Method References (RFC 8176).
  amr                 text not null default '[]' check (json_valid(amr)),
  authenticated_at    integer not null,
  -- 0: the cookie goes with the browser.
  is_remembered       integer not null default 1 check (is_remembered in (0, 1)),
  ip_address          text,
  user_agent          text,
  device_fingerprint  text,
  location            text check (json_valid(location)),
  last_activity_at    integer not null,
  request_count       integer not null default 0,
  is_suspicious       integer not null default 0 check (is_suspicious in (0, 1)),
  expires_at          integer not null,
  revoked_at          integer,
  revocation_reason   text,
  created_at          integer not null,
  updated_at          integer not null,
  check ((revoked_at is null) = (revocation_reason is null)),
  check ((parent_id is null) = (proxied_app_id is null))
) strict;
create index session_user_id on session (user_id, revoked_at, expires_at);
create index session_tenant_id on session (tenant_id);
create index session_parent_id on session (parent_id) where parent_id is not null;
create index session_proxied_app_id on session (proxied_app_id) where proxied_app_id is not null;
create index session_impersonated_by on session (impersonated_by) where impersonated_by is not null;
create index session_active_tenant_id on session (active_tenant_id) where active_tenant_id is not null;
create index session_expires_at on session (expires_at);

create table verification (
  id             text primary key,
  tenant_id      text not null references tenant (id) on delete cascade,
  -- What it is good for; a value of one kind is worth nothing as another.
  kind           text not null,
  -- SHA-256 of a 256-bit value, in base64url; of a short code, a digest keyed with whom it is for.
  token_hash     text not null,
  -- Whom or what it is about: an address, a browser, an app.
  identifier     text,
  user_id        text references user (id) on delete cascade,
  payload_sealed text,
  attempts       integer not null default 0,
  expires_at     integer not null,
  -- Set once, by the statement that uses it up; a replay finds it set.
  used_at        integer,
  created_at     integer not null,
  updated_at     integer not null,
  unique (kind, token_hash)
) strict;
create index verification_tenant_id on verification (tenant_id);
create index verification_identifier on verification (kind, identifier) where identifier is not null;
create index verification_user_id on verification (user_id) where user_id is not null;
create index verification_expires_at on verification (expires_at);

create table signing_key (
  -- Also the JWK's `kid`.
  id                 text primary key,
  tenant_id          text not null references tenant (id) on delete cascade,
  algorithm          text not null check (algorithm in ('ES256', 'EdDSA', 'RS256')),
  -- Published before it signs ('next') and after it has signed ('retired').
  status             text not null check (status in ('next', 'current', 'retired')),
  public_jwk         text not null check (json_valid(public_jwk)),
  private_key_sealed text not null,
  activated_at       integer,
  retired_at         integer,
  -- When a retired key leaves the JWKS.
  expires_at         integer,
  created_at         integer not null,
  updated_at         integer not null,
  check ((status = 'retired') = (retired_at is not null))
) strict;
create unique index signing_key_current on signing_key (tenant_id, algorithm) where status = 'current';
create unique index signing_key_next on signing_key (tenant_id, algorithm) where status = 'next';
create index signing_key_tenant_id on signing_key (tenant_id);
