-- We as an OAuth 2.1 authorization server and OpenID Provider: clients, what was granted, tokens, consents.

create table oauth_client (
  id                         text primary key,
  -- null: every tenant's.
  tenant_id                  text references tenant (id) on delete cascade,
  client_id                  text not null unique,
  -- Two at a time: the one before stays good until its end, while whoever uses it changes over.
  secret_hash                text,
  previous_secret_hash       text,
  previous_secret_expires_at integer,
  secret_expires_at          integer,
  name                       text not null,
  -- `application_type` (OpenID Connect Dynamic Client Registration 1.0, section 2).
  type                       text not null default 'web' check (type in ('web', 'native')),
  token_endpoint_auth_method text not null default 'client_secret_basic'
                             check (token_endpoint_auth_method in ('none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt')),
  redirect_uris              text not null default '[]' check (json_valid(redirect_uris)),
  post_logout_redirect_uris  text not null default '[]' check (json_valid(post_logout_redirect_uris)),
  grant_types                text not null default '["authorization_code"]' check (json_valid(grant_types)),
  scopes                     text not null default '["openid"]' check (json_valid(scopes)),
  jwks                       text check (json_valid(jwks)),
  jwks_uri                   text,
  subject_type               text not null default 'public' check (subject_type in ('public', 'pairwise')),
  -- `jwt` (RFC 9068) or `opaque`.
  access_token_format        text not null default 'jwt' check (access_token_format in ('jwt', 'opaque')),
  -- First-party: its users are not asked.
  skip_consent               integer not null default 0 check (skip_consent in (0, 1)),
  disabled                   integer not null default 0 check (disabled in (0, 1)),
  icon                       text,
  uri                        text,
  policy_uri                 text,
  tos_uri                    text,
  contacts                   text not null default '[]' check (json_valid(contacts)),
  metadata                   text not null default '{}' check (json_valid(metadata)),
  -- Who registered it.
  user_id                    text references user (id) on delete set null,
  created_at                 integer not null,
  updated_at                 integer not null
) strict;
create index oauth_client_tenant_id on oauth_client (tenant_id) where tenant_id is not null;
create index oauth_client_user_id on oauth_client (user_id) where user_id is not null;

-- What leads to tokens: authorization codes, authorization requests kept for a while (RFC 9126), and devices that wait for
-- their user (RFC 8628).
create table oauth_grant (
  id             text primary key,
  tenant_id      text not null references tenant (id) on delete cascade,
  kind           text not null check (kind in ('code', 'request', 'device')),
  token_hash     text not null,
  client_id      text not null references oauth_client (id) on delete cascade,
  user_id        text references user (id) on delete cascade,
  session_id     text references session (id) on delete set null,
  -- The request's parameters. They hold no secret: a code challenge is public.
  request        text not null check (json_valid(request)),
  -- Of a device: the digest of what its user types, what they said, and when it last asked.
  user_code_digest text unique,
  status         text check (status in ('pending', 'allowed', 'denied')),
  polled_at      integer,
  expires_at     integer not null,
  used_at        integer,
  created_at     integer not null,
  updated_at     integer not null,
  check ((kind = 'device') = (status is not null)),
  unique (kind, token_hash)
) strict;
create index oauth_grant_tenant_id on oauth_grant (tenant_id);
create index oauth_grant_client_id on oauth_grant (client_id);
create index oauth_grant_user_id on oauth_grant (user_id) where user_id is not null;
create index oauth_grant_session_id on oauth_grant (session_id) where session_id is not null;
create index oauth_grant_expires_at on oauth_grant (expires_at);

create table oauth_token (
  id                text primary key,
  tenant_id         text not null references tenant (id) on delete cascade,
  kind              text not null check (kind in ('access', 'refresh')),
  -- SHA-256 of the token; of a JWT's `jti`, which names its row.
  token_hash        text not null unique,
  client_id         text not null references oauth_client (id) on delete cascade,
  user_id           text references user (id) on delete cascade,
  session_id        text references session (id) on delete set null,
  -- All that came of one authorization: what is used twice ends all of it.
  family_id         text not null,
  scope             text not null,
  audience          text not null default '[]' check (json_valid(audience)),
  authenticated_at  integer,
  amr               text not null default '[]' check (json_valid(amr)),
  nonce             text,
  expires_at        integer not null,
  -- A refresh token that was rotated.
  used_at           integer,
  revoked_at        integer,
  revoked_by        text references user (id) on delete set null,
  revocation_reason text,
  created_at        integer not null,
  updated_at        integer not null
) strict;
create index oauth_token_family_id on oauth_token (family_id);
create index oauth_token_tenant_id on oauth_token (tenant_id);
create index oauth_token_client_id on oauth_token (client_id);
create index oauth_token_user_id on oauth_token (user_id) where user_id is not null;
create index oauth_token_session_id on oauth_token (session_id) where session_id is not null;
create index oauth_token_revoked_by on oauth_token (revoked_by) where revoked_by is not null;
create index oauth_token_expires_at on oauth_token (expires_at);

create table oauth_consent (
  id            text primary key,
  tenant_id     text not null references tenant (id) on delete cascade,
  client_id     text not null references oauth_client (id) on delete cascade,
  user_id       text not null references user (id) on delete cascade,
  scopes        text not null check (json_valid(scopes)),
  consent_given integer not null check (consent_given in (0, 1)),
  created_at    integer not null,
  updated_at    integer not null,
  unique (tenant_id, client_id, user_id)
) strict;
create index oauth_consent_client_id on oauth_consent (client_id);
create index oauth_consent_user_id on oauth_consent (user_id);
