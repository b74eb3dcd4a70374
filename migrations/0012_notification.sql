-- What users are told where they are signed in, and what they did.

create table notification (
  id         text primary key,
  tenant_id  text not null references tenant (id) on delete cascade,
  user_id    text not null references user (id) on delete cascade,
  -- What happened, as an audit event is called.
  kind       text not null,
  message    text not null,
  details    text not null default '{}' check (json_valid(details)),
  read_at    integer,
  created_at integer not null,
  updated_at integer not null
) strict;
create index notification_tenant_id on notification (tenant_id);
create index notification_user_id on notification (user_id, created_at, id);
create index notification_unread on notification (user_id) where read_at is null;
create index notification_created_at on notification (created_at);

-- What somebody did is what the audit says that they did.
create index audit_event_actor_id on audit_event (actor_id, created_at) where actor_id is not null;
