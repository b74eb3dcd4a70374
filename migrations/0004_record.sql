-- What happened, what is limited, and what waits to be delivered.

create table login_history (
  id             text primary key,
  tenant_id      text not null references tenant (id) on delete cascade,
  -- null: nobody was found by what was given.
  user_id        text references user (id) on delete cascade,
  session_id     text,
  status         text not null check (status in ('success', 'failed')),
  failure_reason text,
  login_method   text not null,
  ip_address     text,
  user_agent     text,
  location       text check (json_valid(location)),
  created_at     integer not null,
  check ((status = 'failed') = (failure_reason is not null))
) strict;
create index login_history_user_id on login_history (user_id, created_at);
create index login_history_tenant_id on login_history (tenant_id, created_at);
create index login_history_created_at on login_history (created_at);

create table audit_event (
  id         text primary key,
  tenant_id  text references tenant (id) on delete set null,
  -- Whom it is about. Survives the user: the id stays in `subject`.
  user_id    text references user (id) on delete set null,
  subject    text,
  -- Who did it, where that is somebody else.
  actor_id   text,
  event      text not null,
  severity   text not null default 'low' check (severity in ('low', 'medium', 'high', 'critical')),
  details    text not null default '{}' check (json_valid(details)),
  ip_address text,
  user_agent text,
  request_id text,
  created_at integer not null
) strict;
create index audit_event_tenant_id on audit_event (tenant_id, created_at);
create index audit_event_user_id on audit_event (user_id, created_at) where user_id is not null;
create index audit_event_event on audit_event (event, created_at);
create index audit_event_created_at on audit_event (created_at);

create table rate_limit (
  -- Purpose and a keyed digest of whom it counts: no address stands here in the clear.
  key               text primary key,
  count             integer not null check (count >= 0),
  window_started_at integer not null,
  last_request_at   integer not null,
  expires_at        integer not null
) strict, without rowid;
create index rate_limit_expires_at on rate_limit (expires_at);

create table outbox (
  id              text primary key,
  tenant_id       text references tenant (id) on delete cascade,
  user_id         text references user (id) on delete cascade,
  kind            text not null check (kind in ('mail', 'webhook')),
  recipient       text not null,
  -- Mails carry links that open things, so the payload is sealed.
  payload_sealed  text not null,
  attempts        integer not null default 0,
  next_attempt_at integer not null,
  last_error      text,
  delivered_at    integer,
  failed_at       integer,
  created_at      integer not null,
  updated_at      integer not null
) strict;
create index outbox_due on outbox (next_attempt_at) where delivered_at is null and failed_at is null;
create index outbox_recipient on outbox (recipient, created_at);
create index outbox_tenant_id on outbox (tenant_id) where tenant_id is not null;
create index outbox_user_id on outbox (user_id) where user_id is not null;
