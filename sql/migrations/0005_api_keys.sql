-- Up Migration

create table api_key (
  id text collate "C" primary key,
  customer_id text collate "C" references customer (id),
  name text not null,
  hash text collate "C" not null unique check (hash ~ '^[0-9a-f]{64}$'),
  scopes text[] not null,
  expires_at timestamptz,
  revoked_at timestamptz,
  replaced_by text collate "C",
  last_used_at timestamptz,
  version integer not null check (version >= 1),
  created_at timestamptz not null,
  updated_at timestamptz not null
);

create index api_key_of_customer on api_key (customer_id, id);

comment on table api_key is
  'The truth about who may call by a key, beside the keys of the configuration. A key without a customer is the platform''s, which no customer''s transaction sees.';
comment on column api_key.hash is
  'SHA-256 of the secret. The secret itself is kept nowhere: it was told once.';
comment on column api_key.last_used_at is
  'Told in passing, once a minute at most; it raises no version.';

grant select, insert, update on api_key to tokenmeter_app, tokenmeter_platform;
select protect_rows('api_key', 'customer_id');
