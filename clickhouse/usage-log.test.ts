import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { RetryableError } from '../domain/errors.ts'
import type { Block, MeteredEvent } from '../domain/ports.ts'
import { TOKEN_POOLS } from '../domain/tokens/token-pools.ts'
import { dayOf, type UsageDay } from '../domain/tokens/usage-day.ts'
import { freshClickHouse } from '../test/clickhouse-database.ts'
import { arbitraryUsage, countedEvent } from '../test/counted-events.ts'
import { connectClickHouse } from './connect.ts'
import { ClickHouseUsageLog } from './usage-log.ts'
import { ClickHouseUsageQueries } from './usage-queries.ts'
import { ClickHouseUsageReport } from './usage-report.ts'

const YEAR_START = Date.UTC(2026, 0, 1)
const YEAR_END = Date.UTC(2027, 0, 1)
const tokens = { input: 5, cacheRead: 4, cacheWrite: 3, output: 2, reasoning: 1 }

const { client, url } = await freshClickHouse(t)
const report = new ClickHouseUsageReport(client)
const queries = new ClickHouseUsageQueries(client)

/** Each test writes as another topic and customer, so that none sees the tokens or sums of one before. */
function logOf(topic: string): ClickHouseUsageLog {
  return new ClickHouseUsageLog({ client, topic })
}

async function daysOf(customerId: string): Promise<{ fromEvents: UsageDay[]; fromRollUp: UsageDay[] }> {
  const isTheirs = (day: UsageDay): boolean => day.customerId === customerId
  const fromEvents = await Array.fromAsync(report.usageDays('events', YEAR_START, YEAR_END))
  const fromRollUp = await Array.fromAsync(report.usageDays('roll-up', YEAR_START, YEAR_END))
  return { fromEvents: fromEvents.filter(isTheirs), fromRollUp: fromRollUp.filter(isTheirs) }
}

t.test('a block inserted twice counts once, in the events and in the roll-up', async (t) => {
  const log = logOf('twice')
  const block = { from: 0, to: 5 }
  // Offset 2 is uncounted, and the block lies across the months in which the tables are kept.
  const events = [
    countedEvent(0, { customerId: 'twice', tokens, occurredAt: Date.UTC(2026, 2, 31, 23, 59) }),
    countedEvent(1, { customerId: 'twice', tokens, occurredAt: Date.UTC(2026, 3, 1) }),
    countedEvent(4, { customerId: 'twice', tokens, occurredAt: Date.UTC(2026, 3, 1, 0, 1) })
  ]
  await log.append(0, block, events)
  await log.append(0, block, events)
  await Promise.all(Array.from({ length: 4 }, () => log.append(0, block, events)))

  const { fromEvents, fromRollUp } = await daysOf('twice')
  t.same(
    fromEvents.map(({ day, events, tokens }) => [day, events, tokens.input]),
    [
      [dayOf(Date.parse('2026-03-31')), 1n, 5n],
      [dayOf(Date.parse('2026-04-01')), 2n, 10n]
    ]
  )
  t.same(fromRollUp, fromEvents)
})

t.test('the same offsets of another partition or topic are other events', async (t) => {
  const events = [countedEvent(0, { customerId: 'elsewhere', tokens })]
  await logOf('elsewhere').append(0, { from: 0, to: 1 }, events)
  await logOf('elsewhere').append(1, { from: 0, to: 1 }, events)
  await logOf('elsewhere-2').append(0, { from: 0, to: 1 }, events)
  const { fromEvents, fromRollUp } = await daysOf('elsewhere')
  t.equal(fromEvents[0]?.events, 3n)
  t.same(fromRollUp, fromEvents)
})

t.test('a first insert that ended between the events and the roll-up is completed by the second', async (t) => {
  const block = { from: 0, to: 1 }
  const events = [countedEvent(0, { customerId: 'halfway', tokens })]
  await client.command({ query: 'detach table usage_quarter_hour_feed' })
  await logOf('halfway').append(0, block, events)
  await client.command({ query: 'attach table usage_quarter_hour_feed' })
  const halfway = await daysOf('halfway')
  t.equal(halfway.fromEvents.length, 1)
  t.equal(halfway.fromRollUp.length, 0)

  await logOf('halfway').append(0, block, events)
  const whole = await daysOf('halfway')
  t.equal(whole.fromEvents[0]?.events, 1n)
  t.same(whole.fromRollUp, whole.fromEvents)
})

t.test('records cut again at other bounds are another block, so bounds are recorded before the insert', async (t) => {
  const events = [0, 1, 2, 3].map((offset) => countedEvent(offset, { customerId: 'recut', tokens }))
  await logOf('recut').append(7, { from: 0, to: 4 }, events)
  await logOf('recut').append(7, { from: 0, to: 2 }, events.slice(0, 2))
  const { fromEvents, fromRollUp } = await daysOf('recut')
  t.equal(fromEvents[0]?.events, 6n)
  t.same(fromRollUp, fromEvents)
  t.same(await report.repeatedOffsets(7, 0, 4), [0, 1])
  t.same(await report.repeatedOffsets(7, 1, 4), [1])
})

t.test('an empty block does nothing, and events outside the bounds are refused', async (t) => {
  await logOf('empty').append(3, { from: 0, to: 9 }, [])
  t.notOk((await report.partitions()).some(({ partition }) => partition === 3))
  await t.rejects(logOf('empty').append(3, { from: 1, to: 2 }, [countedEvent(2)]), { code: 'ERR_ASSERTION' })
})

t.test('sums equal a plain addition under random blocks, each sent one to three times', async (t) => {
  let run = 0
  const arbitraryBlocks = fc.array(
    fc.record({
      events: fc.array(arbitraryUsage(YEAR_START, YEAR_END), { maxLength: 12 }),
      sent: fc.integer({ min: 1, max: 3 })
    }),
    { minLength: 1, maxLength: 4 }
  )
  await fc.assert(
    fc.asyncProperty(arbitraryBlocks, async (blocks) => {
      const topic = `random-${run++}`
      let offset = 0
      const counted: MeteredEvent[] = []
      for (const { events, sent } of blocks) {
        const block: Block = { from: offset, to: offset + events.length + 1 }
        const rows = events.map((change, at) =>
          countedEvent(block.from + at, { ...change, customerId: `${topic} ${change.customerId}` })
        )
        for (let i = 0; i < sent; i++) await logOf(topic).append(9, block, rows)
        counted.push(...rows)
        offset = block.to
      }
      const isOurs = ({ customerId }: UsageDay): boolean => customerId.startsWith(`${topic} `)
      const expected = addDays(counted)
      for (const table of ['events', 'roll-up'] as const) {
        const days = await Array.fromAsync(report.usageDays(table, YEAR_START, YEAR_END))
        t.same(days.filter(isOurs), expected, table)
      }
    }),
    { numRuns: 25 }
  )
})

function addDays(counted: readonly MeteredEvent[]): UsageDay[] {
  const days = new Map<string, UsageDay>()
  for (const { event } of counted) {
    const day = dayOf(event.occurredAt)
    const key = `${event.customerId} ${day}`
    const before = days.get(key)
    const sums = TOKEN_POOLS.map((pool) => [pool, (before?.tokens[pool] ?? 0n) + BigInt(event.tokens[pool])] as const)
    const [input, cacheRead, cacheWrite, output, reasoning] = sums.map(([, sum]) => sum)
    if (input === undefined || cacheRead === undefined || cacheWrite === undefined) throw new Error('five pools')
    if (output === undefined || reasoning === undefined) throw new Error('five pools')
    days.set(key, {
      customerId: event.customerId,
      day,
      tokens: { input, cacheRead, cacheWrite, output, reasoning },
      events: (before?.events ?? 0n) + 1n
    })
  }
  const bytes = ({ customerId, day }: UsageDay): Buffer => Buffer.from(`${customerId}\0${day}`)
  return [...days.values()].sort((a, b) => Buffer.compare(bytes(a), bytes(b)))
}

t.test('sums pass 2^63 without wrapping', async (t) => {
  const largest = { ...tokens, input: Number.MAX_SAFE_INTEGER }
  const events = Array.from({ length: 1_100 }, (_, offset) =>
    countedEvent(offset, { customerId: 'large', tokens: largest, occurredAt: YEAR_START })
  )
  await logOf('large').append(0, { from: 0, to: 1_100 }, events)
  const { fromEvents, fromRollUp } = await daysOf('large')
  t.equal(fromEvents[0]?.tokens.input, 1_100n * BigInt(Number.MAX_SAFE_INTEGER))
  t.same(fromRollUp, fromEvents)
})

t.test('an event is found as it was counted, by its whole identity alone', async (t) => {
  const odd = {
    customerId: 'found',
    id: "it's \\ \t\n {id:String} \u0000 💥",
    source: 'https://gateway.example/ä',
    occurredAt: Date.UTC(2026, 4, 5, 6, 7, 8, 9),
    userId: 'ann',
    model: 'large',
    operation: 'chat',
    requestId: 'r-1',
    holdId: 'h-1',
    tokens: { input: Number.MAX_SAFE_INTEGER, cacheRead: 0, cacheWrite: 1, output: 2, reasoning: 3 },
    metadata: { team: 'red', '': 'empty', 'a"b': '\n' }
  }
  const counted = countedEvent(0, odd)
  const correction = countedEvent(1, { ...odd, kind: 'voided', tokens: { ...odd.tokens, input: -1 } })
  const other = countedEvent(2, { ...odd, source: 'other', metadata: {} })
  await logOf('found').append(0, { from: 0, to: 3 }, [counted, correction, other])

  t.same(await queries.findEvent('found', odd.source, odd.id), counted.event)
  t.same(await queries.findEvent('found', 'other', odd.id), other.event)
  t.equal(await queries.findEvent('found', odd.source, 'another'), null)
  t.equal(await queries.findEvent('another', odd.source, odd.id), null)
  const logged = await Array.fromAsync(report.eventsOfDay('found', '2026-05-05'))
  t.same(
    logged,
    [counted, correction, other].map((event) => ({ partition: 0, ...event }))
  )
  t.same(await Array.fromAsync(report.eventsOfDay('found', '2026-05-06')), [])
})

t.test('half a surrogate pair, legal in JSON, does not stop a block', async (t) => {
  const event = countedEvent(0, { customerId: 'half', id: 'a\ud800b', metadata: { '\udc00': '\ud800' }, tokens })
  await logOf('half').append(0, { from: 0, to: 1 }, [event])
  const found = await queries.findEvent('half', event.event.source, 'a\ufffdb')
  t.same(found?.metadata, { '\ufffd': '\ufffd' })
})

t.test('a server that is away, silent, busy or behind a failing proxy is a retryable error', async (t) => {
  const events = [countedEvent(0)]
  const appendTo = (target: string): Promise<void> => {
    const unreachable = connectClickHouse({ url: target, database: 'default', requestTimeoutMs: 300 })
    t.teardown(() => unreachable.close())
    return new ClickHouseUsageLog({ client: unreachable, topic: 'away' }).append(0, { from: 0, to: 1 }, events)
  }
  const closed = await listen((_, response) => response.end())
  await closed.close()
  const failing = await listen((_, response) => response.writeHead(502).end('<html>Bad Gateway</html>'))
  t.teardown(failing.close)
  const cutting = await listen((request) => request.socket.destroy())
  t.teardown(cutting.close)
  const silent = await listen(() => undefined)
  t.teardown(silent.close)
  const busy = 'Code: 252. DB::Exception: Too many parts (300). (TOO_MANY_PARTS)'
  const full = await listen((_, response) => response.writeHead(500).end(busy))
  t.teardown(full.close)
  for (const target of [closed.url, failing.url, cutting.url, silent.url, full.url]) {
    const error = await appendTo(target).then(
      () => null,
      (reason: unknown) => reason
    )
    t.ok(error instanceof RetryableError, String(error))
    t.match(error, { code: 'clickhouse-unavailable', retryable: true, message: /insert block away:0:0-1/ })
  }
})

t.test('what ClickHouse itself refuses is no retryable error', async (t) => {
  const elsewhere = connectClickHouse({ url, database: 'default' })
  t.teardown(() => elsewhere.close())
  const log = new ClickHouseUsageLog({ client: elsewhere, topic: 'no-table' })
  const error = await log.append(0, { from: 0, to: 1 }, [countedEvent(0)]).then(
    () => null,
    (reason: unknown) => reason
  )
  t.notOk(error instanceof RetryableError)
  t.match(error, { type: 'UNKNOWN_TABLE' })
})

async function listen(
  listener: RequestListener
): Promise<{ readonly url: string; readonly close: () => Promise<void> }> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }
}
