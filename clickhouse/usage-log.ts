/**
 * The searchable copy of what was counted: where the way of an event ends. A block is inserted under a token made of its
 * topic, partition and bounds, and ClickHouse ignores a token it knows, in `usage_event` and in the roll-up each on its
 * own. So an insert whose answer was lost is simply sent again.
 *
 * The token stands for the bounds, not for the rows: the same records cut at other bounds would be another block and
 * count again. That is why `AnalyticsBlocks` records the bounds before the insert and a replay cuts the same ones.
 */
import assert from 'node:assert/strict'
import type { ClickHouseClient, ClickHouseSettings } from '@clickhouse/client'
import type { Block, MeteredEvent, UsageLog } from '../domain/ports.ts'
import { EVENT_COLUMNS, encodeEventRow } from './event-row.ts'
import { translatingErrors } from './store-error.ts'

const INSERT_SETTINGS: ClickHouseSettings = {
  // Servers since 26 collect small inserts in memory by default; a block is large already, and "done" must mean written.
  async_insert: 0,
  insert_deduplicate: 1,
  // The roll-up asks about the token even when usage_event knew it: a first insert may have ended between the two.
  deduplicate_blocks_in_dependent_materialized_views: 1,
  // One insert stays one block up to 1 million rows or 256 MB (the defaults, said here): it is then written whole or not
  // at all per month. A larger one is cut in order, each piece under its number within the token, so a repeat still fits.
  max_insert_threads: '1',
  min_insert_block_size_rows: '1048449',
  min_insert_block_size_bytes: '268402944',
  input_format_parallel_parsing: 0,
  // Corrections may reach far back: a block over more months than the usual 100 is slow, but must not stop the consumer.
  max_partitions_per_insert_block: '0'
}

export class ClickHouseUsageLog implements UsageLog {
  readonly #client: ClickHouseClient
  readonly #topic: string

  constructor({ client, topic }: { readonly client: ClickHouseClient; readonly topic: string }) {
    this.#client = client
    this.#topic = topic
  }

  async append(partition: number, block: Block, events: readonly MeteredEvent[]): Promise<void> {
    const [first] = events
    const last = events.at(-1)
    if (first === undefined || last === undefined) return
    const name = `${this.#topic}:${partition}:${block.from}-${block.to}`
    assert.ok(
      block.from <= first.offset && first.offset <= last.offset && last.offset < block.to,
      `block ${name} was given events of offsets ${first.offset} to ${last.offset}`
    )
    await translatingErrors(`insert block ${name}`, () =>
      this.#client.insert({
        table: 'usage_event',
        columns: [...EVENT_COLUMNS],
        format: 'JSONCompactEachRow',
        values: events.map((event) => encodeEventRow(partition, event)),
        clickhouse_settings: { ...INSERT_SETTINGS, insert_deduplication_token: name }
      })
    )
  }
}
