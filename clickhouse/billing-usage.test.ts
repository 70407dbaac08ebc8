import fc from 'fast-check'
import t from 'tap'
import type { CustomerStretch } from '../domain/billing/invoices/billing-gate.ts'
import { RetryableError } from '../domain/errors.ts'
import type { MeteredEvent } from '../domain/ports.ts'
import { quarterOf, quarterStartMs } from '../domain/tokens/quarter-hour.ts'
import { NO_TOKENS, TOKEN_POOLS, type TokenPool } from '../domain/tokens/token-pools.ts'
import { freshClickHouse } from '../test/clickhouse-database.ts'
import { arbitraryUsage, countedEvent } from '../test/counted-events.ts'
import { ClickHouseBillingUsage } from './billing-usage.ts'
import { connectClickHouse } from './connect.ts'
import { ClickHouseUsageLog } from './usage-log.ts'

const START = Date.UTC(2026, 0, 30)
const END = Date.UTC(2026, 1, 2)
const FIRST = quarterOf(START)
const LAST = quarterOf(END)

const { client } = await freshClickHouse(t)
const usage = new ClickHouseBillingUsage(client)
const log = new ClickHouseUsageLog({ client, topic: 'billing' })

let offset = 0
async function append(changes: readonly Parameters<typeof countedEvent>[1][]): Promise<readonly MeteredEvent[]> {
  const block = { from: offset, to: offset + changes.length }
  const events = changes.map((change) => countedEvent(offset++, change))
  await log.append(0, block, events)
  return events
}

/** A plain addition, spelt so that order doesn't matter. */
function expected(
  events: readonly MeteredEvent[],
  stretches: readonly CustomerStretch[],
  byQuarter: boolean
): string[] {
  const sums = new Map<string, Record<TokenPool, bigint>>()
  for (const [i, { customerId, from, to }] of stretches.entries()) {
    for (const { event } of events) {
      const quarter = quarterOf(event.occurredAt)
      if (event.customerId !== customerId || quarter < from || quarter >= to) continue
      const key = `${i} ${event.model}${byQuarter ? ` ${quarter}` : ''}`
      const sum = sums.get(key) ?? { input: 0n, cacheRead: 0n, cacheWrite: 0n, output: 0n, reasoning: 0n }
      for (const pool of TOKEN_POOLS) sum[pool] += BigInt(event.tokens[pool])
      sums.set(key, sum)
    }
  }
  return [...sums].map(([key, tokens]) => `${key}: ${TOKEN_POOLS.map((pool) => tokens[pool])}`).sort()
}

async function told(stretches: readonly CustomerStretch[]): Promise<string[]> {
  const rows = await usage.stretchSums(stretches)
  return rows.map(({ stretch, model, tokens }) => `${stretch} ${model}: ${TOKEN_POOLS.map((p) => tokens[p])}`).sort()
}

async function toldByQuarter(stretches: readonly CustomerStretch[]): Promise<string[]> {
  const rows = await usage.quarterSums(stretches)
  return rows
    .map(
      ({ stretch, model, quarter, tokens }) => `${stretch} ${model} ${quarter}: ${TOKEN_POOLS.map((p) => tokens[p])}`
    )
    .sort()
}

t.test(
  'sums of any stretches equal a plain addition, whatever stretches overlap and whatever is called what',
  async (t) => {
    const arbitraryStretch = fc
      .tuple(
        fc.constantFrom('acme', 'ümlaut & söhne', 'c', 'nobody'),
        fc.integer({ min: FIRST, max: LAST }),
        fc.nat(300)
      )
      .map(([name, from, length]) => ({ name, from, to: from + length }))
    let run = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(arbitraryUsage(START, END), { maxLength: 40 }),
        fc.array(arbitraryStretch, { minLength: 1, maxLength: 12 }),
        async (changes, drawn) => {
          const prefix = `it's \\ run ${run++}\n`
          const events = await append(changes.map((change) => ({ ...change, customerId: prefix + change.customerId })))
          const stretches = drawn.map(({ name, from, to }) => ({ customerId: prefix + name, from, to }))
          t.same(await told(stretches), expected(events, stretches, false))
          t.same(await toldByQuarter(stretches), expected(events, stretches, true))
        }
      ),
      { numRuns: 12 }
    )
  }
)

t.test('sums pass 2^63 without wrapping', async (t) => {
  const tokens = { ...NO_TOKENS, output: Number.MAX_SAFE_INTEGER }
  await append(Array.from({ length: 1_100 }, () => ({ customerId: 'large', occurredAt: START, tokens })))
  const [sum] = await usage.stretchSums([{ customerId: 'large', from: FIRST, to: FIRST + 1 }])
  t.equal(sum?.tokens.output, 1_100n * BigInt(Number.MAX_SAFE_INTEGER))
})

t.test(
  'five hundred stretches of customers with the longest names are one statement, and no stretch is none',
  async (t) => {
    const names = Array.from({ length: 500 }, (_, i) => `${i}é`.padEnd(128, 'ü'))
    const tokens = { ...NO_TOKENS, input: 7 }
    await append(names.map((customerId) => ({ customerId, occurredAt: START, tokens })))
    const stretches = names.map((customerId) => ({ customerId, from: FIRST, to: FIRST + 2_976 }))
    const rows = await usage.stretchSums(stretches)
    t.same(
      rows.map(({ stretch, tokens }) => [stretch, tokens.input]).toSorted(([a], [b]) => Number(a) - Number(b)),
      names.map((_, i) => [i, 7n])
    )
    t.same(await usage.stretchSums([]), [])
    t.same(await usage.quarterSums([]), [])
  }
)

t.test('events of a stretch come by offset, each as often as it stands there, of the offsets asked for', async (t) => {
  const stretch = { customerId: 'told', from: FIRST, to: FIRST + 4 }
  const at = (ms: number) => ({ customerId: 'told', occurredAt: START + ms, tokens: { ...NO_TOKENS, input: 1 } })
  const events = await append([
    at(0),
    at(3_599_999),
    at(3_600_000),
    at(-1),
    at(900_000),
    { ...at(0), customerId: 'else' }
  ])
  const [first] = events
  if (first === undefined) throw new Error('events were appended')
  await log.append(1, { from: 0, to: 1 }, [{ ...first, offset: 0 }])
  // Another block of the same offsets counts again: what the recorded bounds prevent.
  await log.append(0, { from: first.offset, to: first.offset + 2 }, events.slice(0, 2))
  const offsetsOf = async (fromOffset: number, toOffset: number) => {
    const found = usage.stretchEvents({ ...stretch, partition: 0, fromOffset, toOffset })
    return Array.fromAsync(found, (one) => one.offset - first.offset)
  }
  t.same(await offsetsOf(0, Number.MAX_SAFE_INTEGER), [0, 0, 1, 1, 4])
  t.same(await offsetsOf(first.offset + 1, first.offset + 4), [1, 1])
  t.same(
    await usage.countEvents(stretch),
    new Map([
      [0, 5],
      [1, 1]
    ])
  )
  const [whole] = await Array.fromAsync(
    usage.stretchEvents({ ...stretch, partition: 0, fromOffset: first.offset, toOffset: first.offset + 1 })
  )
  t.strictSame(whole, first)
})

t.test('a server that is away is told as retryable', async (t) => {
  const away = connectClickHouse({ url: 'http://127.0.0.1:1', database: 'default' })
  t.teardown(() => away.close())
  const stretch = { customerId: 'acme', from: FIRST, to: quarterOf(quarterStartMs(LAST)) }
  await t.rejects(new ClickHouseBillingUsage(away).stretchSums([stretch]), RetryableError)
})
