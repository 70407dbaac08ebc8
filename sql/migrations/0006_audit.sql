-- Up Migration

create table audit_partition (
  partition integer primary key check (partition >= 0),
  next_offset bigint not null default 0 check (next_offset >= 0),
  previous_arrived_at bigint
);

comment on table audit_partition is
  'The truth about how far the trail follows each partition of the audit topic. Moved in the transaction that appends the records it passes.';
comment on column audit_partition.previous_arrived_at is
  'Broker timestamp (ms) of the record before next_offset. Another one in the log means another topic under the old name.';

grant select, insert, update on audit_partition to tokenmeter_pipeline;

create index audit_event_recent on audit_event (occurred_at, customer_id, sequence);
create index audit_event_actor on audit_event (actor_id, occurred_at);

-- Erasing a person takes the values out and leaves their digests: no process works in this role but for that one statement.

do $$
begin
  if not exists (select 1 from pg_roles where rolname = 'tokenmeter_eraser') then
    create role tokenmeter_eraser nologin nosuperuser nobypassrls;
  end if;
exception when duplicate_object or unique_violation then
  raise notice 'role tokenmeter_eraser is there already';
end
$$;

do $$
begin
  set local role tokenmeter_eraser;
  set local role none;
exception when insufficient_privilege then
  grant tokenmeter_eraser to current_user;
end
$$;

grant usage on schema public to tokenmeter_eraser;
grant select, update (personal) on audit_event to tokenmeter_eraser;
create policy of_the_eraser on audit_event to tokenmeter_eraser using (true);
