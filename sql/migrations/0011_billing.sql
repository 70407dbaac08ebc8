-- Up Migration

alter table subscription_period add column full_end timestamptz;
update subscription_period set full_end = ends_at;
alter table subscription_period
  alter column full_end set not null,
  add check (full_end >= ends_at);

comment on column subscription_period.full_end is
  'Its end as it was when it began. It was cut short when it ended before: base fees and allowances are for all of it.';

create table billing_boundary (
  subscription_id text collate "C" not null,
  boundary timestamptz not null,
  customer_id text collate "C" not null,
  kind text not null check (kind in ('period', 'settlement')),
  state text not null check (state in ('due', 'parked', 'billed', 'empty')),
  due_at timestamptz not null,
  attempted_at timestamptz,
  reason jsonb check (jsonb_typeof(reason) = 'object'),
  invoice_id text collate "C",
  primary key (subscription_id, boundary),
  foreign key (subscription_id, customer_id) references subscription (id, customer_id),
  check ((state = 'parked') = (reason is not null)),
  check ((state = 'billed') = (invoice_id is not null))
);

create index billing_boundary_due on billing_boundary (due_at, subscription_id) where state in ('due', 'parked');
create index billing_boundary_open on billing_boundary (subscription_id, boundary) where state in ('due', 'parked');

comment on table billing_boundary is
  'The truth about what is to be billed: where a period of a subscription begins or ends, written with the period itself. Each is billed once, those of a subscription in order.';
comment on column billing_boundary.due_at is
  'The boundary, or the change that made it if that was later: billing waits for the grace after it.';
comment on column billing_boundary.reason is
  'Why it was not billed when it was last tried.';

insert into billing_boundary (subscription_id, boundary, customer_id, kind, state, due_at)
select subscription_id, starts_at, customer_id, 'period', 'due', starts_at from subscription_period where follows is null
union
select subscription_id, ends_at, customer_id, 'period', 'due', ends_at from subscription_period where status = 'closed';

create table invoice_series (
  name text primary key,
  last_number bigint not null default 0 check (last_number >= 0)
);

comment on table invoice_series is
  'The truth about the last number given of each series. It is raised in the transaction that gives the number, so that none is missing.';

create table invoice (
  id text collate "C" primary key,
  customer_id text collate "C" not null references customer (id),
  subscription_id text collate "C" not null,
  boundary timestamptz not null,
  status text not null check (status in ('draft', 'finalized', 'paid', 'void', 'uncollectible')),
  number text unique,
  currency text not null,
  period_start timestamptz,
  period_end timestamptz,
  bill_to jsonb not null check (jsonb_typeof(bill_to) = 'object'),
  issuer jsonb check (jsonb_typeof(issuer) = 'object'),
  payment_terms_days integer not null check (payment_terms_days >= 0),
  totals jsonb not null check (jsonb_typeof(totals) = 'object'),
  total_minor bigint not null,
  credit_applied_minor bigint not null default 0 check (credit_applied_minor >= 0),
  due_minor bigint not null check (due_minor >= 0),
  paid_minor bigint not null default 0 check (paid_minor >= 0),
  credited_minor bigint not null default 0 check (credited_minor >= 0),
  finalized_at timestamptz,
  due_at timestamptz,
  closed_at timestamptz,
  collect_at timestamptz,
  charges integer not null default 0 check (charges >= 0),
  reminders integer not null default 0 check (reminders >= 0),
  version integer not null check (version >= 1),
  created_at timestamptz not null,
  updated_at timestamptz not null,
  unique (subscription_id, boundary),
  foreign key (subscription_id, customer_id) references subscription (id, customer_id),
  check ((finalized_at is null) = (due_at is null)),
  check ((number is null) = (issuer is null)),
  check (status = 'void' or (status = 'draft') = (number is null)),
  check (paid_minor + credited_minor <= due_minor)
);

create index invoice_of_customer on invoice (customer_id, id);
create index invoice_collect on invoice (collect_at) where collect_at is not null;
create index invoice_unpaid on invoice (subscription_id) where status in ('finalized', 'uncollectible');
create index subscription_past_due on subscription (id) where status = 'past_due';

comment on table invoice is
  'The truth about what customers are asked to pay: one for a subscription and boundary. Once finalized, what it states never changes.';
comment on column invoice.collect_at is
  'When collecting looks at it next: a charge, a reminder, or the end of the lease of a process that has it in hand; null when it is settled.';
comment on column invoice.charges is
  'Charges that failed since its customer last told how to pay.';

create table invoice_line (
  invoice_id text collate "C" not null references invoice (id),
  position integer not null check (position >= 1),
  customer_id text collate "C" not null,
  subscription_id text collate "C" not null,
  kind text not null check (kind in ('base-fee', 'usage', 'minimum', 'adjustment')),
  line_class text not null check (line_class in ('base-fee', 'usage', 'minimum')),
  starts_at timestamptz not null,
  ends_at timestamptz not null check (ends_at >= starts_at),
  amount_minor bigint not null,
  detail jsonb not null check (jsonb_typeof(detail) = 'object'),
  primary key (invoice_id, position)
);

create index invoice_line_of_usage on invoice_line (subscription_id, starts_at) where kind <> 'base-fee';

comment on table invoice_line is
  'What an invoice consists of: the lines sum to its subtotal. The detail explains the amount: quantities, tiers, and what an adjustment is against.';

create function keep_finalized_invoice() returns trigger
language plpgsql as $$
declare
  may_change constant text[] := array['status', 'paid_minor', 'credited_minor', 'closed_at', 'collect_at', 'charges', 'reminders', 'version', 'updated_at'];
begin
  if old.status <> 'draft' and to_jsonb(new) - may_change <> to_jsonb(old) - may_change then
    raise exception 'invoice % is finalized and never changes', old.id using errcode = 'check_violation';
  end if;
  if (old.status, new.status) not in (
    ('draft', 'draft'), ('draft', 'finalized'), ('draft', 'paid'), ('draft', 'void'),
    ('finalized', 'finalized'), ('finalized', 'paid'), ('finalized', 'void'), ('finalized', 'uncollectible'),
    ('uncollectible', 'uncollectible'), ('uncollectible', 'paid'), ('uncollectible', 'void'), ('paid', 'paid'), ('void', 'void')
  ) then
    raise exception 'invoice % can not turn from % to %', old.id, old.status, new.status using errcode = 'check_violation';
  end if;
  return new;
end
$$;

comment on function keep_finalized_invoice is
  'Whoever writes: what was finalized stays as it was, but for what becomes of it.';

create trigger keep_finalized_invoice before update on invoice for each row execute function keep_finalized_invoice();

create table credit_note (
  id text collate "C" primary key,
  customer_id text collate "C" not null references customer (id),
  invoice_id text collate "C" not null references invoice (id),
  number text not null unique,
  currency text not null,
  amount_minor bigint not null check (amount_minor > 0),
  tax_minor bigint not null check (tax_minor >= 0),
  applied_minor bigint not null,
  reason text not null,
  settlement text not null check (settlement in ('invoice', 'credit', 'refund')),
  issued_at timestamptz not null,
  check (applied_minor between 0 and amount_minor)
);

create index credit_note_of_customer on credit_note (customer_id, id);
create index credit_note_of_invoice on credit_note (invoice_id);

comment on table credit_note is
  'The truth about what was taken back of finalized invoices; append-only. `settlement` says where it went: off what is due, to the customer''s credit, or paid back.';

create table customer_credit (
  id bigint generated always as identity primary key,
  customer_id text collate "C" not null references customer (id),
  currency text not null,
  amount_minor bigint not null check (amount_minor <> 0),
  invoice_id text collate "C" references invoice (id),
  credit_note_id text collate "C" references credit_note (id),
  written_at timestamptz not null,
  check (invoice_id is not null or credit_note_id is not null)
);

create index customer_credit_of_customer on customer_credit (customer_id, currency);

comment on table customer_credit is
  'The truth about what is owed to customers: above zero what came of an invoice below zero or of a credit note, below zero what an invoice used of it, or a refund took back. Append-only; the sum is what is left.';

create table payment_account (
  customer_id text collate "C" not null references customer (id),
  provider text not null,
  provider_customer text not null,
  provider_method text not null,
  updated_at timestamptz not null,
  primary key (customer_id)
);

comment on table payment_account is
  'The truth about how a customer pays through a provider. Whoever has none pays by hand.';

create table payment (
  id text collate "C" primary key,
  customer_id text collate "C" not null references customer (id),
  invoice_id text collate "C" not null references invoice (id),
  provider text not null,
  method text not null,
  status text not null check (status in ('pending', 'succeeded', 'failed', 'refunded')),
  amount_minor bigint not null check (amount_minor > 0),
  currency text not null,
  reference text,
  failure_code text,
  refunded_minor bigint not null default 0,
  refunding_minor bigint not null default 0 check (refunding_minor >= 0),
  refunds integer not null default 0 check (refunds >= 0),
  refund_request jsonb check (jsonb_typeof(refund_request) = 'object'),
  refund_asked_at timestamptz,
  excess_minor bigint not null default 0,
  provider_customer text,
  provider_method text,
  received_at timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  check ((status in ('succeeded', 'refunded')) = (received_at is not null)),
  check (refunded_minor >= 0 and refunded_minor + refunding_minor <= amount_minor),
  check (excess_minor between 0 and amount_minor),
  check ((provider = 'manual') = (provider_customer is null) and (provider_customer is null) = (provider_method is null))
);

create unique index payment_one_pending on payment (invoice_id) where status = 'pending';
create index payment_of_customer on payment (customer_id, id);
create index payment_of_invoice on payment (invoice_id, id);
create index payment_refunding on payment (updated_at) where refunding_minor > 0;
create unique index payment_manual_reference on payment (invoice_id, reference) where reference is not null and provider = 'manual';
create unique index payment_reference on payment (provider, reference) where reference is not null and provider <> 'manual';

comment on table payment is
  'The truth about attempts to pay invoices. A charge is written as pending before its provider is asked, under its id as idempotency key: whoever finds it pending asks again for the same charge.';
comment on column payment.provider_method is
  'What the provider was asked to charge, of the customer that `provider_customer` is there: it is asked again for the same, whatever account the customer has by now.';
comment on column payment.refunding_minor is
  'What the provider is being asked to give back, written before it is; 0 once it is known what became of it.';
comment on column payment.refund_request is
  'Caller, key and fingerprint of the request that asked for the refund under way, so that whoever settles it keeps the answer under that key.';
comment on column payment.refund_asked_at is
  'When a collect run last took up the refund that nobody settled: the longest ago comes first, so that one that fails each time keeps no other waiting.';
comment on column payment.excess_minor is
  'What was more than was open when it came, and became the customer''s credit. A refund takes that back first.';

grant select, insert, update on billing_boundary to tokenmeter_app, tokenmeter_platform;
grant select, insert, update on invoice_series to tokenmeter_platform;
grant select, insert, update on invoice, payment, payment_account to tokenmeter_platform;
grant select, insert on invoice_line, credit_note, customer_credit to tokenmeter_platform;
grant delete on payment_account to tokenmeter_platform;
grant select on invoice, invoice_line, credit_note, customer_credit, payment_account, payment to tokenmeter_app;
select protect_rows('billing_boundary', 'customer_id');
select protect_rows('invoice', 'customer_id');
select protect_rows('invoice_line', 'customer_id');
select protect_rows('credit_note', 'customer_id');
select protect_rows('customer_credit', 'customer_id');
select protect_rows('payment_account', 'customer_id');
select protect_rows('payment', 'customer_id');
