-- Up Migration

create table customer_import (
  id text collate "C" primary key,
  source text not null,
  fingerprint text not null,
  begun_at timestamptz not null default now(),
  finished_at timestamptz
);

create index customer_import_source on customer_import (source, id);

comment on table customer_import is
  'The truth about which former services were taken over, and when. A source with another fingerprint is not the one that was begun with.';

create table customer_import_part (
  import_id text collate "C" not null references customer_import (id) on delete cascade,
  part text not null check (part in ('customers', 'users', 'subscriptions')),
  rows_read bigint not null default 0,
  last_key text,
  created bigint not null default 0,
  updated bigint not null default 0,
  unchanged bigint not null default 0,
  refused bigint not null default 0,
  primary key (import_id, part),
  check (rows_read = created + updated + unchanged + refused)
);

comment on table customer_import_part is
  'The truth about how far a part of a former service was read, and what became of its rows: moved in the transaction that writes what they came to.';
comment on column customer_import_part.last_key is
  'Of a table: the key of the last row that was read. Null: the rows of a file are counted.';

create table customer_import_key (
  import_id text collate "C" not null references customer_import (id) on delete cascade,
  part text not null,
  key text collate "C" not null,
  line bigint not null,
  primary key (import_id, part, key)
);

comment on table customer_import_key is
  'The truth about which line of a former service named something first, so that a second one is refused. Emptied of an import that is finished.';

create table customer_import_refusal (
  import_id text collate "C" not null references customer_import (id) on delete cascade,
  part text not null,
  row_number bigint not null,
  told text not null,
  primary key (import_id, part, row_number)
);

comment on table customer_import_refusal is
  'The truth about which rows of a former service were refused and why, each as its line of the report. Kept until the same source is taken over again.';

grant select, insert, update, delete on customer_import, customer_import_part, customer_import_key, customer_import_refusal
  to tokenmeter_platform;
-- The platform's own: rows of these tables are of no customer until they were taken over, so that no customer's role reads them.
