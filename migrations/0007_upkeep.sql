-- What cron deletes is found by an index.

create index outbox_over on outbox (coalesce(delivered_at, failed_at));
create index signing_key_expires_at on signing_key (expires_at) where expires_at is not null;
