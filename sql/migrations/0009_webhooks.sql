-- Up Migration

create table webhook_endpoint (
  id text collate "C" primary key,
  customer_id text collate "C" not null references customer (id),
  url text not null,
  description text,
  event_types text[] not null,
  status text not null check (status in ('active', 'disabled')),
  secret text not null,
  previous_secret text,
  previous_secret_ends_at timestamptz,
  version integer not null check (version >= 1),
  created_at timestamptz not null,
  updated_at timestamptz not null,
  check ((previous_secret is null) = (previous_secret_ends_at is null))
);

create index webhook_endpoint_of_customer on webhook_endpoint (customer_id, id);

comment on table webhook_endpoint is
  'The truth about where a customer is told of its events. No event type named: all of them.';
comment on column webhook_endpoint.secret is
  'As it is: each delivery is signed with it. No answer but that to its maker, no audit record and no log line has it.';
comment on column webhook_endpoint.previous_secret is
  'The one before the last rotation, which signs as well until previous_secret_ends_at.';

create table webhook_delivery (
  endpoint_id text collate "C" not null references webhook_endpoint (id),
  event_id text collate "C" not null,
  customer_id text collate "C" not null,
  type text not null,
  payload text not null,
  status text not null default 'pending' check (status in ('pending', 'delivered', 'failed')),
  attempts integer not null default 0 check (attempts >= 0),
  attempts_before integer not null default 0 check (attempts_before between 0 and attempts),
  next_attempt_at timestamptz not null default now(),
  last_status integer,
  last_error text,
  created_at timestamptz not null default now(),
  ended_at timestamptz,
  primary key (endpoint_id, event_id),
  check ((status = 'pending') = (ended_at is null))
);

create index webhook_delivery_due on webhook_delivery (endpoint_id, next_attempt_at) where status = 'pending';
create index webhook_delivery_ended on webhook_delivery (ended_at) where ended_at is not null;

comment on table webhook_delivery is
  'The truth about which event was or is to be told to which endpoint, one row for each two. Written in the transaction that writes the event into the outbox; removed a month after it ended.';
comment on column webhook_delivery.payload is
  'The body of each attempt, byte for byte: what is signed must not depend on who renders it.';
comment on column webhook_delivery.attempts is
  'Attempts begun. Whoever takes a delivery raises it, and may say how it went only while it is what it made it.';
comment on column webhook_delivery.attempts_before is
  'Attempts made before somebody asked for it again: the schedule begins anew from there.';
comment on column webhook_delivery.next_attempt_at is
  'When it is due. Of one in hand: when it is due again if nothing more is heard of who took it.';

-- Every writer of the outbox is one statement with its deliveries, the import and the thresholds included. It works with the rights
-- of who writes, so that row-level security holds: a customer's transaction reaches the endpoints of that customer alone.

create function deliver_to_webhooks() returns trigger
language plpgsql as $$
begin
  insert into webhook_delivery (endpoint_id, event_id, customer_id, type, payload)
  select endpoint.id, event.id, event.customer_id, event.type,
         json_build_object(
           'id', event.id,
           'type', event.type,
           'timestamp', to_char(event.occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
           'customerId', event.customer_id,
           'data', event.data)::text
    from written as event
    join webhook_endpoint as endpoint on endpoint.customer_id = event.customer_id
   where endpoint.status = 'active'
     and (cardinality(endpoint.event_types) = 0 or event.type = any (endpoint.event_types))
  on conflict do nothing;
  return null;
end
$$;

comment on function deliver_to_webhooks is
  'Writes a delivery for each event just written and each active endpoint of its customer that wants its type.';

create trigger deliver_to_webhooks after insert on outbox
  referencing new table as written
  for each statement execute function deliver_to_webhooks();

grant select, insert, update on webhook_endpoint to tokenmeter_app, tokenmeter_platform;
grant select on webhook_endpoint to tokenmeter_pipeline;
grant select, insert, update on webhook_delivery to tokenmeter_app, tokenmeter_platform;
grant insert on webhook_delivery to tokenmeter_pipeline;
grant select, delete on webhook_delivery to tokenmeter_pipeline, tokenmeter_platform;
select protect_rows('webhook_endpoint', 'customer_id');
select protect_rows('webhook_delivery', 'customer_id');
