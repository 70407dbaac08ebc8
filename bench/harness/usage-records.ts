/** The bench's traffic: seeded usage events as an AI service would send them, skewed as customers are, with repeats among them. */

import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import { encodeUsageEvent } from '../../ingest/encode-usage-event.ts'
import { MODELS } from '../../stack/demo/events.ts'
import { Random } from '../../stack/demo/random.ts'

export interface TrafficShape {
  readonly seed: number
  readonly events: number
  /** Ranked: rank r calls about as often as 1 / (r + 1). */
  readonly customers: number
  /** Instant that the events' times lie just before, milliseconds since the epoch. */
  readonly now: number
  /** Of all records, in [0, 1): exact repeats of a record sent shortly before. */
  readonly repeats?: number
}

export interface UsageMessage {
  readonly key: string
  readonly value: Buffer
  readonly headers: Readonly<Record<string, string>>
}

const USERS_PER_CUSTOMER = 5
const MODELS_PER_CUSTOMER = 2
const REPEATS = 0.02
const SPREAD_MS = 120_000
const REMEMBERED = 1_000

export function customerName(rank: number): string {
  return `customer-${String(rank).padStart(7, '0')}`
}

/** The same shape, the same events. */
export function* usageEvents({ seed, events, customers, now, repeats = REPEATS }: TrafficShape): Generator<UsageEvent> {
  const random = new Random(seed)
  const recent: UsageEvent[] = []
  for (let i = 0; i < events; i++) {
    const repeated = random.next() < repeats ? recent[random.below(recent.length)] : undefined
    const event = repeated ?? makeEvent(i, { random, customers, now })
    if (repeated === undefined) recent[i % REMEMBERED] = event
    yield event
  }
}

export function* usageMessages(shape: TrafficShape): Generator<UsageMessage> {
  for (const event of usageEvents(shape)) yield { key: event.customerId, ...encodeUsageEvent(event) }
}

function makeEvent(
  index: number,
  { random, customers, now }: { random: Random; customers: number; now: number }
): UsageEvent {
  const rank = random.skewed(customers)
  return {
    kind: 'used',
    id: `${index.toString(36).padStart(8, '0')}-${random.below(0xffff_ffff).toString(36)}`,
    source: 'https://ia.example/gateway',
    customerId: customerName(rank),
    occurredAt: now - random.below(SPREAD_MS),
    userId: `user-${random.skewed(USERS_PER_CUSTOMER)}`,
    model: MODELS[(rank + random.skewed(MODELS_PER_CUSTOMER)) % MODELS.length] ?? MODELS[0],
    provider: 'openai',
    operation: 'chat',
    requestId: `req-${index.toString(36)}`,
    holdId: '',
    tokens: {
      input: random.below(8_000),
      cacheRead: random.below(2_000),
      cacheWrite: 0,
      output: random.below(1_500),
      reasoning: 0
    },
    metadata: {}
  }
}
