-- Each counted usage event once: the searchable copy of the log. Nothing that money depends on stands here alone.
--
-- Sorted for the questions asked of it: the events of a customer in a stretch of time. An event is found by its identity
-- through the bloom filter: 14 bits an id, and 1 granule of 8,192 rows in 1,000 read for nothing.
-- A block that is inserted again under its token changes nothing while the token is among the last 100,000 of the table:
-- at 8 blocks a second more than 3 hours, and a token is used again after seconds. Without the setting the window is 0.
create table if not exists usage_event
(
    partition        UInt32,
    record_offset    UInt64,
    arrived_at       DateTime64(3, 'UTC'),
    occurred_at      DateTime64(3, 'UTC'),
    customer_id      String,
    source           LowCardinality(String),
    id               String,
    kind             Enum8('used' = 1, 'voided' = 2),
    user_id          String,
    model            LowCardinality(String),
    provider         LowCardinality(String),
    operation        LowCardinality(String),
    request_id       String,
    hold_id          String,
    input            Int64,
    cache_read       Int64,
    cache_write      Int64,
    output           Int64,
    reasoning        Int64,
    metadata         Map(String, String),
    index id_filter id type bloom_filter(0.001) granularity 1
)
engine = MergeTree
partition by toYYYYMM(occurred_at)
order by (customer_id, occurred_at, id)
settings non_replicated_deduplication_window = 100000;
