import fc from 'fast-check'
import t from 'tap'
import type { LedgerFlush, LedgerPosition, LedgerRow, Uncounted } from '../domain/ports.ts'
import { type TokenPools, totalTokens } from '../domain/tokens/token-pools.ts'
import { freshDatabase } from '../test/services.ts'
import { Database } from './connect.ts'
import { PostgresLedgerRepair } from './ledger-repair.ts'
import { PostgresLedgerReport } from './ledger-report.ts'
import { PostgresUsageLedger } from './usage-ledger.ts'

const SHARDS = 2
const TOKENS: TokenPools = { input: 1, cacheRead: 20, cacheWrite: 300, output: 4_000, reasoning: 50_000 }

const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'ledger-test' })
t.teardown(() => database.close())
const ledger = new PostgresUsageLedger(database, SHARDS)
const repair = new PostgresLedgerRepair({ database, shards: SHARDS, partitions: 1_000 })
const report = new PostgresLedgerReport(database)

let lastPartition = 0
const freshPartition = (): number => lastPartition++

function row(customerId: string, quarter = 1, tokens = TOKENS): LedgerRow {
  return { customerId, userId: 'u', model: 'm', quarter, tokens, events: 1 }
}

function flushOf(
  partition: number,
  from: LedgerPosition,
  what: { readonly length: number; readonly rows?: readonly LedgerRow[]; readonly uncounted?: readonly Uncounted[] }
): LedgerFlush {
  const cursor = from.cursor + what.length
  const to = { ...from, cursor, previousArrivedAt: 1_000 + cursor }
  return { partition, from, to, rows: what.rows ?? [], uncounted: what.uncounted ?? [] }
}

async function raise(shard: number, { generations }: LedgerPosition): Promise<number> {
  const raised = await repair.raiseGeneration(shard, generations[shard] ?? 0)
  if (raised === null) throw new Error(`another raised shard ${shard}`)
  return raised
}

async function rowsOf(partition: number, customerId: string, after = ''): Promise<readonly LedgerRow[]> {
  const position = await ledger.open(partition)
  const found = await ledger.readForCuts({ partition, position, cuts: [{ customerId, sinceQuarter: -1_000, after }] })
  const part = found.refused ? undefined : found.parts[0]
  if (part === undefined) throw new Error('the position moved')
  return part.next === null ? part.rows : [...part.rows, ...(await rowsOf(partition, customerId, part.next))]
}

t.test('a partition never seen begins at 0 with the generations that its shards have', async (t) => {
  await repair.raiseGeneration(1, 0)
  t.strictSame(await ledger.open(freshPartition()), {
    cursor: 0,
    previousArrivedAt: null,
    generations: [0, 1],
    shardCursors: [0, 0]
  })
})

t.test('a partition begun by many at once begins once', async (t) => {
  const partition = freshPartition()
  const positions = await Promise.all(Array.from({ length: 8 }, () => ledger.open(partition)))
  for (const position of positions) t.strictSame(position, positions[0])
})

t.test('a ledger that was begun with other shards is refused', async (t) => {
  const partition = freshPartition()
  await ledger.open(partition)
  await t.rejects(new PostgresUsageLedger(database, 3).open(partition), /begun with 2 shards, not 3/)
})

t.test('a flush writes rows, uncounted offsets and position together', async (t) => {
  const partition = freshPartition()
  const from = await ledger.open(partition)
  const flush = flushOf(partition, from, {
    length: 10,
    rows: [row('together'), row('together', 2), row('together')],
    uncounted: [
      { offset: 3, reason: 'not-json', field: null, message: 'bytes \0 that no text column takes' },
      { offset: 9, reason: 'invalid-data', field: 'data.tokens.input', message: 'negative' }
    ]
  })
  const to = { ...flush.to, shardCursors: [10, 0] }
  t.equal(await ledger.flush({ ...flush, to }), 'moved')
  t.strictSame(await ledger.open(partition), to)
  const doubled = { input: 2, cacheRead: 40, cacheWrite: 600, output: 8_000, reasoning: 100_000 }
  t.strictSame(await rowsOf(partition, 'together'), [
    { ...row('together'), tokens: doubled, events: 2 },
    row('together', 2)
  ])
  const { items } = await report.listUncounted({ partition, after: '', limit: 10 })
  t.match(items, [
    { offset: 3, reason: 'not-json', field: null, message: 'bytes \ufffd that no text column takes' },
    { offset: 9, reason: 'invalid-data', field: 'data.tokens.input', message: 'negative' }
  ])
})

t.test('a flush that does not stand where the ledger stands changes nothing', async (t) => {
  const partition = freshPartition()
  const from = await ledger.open(partition)
  t.equal(await ledger.flush(flushOf(partition, from, { length: 5, rows: [row('fenced')] })), 'moved')
  const stale = flushOf(partition, from, {
    length: 5,
    rows: [row('fenced')],
    uncounted: [{ offset: 0, reason: 'duplicate', field: null, message: '' }]
  })
  t.equal(await ledger.flush(stale), 'fenced')
  t.strictSame(await rowsOf(partition, 'fenced'), [row('fenced')])
  t.strictSame((await report.listUncounted({ partition, after: '', limit: 10 })).items, [])
})

t.test('a flush of a generation that was raised meanwhile changes nothing', async (t) => {
  const partition = freshPartition()
  const from = await ledger.open(partition)
  await raise(0, from)
  t.equal(await ledger.flush(flushOf(partition, from, { length: 5, rows: [row('overtaken')] })), 'fenced')
  t.strictSame(await rowsOf(partition, 'overtaken'), [])
})

t.test('of two flushes of one partition that race, exactly one moves the ledger', async (t) => {
  const partition = freshPartition()
  for (let round = 0; round < 25; round++) {
    const from = await ledger.open(partition)
    const rival = () => ledger.flush(flushOf(partition, from, { length: 1, rows: [row('raced')] }))
    t.strictSame((await Promise.all([rival(), rival(), rival()])).sort(), ['fenced', 'fenced', 'moved'])
  }
  t.strictSame(await rowsOf(partition, 'raced'), [
    {
      ...row('raced'),
      tokens: { input: 25, cacheRead: 500, cacheWrite: 7_500, output: 100_000, reasoning: 1_250_000 },
      events: 25
    }
  ])
})

t.test('a flush that races with a raised generation either lands before it or is fenced', async (t) => {
  const partition = freshPartition()
  let moved = 0
  for (let round = 0; round < 25; round++) {
    const from = await ledger.open(partition)
    const [outcome] = await Promise.all([
      ledger.flush(flushOf(partition, from, { length: 1, rows: [row('raised')] })),
      raise(round % SHARDS, from)
    ])
    if (outcome === 'moved') moved++
    t.equal(await ledger.flush(flushOf(partition, from, { length: 1, rows: [row('raised')] })), 'fenced')
    t.equal((await ledger.open(partition)).cursor, moved)
  }
  t.equal((await rowsOf(partition, 'raised'))[0]?.events ?? 0, moved)
})

t.test('a partition that begins while a generation is raised is not left behind', async (t) => {
  let before = await ledger.open(freshPartition())
  for (let round = 0; round < 20; round++) {
    const partition = freshPartition()
    const [generation] = await Promise.all([raise(1, before), ledger.open(partition), ledger.open(partition)])
    before = await ledger.open(partition)
    t.equal(before.generations[1], generation)
  }
})

t.test('what a cut reads is refused once the ledger stands elsewhere', async (t) => {
  const partition = freshPartition()
  const from = await ledger.open(partition)
  const cuts = ['cut', 'nobody', 'other'].map((customerId) => ({ customerId, sinceQuarter: 0, after: '' }))
  const ask = { partition, cuts }
  const nothing = { rows: [], next: null }
  t.strictSame(await ledger.readForCuts({ ...ask, position: from }), {
    refused: false,
    parts: [nothing, nothing, nothing]
  })
  const flush = flushOf(partition, from, {
    length: 1,
    rows: [row('cut', -1), row('cut', 0), row('cut', 1), row('other')]
  })
  await ledger.flush(flush)
  t.strictSame(await ledger.readForCuts({ ...ask, position: from }), { refused: true })
  t.match(await ledger.readForCuts({ ...ask, position: flush.to }), {
    refused: false,
    parts: [{ rows: [row('cut', 0), row('cut', 1)], next: null }, nothing, { rows: [row('other')], next: null }]
  })
  await raise(0, from)
  t.strictSame(await ledger.readForCuts({ ...ask, position: flush.to }), { refused: true })
})

t.test('a cut reads many rows in chunks, each row once and in key order', async (t) => {
  const partition = freshPartition()
  const from = await ledger.open(partition)
  const rows = Array.from({ length: 12_345 }, (_, i) => ({
    ...row('chunked', Math.floor(i / 100)),
    userId: `u${i % 10}`,
    model: `m${Math.floor(i / 10) % 10}`
  }))
  await ledger.flush(flushOf(partition, from, { length: rows.length, rows }))
  const read = await rowsOf(partition, 'chunked')
  const keyOf = ({ userId, model, quarter }: LedgerRow): string =>
    `${userId} ${model} ${String(quarter).padStart(9, '0')}`
  t.strictSame(read.map(keyOf), rows.map(keyOf).sort())
})

t.test('a sum that passes 2^53 is kept exactly and read as several rows', async (t) => {
  const partition = freshPartition()
  const from = await ledger.open(partition)
  const most = { input: Number.MAX_SAFE_INTEGER, cacheRead: 0, cacheWrite: 0, output: 0, reasoning: 0 }
  const rows = [row('rich', 1, most), row('rich', 1, most), row('rich', 1, { ...most, output: 7 })]
  await ledger.flush(flushOf(partition, from, { length: 3, rows }))
  const read = await rowsOf(partition, 'rich')
  const inputs = read.map(({ tokens }) => BigInt(tokens.input)).reduce((sum, input) => sum + input, 0n)
  t.equal(inputs, 3n * BigInt(Number.MAX_SAFE_INTEGER))
  t.equal(
    read.reduce((sum, { events }) => sum + events, 0),
    3
  )
  t.equal(
    read.reduce((sum, { tokens }) => sum + tokens.output, 0),
    7
  )
})

t.test('a flush that can only be a defect is refused before it is written', async (t) => {
  const partition = freshPartition()
  const from = await ledger.open(partition)
  const half = row('half', 1, { ...TOKENS, input: 0.5 })
  await t.rejects(ledger.flush(flushOf(partition, from, { length: 1, rows: [half] })), /no integer below 2\^53 to half/)
  const beyond = { offset: 1, reason: 'duplicate' as const, field: null, message: '' }
  await t.rejects(
    ledger.flush(flushOf(partition, from, { length: 1, uncounted: [beyond] })),
    /offset 1, which it does not cover/
  )
  await t.rejects(ledger.flush(flushOf(partition, from, { length: -1 })), /moves the cursor back/)
  t.strictSame(await ledger.open(partition), from)
})

t.test('any history of flushes, repeats and raised generations leaves the sum of the flushes that moved', async (t) => {
  const amount = fc.integer({ min: -1_000_000, max: 1_000_000_000 })
  const anyRow = fc.record({
    customerId: fc.constantFrom('p1', 'p2', 'o\'neil {,"\\ é'),
    userId: fc.constantFrom('', 'u', 'NULL'),
    model: fc.constantFrom('m', 'm/2'),
    quarter: fc.integer({ min: 1, max: 3 }),
    tokens: fc.record({ input: amount, cacheRead: amount, cacheWrite: amount, output: amount, reasoning: amount }),
    events: fc.integer({ min: 1, max: 5 })
  })
  const step = fc.record({
    rows: fc.array(anyRow, { maxLength: 12 }),
    act: fc.constantFrom('flush' as const, 'flush' as const, 'flush' as const, 'repeat' as const, 'raise' as const)
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (history) => {
      const partition = freshPartition()
      const expected = new Map<string, number>()
      let last: LedgerFlush | null = null
      let cursor = 0
      for (const { rows, act } of history) {
        if (act === 'raise') await raise(0, await ledger.open(partition))
        if (act === 'repeat' && last !== null) {
          t.equal(await ledger.flush(last), 'fenced')
          continue
        }
        last = flushOf(partition, await ledger.open(partition), { length: 1, rows })
        t.equal(await ledger.flush(last), 'moved')
        cursor++
        for (const one of rows) expected.set(keyOf(one), (expected.get(keyOf(one)) ?? 0) + totalTokens(one.tokens))
      }
      const read = await Promise.all(['p1', 'p2', 'o\'neil {,"\\ é'].map((customer) => rowsOf(partition, customer)))
      const actual = new Map(read.flat().map((one) => [keyOf(one), totalTokens(one.tokens)]))
      t.strictSame(actual, expected)
      t.equal((await ledger.open(partition)).cursor, cursor)
    }),
    { numRuns: 40 }
  )
})

function keyOf({ customerId, userId, model, quarter }: LedgerRow): string {
  return JSON.stringify([customerId, userId, model, quarter])
}
