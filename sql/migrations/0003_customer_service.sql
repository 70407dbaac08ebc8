-- Up Migration

-- Nobody works on a table as its owner. The processes sign in as any role that is a member of these three, and take one of them
-- for each connection or transaction: none of them owns a table, none may step around row-level security.

do $$
declare
  wanted text;
begin
  foreach wanted in array array['tokenmeter_app', 'tokenmeter_platform', 'tokenmeter_pipeline'] loop
    begin
      -- Roles belong to the server: another database's migration may make them at this very moment.
      if not exists (select 1 from pg_roles where rolname = wanted) then
        execute format('create role %I nologin nosuperuser nobypassrls', wanted);
      end if;
    exception when duplicate_object or unique_violation then
      raise notice 'role % is there already', wanted;
    end;
    begin
      -- Since PostgreSQL 16 whoever makes a role is its member and may yet not take it.
      execute format('set local role %I', wanted);
      set local role none;
    exception when insufficient_privilege then
      execute format('grant %I to current_user', wanted);
    end;
  end loop;
end
$$;

create function protect_rows(table_name regclass, customer_column text) returns void
language plpgsql as $$
begin
  execute format('alter table %s enable row level security, force row level security', table_name);
  execute format(
    'create policy of_the_customer on %s to tokenmeter_app using (%I = current_setting(''tokenmeter.customer_id'', true))',
    table_name, customer_column);
  execute format('create policy of_everyone on %s to tokenmeter_platform, tokenmeter_pipeline using (true)', table_name);
end
$$;

comment on function protect_rows is
  'Row-level security as every table with rows of customers has it: tokenmeter_app sees the one customer that its transaction names (none named: no row), the platform and the pipeline see all. Whoever owns the table sees none.';

grant usage on schema public to tokenmeter_app, tokenmeter_platform, tokenmeter_pipeline;

grant select, insert, update, delete on
  usage_partition, meter_generation, usage_ledger, usage_uncounted, customer_limits, analytics_partition, log_summary, log_day
  to tokenmeter_pipeline;
grant select, insert, update, delete on customer_limits to tokenmeter_platform;
grant select, insert, update on customer_limits to tokenmeter_app;
grant select on usage_ledger, usage_partition, usage_uncounted to tokenmeter_platform;
grant select on usage_ledger to tokenmeter_app;
select protect_rows('usage_ledger', 'customer_id');
select protect_rows('customer_limits', 'customer_id');
select protect_rows('log_day', 'customer_id');

create table customer (
  id text collate "C" primary key,
  kind text not null check (kind in ('sme', 'institution')),
  status text not null check (status in ('active', 'suspended', 'closed')),
  legal_name text not null,
  external_id text collate "C" unique,
  country text not null,
  currency text not null,
  time_zone text not null,
  locale text not null check (locale in ('en', 'fr')),
  tax_id text,
  registration_number text,
  contract_reference text,
  purchase_order_number text,
  payment_terms_days integer not null check (payment_terms_days between 0 and 180),
  contacts jsonb not null check (jsonb_typeof(contacts) = 'array'),
  metadata jsonb not null check (jsonb_typeof(metadata) = 'object'),
  version integer not null check (version >= 1),
  created_at timestamptz not null,
  updated_at timestamptz not null,
  check (kind <> 'sme' or tax_id is not null),
  check (kind <> 'institution' or (registration_number is not null and contract_reference is not null))
);

create index customer_search on customer (lower(legal_name) text_pattern_ops);

comment on table customer is
  'The truth about who the platform serves. Usage of a customer that is not here is counted all the same.';

create table customer_user (
  id text collate "C" primary key,
  customer_id text collate "C" not null references customer (id),
  email text not null,
  name text,
  role text not null check (role in ('owner', 'admin', 'billing', 'developer', 'viewer')),
  status text not null check (status in ('invited', 'active', 'disabled')),
  last_seen_at timestamptz,
  version integer not null check (version >= 1),
  created_at timestamptz not null,
  updated_at timestamptz not null
);

create unique index customer_user_email on customer_user (customer_id, lower(email));
create index customer_user_seen on customer_user (last_seen_at);

comment on table customer_user is
  'The truth about a customer''s people. last_seen_at is told in passing and raises no version.';

create table outbox (
  position bigint generated always as identity primary key,
  id text collate "C" not null unique,
  customer_id text collate "C" not null,
  type text not null,
  occurred_at timestamptz not null,
  data jsonb not null
);

comment on table outbox is
  'Events that are still to be published, each written in the transaction of the change that it tells. The relay publishes them in the order of position and removes them.';

create table audit_chain (
  customer_id text collate "C" primary key,
  sequence bigint not null check (sequence >= 0),
  hash text not null
);

comment on table audit_chain is
  'The end of each customer''s trail; an empty id is the platform''s own. Whoever appends holds the row, so that a customer''s changes are one after the other, in the trail and in the outbox.';

create table audit_event (
  customer_id text collate "C" not null,
  sequence bigint not null check (sequence >= 1),
  id text collate "C" not null unique,
  hash text not null,
  action text not null,
  actor_id text collate "C" not null,
  entity_kind text not null,
  entity_id text collate "C" not null,
  occurred_at timestamptz not null,
  content jsonb not null,
  personal jsonb not null,
  primary key (customer_id, sequence)
);

create index audit_event_entity on audit_event (entity_kind, entity_id, sequence);
create index audit_event_time on audit_event (customer_id, occurred_at, sequence);

comment on table audit_event is
  'Who did what, append-only: no role of ours may update or delete, and each hash covers the one before. The plain columns repeat what the content says, to search by.';

create table idempotency_record (
  caller text collate "C" not null,
  key text collate "C" not null,
  fingerprint text not null,
  status integer not null,
  headers jsonb not null,
  body text not null,
  created_at timestamptz not null default now(),
  primary key (caller, key)
);

create index idempotency_record_age on idempotency_record (created_at);

comment on table idempotency_record is
  'What was answered to a request with an Idempotency-Key, written in the transaction of its effect: a repeat gets the same answer and changes nothing.';

grant select, insert, update on customer, customer_user to tokenmeter_app, tokenmeter_platform;
grant delete on customer_user to tokenmeter_platform;
grant select, update on customer_user to tokenmeter_pipeline;
grant select on customer to tokenmeter_pipeline;
grant insert on outbox to tokenmeter_app, tokenmeter_platform, tokenmeter_pipeline;
grant select, delete on outbox to tokenmeter_pipeline;
grant select, insert, update on audit_chain to tokenmeter_app, tokenmeter_platform, tokenmeter_pipeline;
grant select, insert on audit_event to tokenmeter_app, tokenmeter_platform, tokenmeter_pipeline;
grant select, insert, delete on idempotency_record to tokenmeter_app, tokenmeter_platform;
select protect_rows('customer', 'id');
select protect_rows('customer_user', 'customer_id');
select protect_rows('outbox', 'customer_id');
select protect_rows('audit_chain', 'customer_id');
select protect_rows('audit_event', 'customer_id');
-- idempotency_record has no customer: its caller is the credential, which only its own requests name.
