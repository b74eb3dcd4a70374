-- Password resets: hashed, chained, and good for a counted number of uses.

create table password_reset (
  id                text primary key,
  tenant_id         text not null references tenant (id) on delete cascade,
  user_id           text not null references user (id) on delete cascade,
  -- SHA-256 of a 256-bit value, in base64url.
  token_hash        text not null unique,
  -- Where the link was sent. It opens nothing once the user's address is another.
  email             text not null,
  max_uses          integer not null default 1 check (max_uses > 0),
  use_count         integer not null default 0 check (use_count between 0 and max_uses),
  expires_at        integer not null,
  used_at           integer,
  revoked_at        integer,
  revocation_reason text,
  -- The request that this one took the place of.
  previous_id       text references password_reset (id) on delete set null,
  ip_address        text,
  user_agent        text,
  created_at        integer not null,
  updated_at        integer not null,
  check ((revoked_at is null) = (revocation_reason is null))
) strict;
create index password_reset_user_id on password_reset (user_id, created_at);
create index password_reset_tenant_id on password_reset (tenant_id);
create index password_reset_previous_id on password_reset (previous_id) where previous_id is not null;
create index password_reset_expires_at on password_reset (expires_at);
