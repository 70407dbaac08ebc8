import t from 'tap'
import { type Change, PLATFORM } from '../domain/change.ts'
import type { LedgerCustomer, LedgerRow } from '../domain/ports.ts'
import type { Limit } from '../domain/tokens/limit.ts'
import { freshDatabase } from '../test/services.ts'
import { Database } from './connect.ts'
import { EntityDatabase } from './connect-slonik.ts'
import { PostgresLedgerRepair } from './ledger-repair.ts'
import { PostgresLimitStore } from './limit-store.ts'
import { PostgresEffectiveLimits } from './subscriptions/effective-limits.ts'
import { PostgresUsageLedger } from './usage-ledger.ts'

const UNTOLD: Change = { reach: PLATFORM, audit: [], events: [], request: null }

const SHARDS = 2

async function openStores(t: Pick<typeof import('tap').default, 'teardown'>) {
  const databaseUrl = await freshDatabase(t)
  const database = new Database({ databaseUrl, applicationName: 'repair-test' })
  const killer = new Database({ databaseUrl, applicationName: 'killer', role: 'login', connectionsMax: 1 })
  const entities = new EntityDatabase({ databaseUrl, applicationName: 'repair-test' })
  t.teardown(() => Promise.all([database.close(), killer.close(), entities.close()]))
  return {
    database,
    killer,
    ledger: new PostgresUsageLedger(database, SHARDS),
    repair: new PostgresLedgerRepair({ database, shards: SHARDS, partitions: 4 }),
    limits: new PostgresLimitStore(entities),
    effective: new PostgresEffectiveLimits(entities)
  }
}

function row(customerId: string, quarter: number, input: number): LedgerRow {
  const tokens = { input, cacheRead: 0, cacheWrite: 0, output: 1, reasoning: 0 }
  return { customerId, userId: 'u', model: 'm', quarter, tokens, events: 1 }
}

async function append(ledger: PostgresUsageLedger, partition: number, rows: readonly LedgerRow[]): Promise<void> {
  const from = await ledger.open(partition)
  const outcome = await ledger.flush({ partition, from, to: { ...from, cursor: from.cursor + 1 }, rows, uncounted: [] })
  if (outcome !== 'moved') throw new Error('fenced')
}

t.test('one repairer per shard works at a time; the others are told at once', async (t) => {
  const { repair } = await openStores(t)
  const inside = Promise.withResolvers<void>()
  const done = Promise.withResolvers<string>()
  const first = repair.withLock(0, () => {
    inside.resolve()
    return done.promise
  })
  await inside.promise
  t.equal(await repair.withLock(0, async () => 'second'), null)
  t.equal(await repair.withLock(1, async () => 'another shard'), 'another shard')
  done.resolve('first')
  t.equal(await first, 'first')
  t.equal(await repair.withLock(0, async () => 'third'), 'third')
})

t.test('a repairer whose work throws leaves its shard to the next', async (t) => {
  const { repair } = await openStores(t)
  const defect = new Error('ours')
  await t.rejects(
    repair.withLock(0, () => Promise.reject(defect)),
    defect
  )
  t.equal(await repair.withLock(0, async () => 'next'), 'next')
})

t.test('a repairer whose session dies is followed by another, which fences what the first one stands on', async (t) => {
  const { repair, ledger, killer } = await openStores(t)
  const position = await ledger.open(0)
  const outcome = await repair.withLock(0, async () => {
    const mine = await repair.raiseGeneration(0, 0)
    await killer.query('kill', {
      text: `select pg_terminate_backend(pid, 5000) from pg_locks
              where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`
    })
    const theirs = await repair.withLock(0, () => repair.raiseGeneration(0, 1))
    return { mine, theirs }
  })
  t.strictSame(outcome, { mine: 1, theirs: 2 })
  const flush = { partition: 0, from: position, to: { ...position, cursor: 1 }, rows: [], uncounted: [] }
  t.equal(await ledger.flush(flush), 'fenced')
})

t.test(
  'of repairers that raise one generation at once, one does and the others are told; shards do not meet',
  async (t) => {
    const { repair, ledger } = await openStores(t)
    await Promise.all([0, 1, 2, 3].map((partition) => ledger.open(partition)))
    for (let from = 0; from < 10; from++) {
      const raised = await Promise.all([0, 1, 0, 1, 0, 1].map((shard) => repair.raiseGeneration(shard, from)))
      t.strictSame(
        raised.filter((generation) => generation !== null),
        [from + 1, from + 1]
      )
      for (const partition of [0, 1, 2, 3])
        t.strictSame((await ledger.open(partition)).generations, [from + 1, from + 1])
    }
    t.equal(await repair.raiseGeneration(0, 9), null, 'an older generation than the stored one')
    await t.rejects(repair.raiseGeneration(SHARDS, 0), RangeError)
  }
)

t.test('cursors tell of every partition of the log, also of those never consumed', async (t) => {
  const { repair, ledger } = await openStores(t)
  await append(ledger, 2, [])
  t.strictSame(await repair.cursors(), [0, 0, 1, 0])
  await ledger.open(4)
  await t.rejects(repair.cursors(), /knows partition 4, the usage topic has 4/)
})

t.test('uncounted offsets are told for a range that ends before its end', async (t) => {
  const { repair, ledger } = await openStores(t)
  const from = await ledger.open(0)
  const uncounted = [2, 3, 5, 8].map((offset) => ({ offset, reason: 'duplicate' as const, field: null, message: '' }))
  await ledger.flush({ partition: 0, from, to: { ...from, cursor: 9 }, rows: [], uncounted })
  t.strictSame(await repair.uncounted(0, 3, 8), new Set([3, 5]))
  t.strictSame(await repair.uncounted(1, 0, 9), new Set())
})

t.test('customers come once each, with their ledger over all partitions, their total and their limits', async (t) => {
  const { repair, ledger, limits, effective } = await openStores(t)
  const limit: Limit = {
    id: 'l',
    scope: { kind: 'customer' },
    measure: { kind: 'total' },
    window: { kind: 'day' },
    max: 9,
    mode: 'hard',
    whenUnknown: 'deny'
  }
  const ids = Array.from({ length: 1_200 }, (_, i) => `c${i}`)
  await append(
    ledger,
    0,
    ids.flatMap((id) => [row(id, 10, 100), row(id, 20, 7)])
  )
  await append(
    ledger,
    1,
    ids.map((id) => row(id, 20, 5))
  )
  await limits.put({ customerId: 'only-limits', timeZone: 'Europe/Paris', limits: [limit] }, null, UNTOLD)
  await limits.put({ customerId: 'c7', timeZone: 'UTC', limits: [] }, null, UNTOLD)
  await limits.put({ customerId: 'c8', timeZone: 'UTC', limits: [] }, null, UNTOLD)
  const set = await effective.reckon('only-limits', Date.now)
  await effective.reckon('c7', Date.now)

  const found: LedgerCustomer[] = []
  for (let after: string | null = ''; after !== null; ) {
    const chunk: Awaited<ReturnType<typeof repair.customers>> = await repair.customers(after, 20)
    t.ok(chunk.customers.length <= 500)
    found.push(...chunk.customers)
    after = chunk.next
  }
  t.strictSame(
    found.map(({ customerId }) => customerId),
    [...ids, 'only-limits'].sort()
  )
  const seventh = found.find(({ customerId }) => customerId === 'c7')
  t.match(seventh, { total: 115n, limits: { version: 2, limits: [] } })
  t.equal(found.find(({ customerId }) => customerId === 'c8')?.limits ?? null, null, 'not composed yet')
  t.strictSame(seventh?.rows, [{ ...row('c7', 20, 12), tokens: { ...row('c7', 20, 12).tokens, output: 2 }, events: 2 }])
  t.strictSame(found.at(-1), { customerId: 'only-limits', total: 0n, limits: set?.effective, rows: [] })
})
