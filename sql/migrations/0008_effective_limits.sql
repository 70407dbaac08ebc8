-- Up Migration

alter table customer_limits
  add column own_limits jsonb not null default '[]' check (jsonb_typeof(own_limits) = 'array'),
  add column own_version integer not null default 0 check (own_version >= 0),
  add column unraised jsonb check (jsonb_typeof(unraised) = 'array'),
  alter column limits drop not null;

update customer_limits set own_limits = limits, own_version = version;

comment on table customer_limits is
  'The truth about what each customer may use: own_limits as they were put, and limits as composed of plan, own limits and grants, of which the meter holds a compiled copy.';
comment on column customer_limits.limits is
  'Null until they were composed for the first time.';
comment on column customer_limits.unraised is
  'Limits as they would be without grants: when the windows of one change, what grants burnt in the old ones is settled by them. Null until limits were composed for the first time.';
comment on column customer_limits.version is
  'Of limits: raised by whatever marks them to be composed anew, and by composing them differently. The meter keeps the highest.';
comment on column customer_limits.own_version is
  'Of own_limits, for If-Match; 0: none were put.';
comment on column customer_limits.renew_at is
  'When (ms) they must be composed and set in the meter again; 0: the meter has not been told of this version yet.';
comment on column customer_grant.limit_id is
  'The limit that the tokens raise; null: the limit on all tokens of the whole customer over the longest window.';
comment on column customer_grant.settled_until is
  'Whatever was used before it has burnt what it burns of the grant. A window''s end, or when the limit changed its windows.';
