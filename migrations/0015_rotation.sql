-- What still needs a secret of `SECRETS` that is no longer the first: found by the id of the key, and not by a scan.
-- A sealed value begins with `1.<key id of eight letters>`.
create index two_factor_sealed_by on two_factor (substr(secret_sealed, 1, 10)) where secret_sealed is not null;
create index issuer_secret_sealed_by on issuer (substr(client_secret_sealed, 1, 10)) where client_secret_sealed is not null;
create index issuer_key_sealed_by on issuer (substr(client_key_sealed, 1, 10)) where client_key_sealed is not null;
create index account_access_token_sealed_by on account (substr(access_token_sealed, 1, 10)) where access_token_sealed is not null;
create index account_id_token_sealed_by on account (substr(id_token_sealed, 1, 10)) where id_token_sealed is not null;
create index issuer_refresh_token_sealed_by on issuer_refresh_token (substr(token_sealed, 1, 10));
create index system_account_sealed_by on system_account (substr(refresh_token_sealed, 1, 10));
create index issuer_access_token_sealed_by on issuer_access_token (substr(token_sealed, 1, 10)) where token_sealed is not null;
create index signing_key_sealed_by on signing_key (substr(private_key_sealed, 1, 10));
create index outbox_sealed_by on outbox (substr(payload_sealed, 1, 10)) where delivered_at is null and failed_at is null;

-- Passwords hashed with `PASSWORD_HASH=pbkdf2` name the key of their pepper: `$doorward-pbkdf2$i=100000,k=<key id>$`.
create index account_peppered_by on account (substr(password_hash, 29, 8)) where substr(password_hash, 2, 15) = 'doorward-pbkdf2';

-- Backup codes whose digests were made with a key of `SECRETS`; those made with the authenticator's own secret begin with `s:`.
create index two_factor_backup_codes_by_secrets on two_factor (id) where substr(backup_codes, 3, 2) <> 's:' and backup_codes <> '[]';
