// Ledger and ClickHouse of one's own with usage written by the adapters that consumers use, a partition's log left out; and what
// makes the two disagree.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../../billing-job/gate/patience.ts'
import { ClickHouseBillingUsage } from '../../clickhouse/billing-usage.ts'
import { ClickHouseUsageLog } from '../../clickhouse/usage-log.ts'
import type { CustomerStretch, LedgerStretch } from '../../domain/billing/invoices/billing-gate.ts'
import type { GateLedger } from '../../domain/billing/invoices/gate-ports.ts'
import type { MeteredEvent } from '../../domain/ports.ts'
import { quarterOf } from '../../domain/tokens/quarter-hour.ts'
import { PostgresAnalyticsBlocks } from '../../sql/analytics-blocks.ts'
import { PostgresGateLedger } from '../../sql/billing/gate-ledger.ts'
import { Database } from '../../sql/connect.ts'
import { PostgresUsageLedger } from '../../sql/usage-ledger.ts'
import { type ClickHouseDatabase, freshClickHouse } from '../clickhouse-database.ts'
import { usageEvent } from '../meter-shard.ts'
import { freshDatabase } from '../services.ts'

export const realClock: Clock = { now: Date.now, sleep: (ms) => sleep(ms) }

export type Usage = Parameters<typeof usageEvent>[0]

export interface CountedStores {
  readonly database: Database
  readonly clickhouse: ClickHouseDatabase
  readonly ledger: PostgresGateLedger
  readonly analytics: ClickHouseBillingUsage
  /** Writes usage to the ledger, partition 0, and moves its cursor. */
  flush(usage: readonly Usage[]): Promise<readonly MeteredEvent[]>
  /** Writes a block of it to ClickHouse, as analytics does. */
  copy(events: readonly MeteredEvent[]): Promise<void>
}

export async function freshStores(t: Pick<typeof import('tap').t, 'teardown'>): Promise<CountedStores> {
  const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'gate-test' })
  t.teardown(() => database.close())
  const clickhouse = await freshClickHouse(t)
  const usageLedger = new PostgresUsageLedger(database, 1)
  const blocks = new PostgresAnalyticsBlocks(database)
  const log = new ClickHouseUsageLog({ client: clickhouse.client, topic: 'gate' })
  return {
    database,
    clickhouse,
    ledger: new PostgresGateLedger(database),
    analytics: new ClickHouseBillingUsage(clickhouse.client),
    flush: async (usage) => {
      const from = await usageLedger.open(0)
      const arrivedAt = Date.now()
      const events = usage.map((change, i) => ({ offset: from.cursor + i, arrivedAt, event: usageEvent(change) }))
      const to = { ...from, cursor: from.cursor + events.length, previousArrivedAt: arrivedAt }
      const rows = events.map(({ event }) => ({ ...event, quarter: quarterOf(event.occurredAt), events: 1 }))
      const outcome = await usageLedger.flush({ partition: 0, from, to, rows, uncounted: [] })
      if (outcome !== 'moved') throw new Error(`the flush was ${outcome}`)
      return events
    },
    copy: async (events) => {
      const { done } = await blocks.open(0)
      const block = { from: done, to: (events.at(-1)?.offset ?? done) + 1 }
      if (!(await blocks.record(0, block))) throw new Error('another recorded a block')
      await log.append(0, block, events)
      if (!(await blocks.finish(0, block))) throw new Error('another finished the block')
    }
  }
}

/** What billing hands to the gate: stretches with what the ledger has of them now. */
export async function ledgerStretches(
  ledger: Pick<GateLedger, 'stretchSums'>,
  stretches: readonly CustomerStretch[]
): Promise<readonly LedgerStretch[]> {
  const rows = Map.groupBy(await ledger.stretchSums(stretches), ({ stretch }) => stretch)
  return stretches.map((stretch, i) => ({
    ...stretch,
    models: new Map((rows.get(i) ?? []).map(({ model, tokens }) => [model, tokens]))
  }))
}

/** Puts a row of usage into ClickHouse's roll-up that no event stands behind. */
export async function addToRollUp(
  { client }: Pick<ClickHouseDatabase, 'client'>,
  row: { readonly customerId: string; readonly quarter: number; readonly model: string; readonly input: number }
): Promise<void> {
  await client.command({
    query: `insert into usage_quarter_hour (customer_id, quarter_start, user_id, model, input, events)
      select {customerId:String}, fromUnixTimestamp({seconds:Int64}), '', {model:String}, toInt128({input:Int64}), 1`,
    query_params: { ...row, seconds: row.quarter * 900 }
  })
}

/** Deletes what ClickHouse's roll-up has of a customer's quarter. */
export async function deleteFromRollUp(
  { client }: Pick<ClickHouseDatabase, 'client'>,
  row: { readonly customerId: string; readonly quarter: number }
): Promise<void> {
  await client.command({
    query: `alter table usage_quarter_hour delete
      where customer_id = {customerId:String} and quarter_start = fromUnixTimestamp({seconds:Int64})`,
    query_params: { customerId: row.customerId, seconds: row.quarter * 900 },
    clickhouse_settings: { mutations_sync: '1' }
  })
}
