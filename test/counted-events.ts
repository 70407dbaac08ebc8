// Counted usage events for tests of what stores or reads them.

import fc from 'fast-check'
import type { MeteredEvent } from '../domain/ports.ts'
import { quarterOf } from '../domain/tokens/quarter-hour.ts'
import { NO_TOKENS } from '../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'
import { Database } from '../sql/connect.ts'
import { PostgresUsageLedger } from '../sql/usage-ledger.ts'

/** An event that says no more than it must; `change` says the rest. */
export function usageEvent(change: Partial<UsageEvent> = {}): UsageEvent {
  return {
    kind: 'used',
    id: 'event-1',
    source: 'gateway',
    customerId: 'acme',
    occurredAt: Date.UTC(2026, 2, 1, 12),
    userId: '',
    model: 'small',
    provider: 'openai',
    operation: '',
    requestId: '',
    holdId: '',
    tokens: NO_TOKENS,
    metadata: {},
    ...change
  }
}

export function countedEvent(offset: number, change: Partial<UsageEvent> = {}): MeteredEvent {
  return {
    offset,
    arrivedAt: Date.UTC(2026, 2, 1, 13) + offset,
    event: usageEvent({ id: `event-${offset}`, ...change })
  }
}

const tokenCount = fc.oneof(fc.nat(5_000), fc.constant(0), fc.constant(2 ** 50))

/** Few customers, users and models, so that sums meet; times within a span, on quarter-hours and beside them. */
export function arbitraryUsage(fromMs: number, toMs: number): fc.Arbitrary<Partial<UsageEvent>> {
  return fc.record({
    customerId: fc.constantFrom('acme', 'ümlaut & söhne', 'c'),
    userId: fc.constantFrom('', 'ann', "b'); drop table usage_event --"),
    model: fc.constantFrom('small', 'large'),
    occurredAt: fc.oneof(
      fc.integer({ min: fromMs, max: toMs - 1 }),
      fc.integer({ min: Math.ceil(fromMs / 900_000), max: Math.floor((toMs - 1) / 900_000) }).map((n) => n * 900_000)
    ),
    tokens: fc
      .record({
        input: tokenCount,
        cacheRead: tokenCount,
        cacheWrite: tokenCount,
        output: tokenCount,
        reasoning: tokenCount
      })
      .chain((tokens) =>
        fc.constantFrom(1, 1, 1, -1).map((sign) => ({
          input: tokens.input * sign,
          cacheRead: tokens.cacheRead * sign,
          cacheWrite: tokens.cacheWrite * sign,
          output: tokens.output * sign,
          reasoning: tokens.reasoning * sign
        }))
      )
  })
}

interface Teardown {
  teardown(handler: () => Promise<void>): void
}

export interface UsedTokens {
  readonly customerId: string
  /** Ms. */
  readonly at: number
  readonly tokens: number
}

/** Answers what flushes usage into the ledger, a record each, as the meter consumer of partition 0 does it. */
export function ledgerOf(t: Teardown, databaseUrl: string): (used: UsedTokens) => Promise<void> {
  const database = new Database({ databaseUrl, applicationName: 'usage-in-ledger' })
  t.teardown(() => database.close())
  const ledger = new PostgresUsageLedger(database, 1)
  return async ({ customerId, at, tokens }) => {
    const from = await ledger.open(0)
    const cursor = from.cursor + 1
    const row = {
      customerId,
      userId: 'ada',
      model: 'model-1',
      quarter: quarterOf(at),
      tokens: { ...NO_TOKENS, input: tokens },
      events: 1
    }
    const to = { ...from, cursor, previousArrivedAt: at, shardCursors: [cursor] }
    const outcome = await ledger.flush({ partition: 0, from, to, rows: [row], uncounted: [] })
    if (outcome !== 'moved') throw new Error(`the flush of ${tokens} tokens of ${customerId} was ${outcome}`)
  }
}
