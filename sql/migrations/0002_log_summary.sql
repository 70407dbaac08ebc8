-- Up Migration

create table log_summary (
  partition integer primary key check (partition >= 0),
  through bigint not null check (through >= 0)
);

comment on table log_summary is
  'How far reconciling has read each partition of the usage topic: log_day holds everything before it. Never beyond L.';

create table log_day (
  customer_id text collate "C" not null,
  day integer not null,
  input numeric not null,
  cache_read numeric not null,
  cache_write numeric not null,
  output numeric not null,
  reasoning numeric not null,
  events bigint not null,
  primary key (customer_id, day)
);

comment on table log_day is
  'What the log itself says was used, per customer and UTC day of event time: its records less the uncounted offsets, read apart from the ledger. Only for comparing with it; it may be emptied together with log_summary and is then read again.';
comment on column log_day.day is 'Whole UTC days since 1970-01-01.';
