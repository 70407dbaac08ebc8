// The bounds of ClickHouse blocks, so that a replay cuts the same ones: recorded before an insert, finished after it.

import type { AnalyticsBlocks, Block } from '../domain/ports.ts'
import type { Database } from './connect.ts'
import { findUncounted } from './uncounted-offsets.ts'

interface StandColumns {
  readonly done: string
  readonly next_from: string | null
  readonly next_to: string | null
  readonly ledger_cursor: string
}

export class PostgresAnalyticsBlocks implements AnalyticsBlocks {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async open(
    partition: number
  ): Promise<{ readonly done: number; readonly next: Block | null; readonly ledgerCursor: number }> {
    const row = (await this.#find(partition)) ?? (await this.#begin(partition))
    const next =
      row.next_from === null || row.next_to === null ? null : { from: Number(row.next_from), to: Number(row.next_to) }
    return { done: Number(row.done), next, ledgerCursor: Number(row.ledger_cursor) }
  }

  async record(partition: number, block: Block): Promise<boolean> {
    const [answer] = await this.#database.query<{ recorded: boolean; ledger_cursor: string }>(
      `record block [${block.from}, ${block.to}) of partition ${partition}`,
      { name: 'record-block', text: RECORD, values: [partition, block.from, block.to] }
    )
    const ledgerCursor = Number(answer?.ledger_cursor ?? 0)
    if (block.to > ledgerCursor) {
      throw new RangeError(
        `block [${block.from}, ${block.to}) of partition ${partition} passes the ledger's cursor ${ledgerCursor}: what is uncounted there isn't known yet`
      )
    }
    return answer?.recorded === true
  }

  async finish(partition: number, block: Block): Promise<boolean> {
    const rows = await this.#database.query(`finish block [${block.from}, ${block.to}) of partition ${partition}`, {
      name: 'finish-block',
      text: `update analytics_partition set done = next_to, next_from = null, next_to = null
              where partition = $1 and next_from = $2 and next_to = $3
             returning partition`,
      values: [partition, block.from, block.to]
    })
    return rows.length === 1
  }

  async uncounted(partition: number, from: number, to: number): Promise<ReadonlySet<number>> {
    return findUncounted(this.#database, { partition, from, to })
  }

  async #find(partition: number): Promise<StandColumns | undefined> {
    const [row] = await this.#database.query<StandColumns>(`read where analytics of partition ${partition} stands`, {
      text: `select done, next_from, next_to, coalesce(ledger_cursor, 0) as ledger_cursor
               from analytics_partition left join usage_partition using (partition)
              where partition = $1`,
      values: [partition]
    })
    return row
  }

  async #begin(partition: number): Promise<StandColumns> {
    await this.#database.query(`begin analytics of partition ${partition}`, {
      text: 'insert into analytics_partition (partition) values ($1) on conflict do nothing',
      values: [partition]
    })
    const row = await this.#find(partition)
    if (row === undefined) throw new Error(`the row of analytics of partition ${partition} was deleted while it began`)
    return row
  }
}

const RECORD = `
  with ledger as (
    select ledger_cursor from usage_partition where partition = $1
  ), recorded as (
    update analytics_partition set next_from = $2, next_to = $3
      from ledger
     where partition = $1 and done = $2 and next_from is null and $3 <= ledger_cursor
    returning partition
  )
  select exists (select from recorded) as recorded, (select ledger_cursor from ledger) as ledger_cursor`
