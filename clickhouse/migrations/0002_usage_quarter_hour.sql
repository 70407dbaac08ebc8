-- Tokens per (customer, quarter-hour of event time, user, model). Every boundary of a calendar window in any time zone
-- falls on a quarter-hour in UTC, so this answers every usage query whose ends do as well.
--
-- A sum of Int64 wraps silently, and 1,024 of the largest events would do it: sums are Int128, which no count of events
-- that fits the log can reach. `events` counts corrections too; it is never 0, and so a merge, which drops rows that add
-- up to nothing, drops none of them.
-- The token of an insert reaches this table through the view, and is remembered here on its own: a block whose first
-- insert wrote only usage_event is completed by the second.
create table if not exists usage_quarter_hour
(
    customer_id   String,
    quarter_start DateTime('UTC'),
    user_id       String,
    model         LowCardinality(String),
    input         Int128,
    cache_read    Int128,
    cache_write   Int128,
    output        Int128,
    reasoning     Int128,
    events        UInt64
)
engine = SummingMergeTree((input, cache_read, cache_write, output, reasoning, events))
partition by toYYYYMM(quarter_start)
order by (customer_id, quarter_start, user_id, model)
settings non_replicated_deduplication_window = 100000;

create materialized view if not exists usage_quarter_hour_feed to usage_quarter_hour as
select
    customer_id,
    toStartOfFifteenMinutes(toDateTime(occurred_at, 'UTC')) as quarter_start,
    user_id,
    model,
    sum(toInt128(input)) as input,
    sum(toInt128(cache_read)) as cache_read,
    sum(toInt128(cache_write)) as cache_write,
    sum(toInt128(output)) as output,
    sum(toInt128(reasoning)) as reasoning,
    count() as events
from usage_event
group by customer_id, quarter_start, user_id, model;
