-- Second factors, the browsers that need none for a while, and passkeys.

create table two_factor (
  id               text primary key,
  user_id          text not null references user (id) on delete cascade,
  -- 'totp': a seed in an authenticator app; 'otp': mailed codes alone.
  method           text not null default 'totp' check (method in ('totp', 'otp')),
  secret_sealed    text,
  -- Keyed digests of the codes that are left.
  backup_codes     text not null default '[]' check (json_valid(backup_codes)),
  -- null: pending, and asked of nobody.
  verified_at      integer,
  -- The last time step that was accepted (RFC 6238, section 5.2): none at or before it is accepted again.
  last_used_step   integer not null default 0,
  last_verified_at integer,
  -- 0 after a password was set by mail, until its owner changes it: the mailbox would be both factors.
  mailed_codes     integer not null default 1 check (mailed_codes in (0, 1)),
  -- Attempts since the last success, counted before they are looked at: of many at once, each sees its own number.
  failed_attempts  integer not null default 0 check (failed_attempts >= 0),
  last_failed_at   integer,
  created_at       integer not null,
  updated_at       integer not null,
  check ((method = 'totp') = (secret_sealed is not null))
) strict;
create index two_factor_user_id on two_factor (user_id);
create unique index two_factor_verified on two_factor (user_id) where verified_at is not null;
create unique index two_factor_pending on two_factor (user_id) where verified_at is null;

create table trusted_device (
  id           text primary key,
  user_id      text not null references user (id) on delete cascade,
  -- SHA-256 of a 256-bit value, in base64url.
  token_hash   text not null unique,
  ip_address   text,
  user_agent   text,
  last_used_at integer not null,
  expires_at   integer not null,
  revoked_at   integer,
  created_at   integer not null,
  updated_at   integer not null
) strict;
create index trusted_device_user_id on trusted_device (user_id);
create index trusted_device_expires_at on trusted_device (expires_at);

create table passkey (
  id            text primary key,
  user_id       text not null references user (id) on delete cascade,
  -- The RP ID that it was made for (WebAuthn Level 3, section 4): it works on no other.
  rp_id         text not null,
  -- base64url.
  credential_id text not null unique,
  -- COSE_Key (RFC 9052, section 7) in base64url.
  public_key    text not null,
  -- Signature counter; one that goes back may be a copy's.
  counter       integer not null default 0 check (counter >= 0),
  transports    text not null default '[]' check (json_valid(transports)),
  device_type   text not null check (device_type in ('singleDevice', 'multiDevice')),
  -- Whether it verified its user when it was made (uvInitialized, section 4): only then is it two factors later.
  uv_initialized integer not null default 0 check (uv_initialized in (0, 1)),
  backed_up     integer not null default 0 check (backed_up in (0, 1)),
  aaguid        text not null,
  name          text,
  last_used_at  integer,
  created_at    integer not null,
  updated_at    integer not null
) strict;
create index passkey_user_id on passkey (user_id);

-- What used a value up: the session that it opened. Of many attempts in parallel, one's session stands here.
alter table verification add column used_by text;
