// Counted usage events for tests of what stores or reads them.

import fc from 'fast-check'
import type { MeteredEvent } from '../domain/ports.ts'
import { NO_TOKENS } from '../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'

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
