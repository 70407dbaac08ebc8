-- Up Migration

create table plan_version (
  id text collate "C" primary key,
  code text collate "C" not null check (code ~ '^[a-z0-9-]{1,64}$'),
  version integer not null check (version >= 1),
  status text not null check (status in ('draft', 'published', 'archived')),
  title text not null,
  currency text not null,
  billing_interval text not null check (billing_interval in ('month', 'year')),
  base_fee_minor bigint not null check (base_fee_minor >= 0),
  trial_days integer not null check (trial_days between 0 and 365),
  only_for text check (only_for in ('sme', 'institution')),
  prices jsonb not null check (jsonb_typeof(prices) = 'array'),
  limits jsonb not null check (jsonb_typeof(limits) = 'array'),
  revision integer not null check (revision >= 1),
  created_at timestamptz not null,
  updated_at timestamptz not null,
  published_at timestamptz,
  unique (code, version),
  check ((status = 'draft') = (published_at is null))
);

comment on table plan_version is
  'The truth about what customers can subscribe to. Rows are the platform''s and name no customer, so none is hidden: which of them a customer is shown (published, and not held back for the other kind) is the API''s rule, and what it would show besides is a price list.';
comment on column plan_version.revision is
  'Raised by one with each change of the row, for If-Match; version tells the plan''s versions apart.';

create function keep_published_plan() returns trigger
language plpgsql as $$
declare
  may_change constant text[] := array['status', 'revision', 'updated_at'];
begin
  if (new.id, new.code, new.version) is distinct from (old.id, old.code, old.version) then
    raise exception 'plan % is named by its id, code and version for ever', old.id using errcode = 'check_violation';
  end if;
  if (old.status, new.status) not in (
    ('draft', 'draft'), ('draft', 'published'), ('published', 'published'), ('published', 'archived'), ('archived', 'archived')
  ) then
    raise exception 'plan % can not turn from % to %', old.id, old.status, new.status using errcode = 'check_violation';
  end if;
  -- Compared whole, so that a column which comes later is kept too.
  if old.status <> 'draft' and to_jsonb(new) - may_change <> to_jsonb(old) - may_change then
    raise exception 'plan % is published and never changes', old.id using errcode = 'check_violation';
  end if;
  return new;
end
$$;

comment on function keep_published_plan is
  'Subscriptions and invoices are explained by the plan version they name: whoever writes, what was published stays as it was.';

create trigger keep_published_plan before update on plan_version for each row execute function keep_published_plan();

create table subscription (
  id text collate "C" primary key,
  customer_id text collate "C" not null references customer (id),
  plan_id text collate "C" not null references plan_version (id),
  status text not null check (status in ('trialing', 'active', 'past_due', 'paused', 'canceled', 'ended')),
  anchor text not null check (anchor ~ '^\d{4}-\d\d-\d\d$'),
  billing_interval text not null check (billing_interval in ('month', 'year')),
  time_zone text not null,
  period_start timestamptz not null,
  period_end timestamptz not null,
  trial_end timestamptz,
  scheduled_change jsonb check (jsonb_typeof(scheduled_change) = 'object'),
  paused_at timestamptz,
  canceled_at timestamptz,
  renew_at timestamptz,
  version integer not null check (version >= 1),
  created_at timestamptz not null,
  updated_at timestamptz not null,
  unique (id, customer_id),
  check (period_end > period_start),
  check ((status in ('canceled', 'ended')) = (renew_at is null))
);

create unique index subscription_one_at_a_time on subscription (customer_id) where status not in ('canceled', 'ended');
create index subscription_of_customer on subscription (customer_id, id);
create index subscription_due on subscription (renew_at) where renew_at is not null;
create index subscription_of_plan on subscription (plan_id);

comment on table subscription is
  'The truth about which plan version a customer uses, and in which period. A customer has one that is neither canceled nor ended, at most.';
comment on column subscription.anchor is
  'The local date of which every period''s start derives, however many periods were skipped or short.';
comment on column subscription.time_zone is
  'The zone whose midnight ends the current period. The customer''s may be another by now: it holds from the next period on.';
comment on column subscription.renew_at is
  'When whoever renews looks at it next: the period''s end, or the end of the lease of a process that has it in hand; null when no period follows.';

create table subscription_period (
  subscription_id text collate "C" not null,
  customer_id text collate "C" not null,
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  follows timestamptz check (follows = starts_at),
  plan_id text collate "C" not null references plan_version (id),
  time_zone text not null,
  is_trial boolean not null,
  status text not null check (status in ('open', 'closed')),
  primary key (subscription_id, starts_at),
  unique (subscription_id, ends_at),
  foreign key (subscription_id, customer_id) references subscription (id, customer_id),
  foreign key (subscription_id, follows) references subscription_period (subscription_id, ends_at),
  check (ends_at > starts_at),
  check (starts_at = date_bin('15 minutes', starts_at, 'epoch') and ends_at = date_bin('15 minutes', ends_at, 'epoch'))
);

create unique index subscription_period_first on subscription_period (subscription_id) where follows is null;
create unique index subscription_period_open on subscription_period (subscription_id) where status = 'open';
create index subscription_period_due on subscription_period (ends_at) where status = 'open';

comment on table subscription_period is
  'The truth about a subscription''s billing periods, half-open. Each follows one that ends where it starts, and an end is followed once: there can be neither gap nor overlap.';
comment on column subscription_period.follows is
  'The end of the period before, which is the start of this one; null for the first period of the subscription, and for no other.';
comment on column subscription_period.plan_id is
  'The plan version that the period began with: subscription_change has what it was changed to within the period.';
comment on column subscription_period.is_trial is
  'No base fee is due for a trial.';

create table subscription_change (
  position bigint generated always as identity primary key,
  subscription_id text collate "C" not null,
  customer_id text collate "C" not null,
  changed_at timestamptz not null check (changed_at = date_bin('15 minutes', changed_at, 'epoch')),
  from_plan_id text collate "C" not null references plan_version (id),
  to_plan_id text collate "C" not null references plan_version (id),
  to_status text not null check (to_status in ('trialing', 'active', 'past_due', 'paused', 'canceled', 'ended')),
  reason text not null,
  foreign key (subscription_id, customer_id) references subscription (id, customer_id)
);

create index subscription_change_time on subscription_change (subscription_id, changed_at, position);

comment on table subscription_change is
  'From which quarter-hour on a subscription used which plan version in which status: billing splits a period there, and nothing before the first row is the subscription''s. Append-only; of several in one quarter-hour the last position holds.';

create table customer_grant (
  id text collate "C" primary key,
  customer_id text collate "C" not null references customer (id),
  amount_tokens bigint check (amount_tokens > 0),
  amount_minor bigint check (amount_minor > 0),
  currency text,
  priority integer not null,
  source text not null check (source in ('purchase', 'promotion', 'adjustment')),
  effective_at timestamptz not null,
  expires_at timestamptz check (expires_at > effective_at),
  limit_id text,
  revoked_at timestamptz,
  burnt bigint not null default 0 check (burnt between 0 and coalesce(amount_tokens, amount_minor)),
  settled_until timestamptz,
  version integer not null check (version >= 1),
  created_at timestamptz not null,
  updated_at timestamptz not null,
  check ((amount_tokens is null) <> (amount_minor is null)),
  check ((amount_minor is null) = (currency is null))
);

create index customer_grant_of_customer on customer_grant (customer_id, id);

comment on table customer_grant is
  'The truth about tokens or money given to a customer beside its plan. They burn by priority, then expiry, then age.';
comment on column customer_grant.limit_id is
  'The limit that the tokens raise; null: every limit on all tokens of the whole customer.';
comment on column customer_grant.burnt is
  'What usage up to settled_until has used of it; later usage is not settled yet.';

grant select on plan_version to tokenmeter_app, tokenmeter_pipeline;
grant select, insert, update on plan_version to tokenmeter_platform;
grant select, insert, update on subscription, subscription_period to tokenmeter_app, tokenmeter_platform;
grant select, insert on subscription_change to tokenmeter_app, tokenmeter_platform;
grant select on subscription, subscription_period, subscription_change, customer_grant to tokenmeter_pipeline;
grant select on customer_grant to tokenmeter_app;
grant select, insert, update on customer_grant to tokenmeter_platform;
select protect_rows('subscription', 'customer_id');
select protect_rows('subscription_period', 'customer_id');
select protect_rows('subscription_change', 'customer_id');
select protect_rows('customer_grant', 'customer_id');
