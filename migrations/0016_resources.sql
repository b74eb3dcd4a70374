-- The resources that administrators name: for each token request that asks for one it is looked up whether it is known.
create index oauth_client_resources on oauth_client (tenant_id)
  where details -> '$.resources' is not null and user_id is null and registration_token_hash is null and document_read_at is null;
