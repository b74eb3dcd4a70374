-- Pages of what there may be much of are read in the order of an index.

-- Where clients register themselves, a tenant has many; those of every tenant's were found by reading all of them.
drop index oauth_client_tenant_id;
create index oauth_client_tenant_id on oauth_client (tenant_id, created_at) where tenant_id is not null;
create index oauth_client_global on oauth_client (created_at) where tenant_id is null;
