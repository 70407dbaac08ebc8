-- Up Migration

create table quota_notice (
  customer_id text collate "C" not null,
  limit_id text collate "C" not null,
  user_id text collate "C" not null,
  model text collate "C" not null,
  window_end timestamptz not null,
  type text not null check (type in ('quota.threshold_reached', 'quota.exhausted')),
  percent integer not null check (percent between 1 and 100),
  primary key (customer_id, limit_id, user_id, model, window_end, type, percent)
);

comment on table quota_notice is
  'The truth about which thresholds of a limit were told in its window, written in the transaction that puts the event into the outbox: each is told once, whoever notices it. Rows of past windows are removed when the customer is next told of something.';
comment on column quota_notice.user_id is 'Of a limit for each user: whose share it is. Empty for any other.';
comment on column quota_notice.model is 'Of a limit for each model: of which model. Empty for any other.';

grant select, insert, delete on quota_notice to tokenmeter_pipeline;
select protect_rows('quota_notice', 'customer_id');
