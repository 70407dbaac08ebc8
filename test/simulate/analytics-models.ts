/** ClickHouse in memory, which knows a block by its bounds, and the bounds as Postgres keeps them. */
import type { AnalyticsBlocks, Block, MeteredEvent, UsageLog } from '../../domain/ports.ts'
import { type Postgres, uncountedIn } from './ledger-model.ts'
import type { SimulatedProcess } from './world.ts'

export interface ClickHouse {
  readonly blocks: Set<string>
  readonly rows: { readonly partition: number; readonly offset: number; readonly event: MeteredEvent['event'] }[]
}

export function simulatedBlocks(process: SimulatedProcess, postgres: Postgres): AnalyticsBlocks {
  return {
    open: (partition) =>
      process.call('blocks open', () => {
        const { done, next, position } = postgres.partition(partition)
        return { done, next, ledgerCursor: position.cursor }
      }),
    record: (partition, block) =>
      process.call(`block ${partition} ${block.from}-${block.to} recorded`, () => {
        const kept = postgres.partition(partition)
        if (kept.done !== block.from || kept.next !== null) return false
        if (block.to > kept.position.cursor)
          process.world.wrong.push(`block ${block.from}-${block.to} of ${partition} passes the ledger`)
        kept.next = { ...block }
        return true
      }),
    finish: (partition, block) =>
      process.call(`block ${partition} ${block.from}-${block.to} finished`, () => {
        const kept = postgres.partition(partition)
        if (kept.next?.from !== block.from || kept.next.to !== block.to) return false
        kept.done = block.to
        kept.next = null
        return true
      }),
    uncounted: (partition, from, to) => process.call('uncounted', () => uncountedIn(postgres, partition, { from, to }))
  }
}

export function simulatedUsageLog(process: SimulatedProcess, clickhouse: ClickHouse): UsageLog {
  return {
    append: (partition: number, block: Block, events: readonly MeteredEvent[]) =>
      process.call(`block ${partition} ${block.from}-${block.to} inserted`, () => {
        const token = `${partition}:${block.from}-${block.to}`
        if (clickhouse.blocks.has(token)) return
        clickhouse.blocks.add(token)
        for (const { offset, event } of events) clickhouse.rows.push({ partition, offset, event })
      })
  }
}
