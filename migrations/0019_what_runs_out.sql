-- What runs out is found by an index when it does, whatever else of its table stays longer.

-- Requests and devices that nobody answered: codes stay for a week, so that an incident can be looked into.
create index oauth_grant_waiting_expires_at on oauth_grant (expires_at) where kind <> 'code';
create index outbox_delivered_at on outbox (delivered_at) where delivered_at is not null;

-- Whether an address that somebody gives us is an origin behind the gate.
create index proxied_app_origin_url on proxied_app (origin_url collate nocase) where origin_url is not null;
