-- Up Migration

-- Ids are compared by bytes: pages in key order then mean the same on every server, whatever its locale.

create table usage_partition (
  partition integer primary key check (partition >= 0),
  ledger_cursor bigint not null default 0 check (ledger_cursor >= 0),
  previous_arrived_at bigint,
  generations bigint[] not null,
  shard_cursors bigint[] not null,
  check (cardinality(generations) = cardinality(shard_cursors)),
  check (array_position(generations, null) is null and array_position(shard_cursors, null) is null)
) with (fillfactor = 50);

comment on table usage_partition is
  'The truth about how far the ledger follows each partition of the usage topic, and which generation of each shard may still write. One row, changed by compare-and-set together with the effects it stands for.';
comment on column usage_partition.ledger_cursor is 'L: the next offset whose effect is not in the ledger.';
comment on column usage_partition.previous_arrived_at is
  'Broker timestamp (ms) of the record before L. Another one in the log means another topic under the old name.';
comment on column usage_partition.generations is 'By shard, from 0. A flush that stands on another generation is fenced.';
comment on column usage_partition.shard_cursors is 'By shard, from 0: the end of the last flushed batch that touched it.';

create table meter_generation (
  shard integer primary key check (shard >= 0),
  generation bigint not null default 0 check (generation >= 0)
);

comment on table meter_generation is
  'The truth about the highest generation given out per shard. A partition seen for the first time begins with these; a repair raises one here and in every usage_partition row at once.';

create table usage_ledger (
  partition integer not null check (partition >= 0),
  customer_id text collate "C" not null,
  user_id text collate "C" not null,
  model text collate "C" not null,
  quarter integer not null,
  input numeric not null,
  cache_read numeric not null,
  cache_write numeric not null,
  output numeric not null,
  reasoning numeric not null,
  events bigint not null,
  primary key (partition, customer_id, user_id, model, quarter)
) with (fillfactor = 80);

create index usage_ledger_customer_quarter on usage_ledger (customer_id, quarter);

comment on table usage_ledger is
  'The truth about tokens used: what invoices are made from and counters are rebuilt from. A row per partition, so that two consumers never share one; readers sum over partitions.';
comment on column usage_ledger.user_id is 'Empty when the emitter names no user.';
comment on column usage_ledger.quarter is 'Event time in whole quarter-hours since 1970-01-01T00:00Z.';

create table usage_uncounted (
  partition integer not null,
  record_offset bigint not null,
  reason text not null,
  field text,
  message text not null,
  noted_at timestamptz not null default now(),
  primary key (partition, record_offset)
);

comment on table usage_uncounted is
  'The truth about which offsets below L were not counted, and why. Every other record below L is in the ledger. The dead-letter topic is a report of this table.';

create table customer_limits (
  customer_id text collate "C" primary key,
  time_zone text not null,
  version integer not null check (version >= 1),
  limits jsonb not null check (jsonb_typeof(limits) = 'array'),
  renew_at bigint not null default 0,
  updated_at timestamptz not null default now()
);

create index customer_limits_renew_at on customer_limits (renew_at);

comment on table customer_limits is
  'The truth about what each customer may use. The meter holds a compiled copy.';
comment on column customer_limits.renew_at is
  'When (ms) the list of windows in the meter must be extended; 0: the meter has not been told of this version yet.';

create table analytics_partition (
  partition integer primary key check (partition >= 0),
  done bigint not null default 0 check (done >= 0),
  next_from bigint,
  next_to bigint,
  check ((next_from is null) = (next_to is null)),
  check (next_from = done and next_to > next_from)
);

comment on table analytics_partition is
  'The truth about which blocks of the log ClickHouse has been given: everything before done, and perhaps the recorded next block, which a replay must cut the same.';
