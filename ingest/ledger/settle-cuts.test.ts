// Cuts as a partition settles them, on a real Redis and a real Postgres.

import t from 'tap'
import type { LedgerPosition, LedgerRow } from '../../domain/ports.ts'
import { quarterOf } from '../../domain/tokens/quarter-hour.ts'
import { NO_TOKENS } from '../../domain/tokens/token-pools.ts'
import { Database } from '../../sql/connect.ts'
import { PostgresUsageLedger } from '../../sql/usage-ledger.ts'
import { count, freshMeter, positionOf, standOf, twoDayLimits, usageEvent } from '../../test/meter-shard.ts'
import { freshDatabase } from '../../test/services.ts'
import { settleCuts } from './settle-cuts.ts'

const TOKENS = { input: 7 }
const meter = await freshMeter(t, { partitions: 1 })
const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'settle-cuts-test' })
t.teardown(() => database.close())
const ledger = new PostgresUsageLedger(database, 1)
const ports = { meter: meter.consumer, ledger }
/** As the meter's shard: made at generation 1. */
await database.query('generation', {
  text: 'insert into meter_generation (shard, generation) values (0, 1)',
  values: []
})

/** Counts an event of the customer and writes it to the ledger. */
async function use(customerId: string): Promise<LedgerPosition> {
  const event = usageEvent({ customerId, tokens: TOKENS })
  await count(meter, [event])
  return flush([{ ...event, tokens: event.tokens, quarter: quarterOf(event.occurredAt), events: 1 }])
}

async function flush(rows: readonly LedgerRow[]): Promise<LedgerPosition> {
  const from = await ledger.open(0)
  const { cursor } = await positionOf(meter, standOf(0))
  const to = { ...from, cursor, previousArrivedAt: Date.now(), shardCursors: [cursor] }
  t.equal(await ledger.flush({ partition: 0, from, to, rows, uncounted: [] }), 'moved')
  return to
}

async function settle(position: LedgerPosition): Promise<boolean> {
  const { cuts } = await positionOf(meter, standOf(0))
  return settleCuts(ports, { partition: 0, position, shards: [standOf(0)] }, cuts)
}

async function standing(customerId: string) {
  const found = await meter.quota.check({ customerId, userId: '', model: 'model-1', tokens: null })
  if (!found.known || found.limits === null) throw new Error(`the meter can't know: ${JSON.stringify(found)}`)
  return found.limits.map(({ used, unknown }) => [used, unknown])
}

t.test('a counter gets what the ledger held before its cut, and is known from then on', async (t) => {
  await use('first')
  const position = await use('first')
  await meter.quota.setLimits(twoDayLimits({ customerId: 'first' }))
  t.same(await standing('first'), [[0, 'seeding']])
  t.ok(await settle(position))
  t.same(await standing('first'), [[14, null]])
})

t.test('what a cut reads in many parts is added whole', async (t) => {
  const quarter = quarterOf(Date.now())
  const rows = Array.from({ length: 2_500 }, (_, i) => ({
    customerId: 'large',
    userId: `user-${i}`,
    model: 'model-1',
    quarter,
    tokens: { ...NO_TOKENS, input: i },
    events: 1
  }))
  await count(meter, [usageEvent({ customerId: 'other' })])
  const position = await flush(rows)
  await meter.quota.setLimits(twoDayLimits({ customerId: 'large' }))
  t.ok(await settle(position))
  t.same(await standing('large'), [[(2_499 * 2_500) / 2, null]])
})

t.test('a cut that the ledger has passed begins again, and is settled at its next moment', async (t) => {
  await use('missed')
  await meter.quota.setLimits(twoDayLimits({ customerId: 'missed' }))
  const position = await use('missed')
  t.ok(await settle(position))
  t.same(await standing('missed'), [[0, 'seeding']])
  t.ok(await settle(position))
  t.same(await standing('missed'), [[14, null]])
})

t.test('nothing is added by whom the ledger has left behind', async (t) => {
  const position = await use('late')
  await meter.quota.setLimits(twoDayLimits({ customerId: 'late' }))
  await use('other')
  t.notOk(await settle(position))
  t.same(await standing('late'), [[0, 'seeding']])
})
