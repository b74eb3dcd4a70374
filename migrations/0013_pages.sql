-- Pages of what there may be much of are read in the order of an index; and the trusted device that a refresh token came of
-- outlives the session.

-- Where clients register themselves, a tenant has many; those of every tenant's were found by reading all of them.
drop index oauth_client_tenant_id;
create index oauth_client_tenant_id on oauth_client (tenant_id, created_at) where tenant_id is not null;
create index oauth_client_global on oauth_client (created_at) where tenant_id is null;

-- The session is deleted a week after its end, and software goes on: whether the browser that it signed in with was trusted,
-- and still is, is asked at each refresh.
alter table oauth_token add column trusted_device_id text references trusted_device (id) on delete set null;
create index oauth_token_trusted_device_id on oauth_token (trusted_device_id) where trusted_device_id is not null;
create index oauth_token_trusted_family on oauth_token (family_id) where trusted_device_id is not null;
