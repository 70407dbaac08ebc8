import t from 'tap'
import { quarterOf, quarterStartMs } from '../../domain/tokens/quarter-hour.ts'
import { NO_TOKENS } from '../../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import { findUncounted } from '../../sql/uncounted-offsets.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import type { Usage } from '../../test/gate/counted-stores.ts'
import { startPipeline } from '../../test/gate/counting-pipeline.ts'
import { type NamedEvents, type NameEventsPorts, nameEvents } from './name-events.ts'

const NOW = quarterOf(Date.now())
const pipeline = await startPipeline(t, 1)
const { arrivals, clickhouse, database, decode, ledger, log, topic, usage } = pipeline

const ports: NameEventsPorts = {
  log,
  arrivals,
  decode,
  leadMs: 300_000,
  uncounted: (partition, from, to) => findUncounted(database, { partition, from, to }),
  analytics: usage
}

function used(customerId: string, id: string, change: Usage = {}): Usage {
  return { customerId, id, occurredAt: quarterStartMs(NOW - 10), tokens: { input: 100 }, ...change }
}

async function name(customerId: string, change: Partial<NameEventsPorts> = {}, stretch = { from: NOW - 20, to: NOW }) {
  const through = new Map([...(await ledger.stands())].map(([partition, stand]) => [partition, stand.analytics]))
  return nameEvents({ customerId, ...stretch }, through, { ...ports, ...change })
}

function told({ named }: NamedEvents): string[] {
  return named.map(({ finding, offset, event }) => `${finding} ${event.id} at ${offset - first}`).sort()
}

/** Offset of the first event of a test; offsets are told from there. */
let first = 0
async function counted(events: readonly Usage[]): Promise<readonly UsageEvent[]> {
  first = (await log.ends())[0]?.end ?? 0
  const sent = await pipeline.send(events)
  await pipeline.drained()
  return sent
}

async function deleteEvent(customerId: string, id: string): Promise<void> {
  await clickhouse.client.command({
    query: 'alter table usage_event delete where customer_id = {customerId:String} and id = {id:String}',
    query_params: { customerId, id },
    clickhouse_settings: { mutations_sync: '1' }
  })
}

/** Copies an event as another one of the same customer. */
async function addEvent(
  customerId: string,
  id: string,
  change: { as: string; offset: number; input?: number }
): Promise<void> {
  await clickhouse.client.command({
    query: `insert into usage_event
      select * replace ({as:String} as id, {offset:UInt64} as record_offset, {input:Int64} as input)
      from (select * from usage_event where customer_id = {customerId:String} and id = {id:String} limit 1)`,
    query_params: { customerId, id, input: 100, ...change }
  })
}

t.test('no event is named where ClickHouse has what was counted, and the log says what that comes to', async (t) => {
  await counted([
    used('whole', 'a'),
    used('whole', 'a'),
    used('whole', 'a', { tokens: { input: 999 } }),
    used('whole', 'b', { model: 'large', tokens: { input: 2 ** 52, output: 5 } }),
    used('whole', 'c', { model: 'large', tokens: { input: 2 ** 52, output: 5 } }),
    used('whole', 'outside', { occurredAt: quarterStartMs(NOW) }),
    used('else', 'a')
  ])
  const found = await name('whole')
  t.strictSame(found, {
    partition: 0,
    from: 0,
    to: 7,
    named: [],
    more: 0,
    expired: 0,
    elsewhere: 0,
    logged: new Map([
      ['model-1', { input: 100n, cacheRead: 0n, cacheWrite: 0n, output: 0n, reasoning: 0n }],
      ['large', { input: 2n ** 53n, cacheRead: 0n, cacheWrite: 0n, output: 10n, reasoning: 0n }]
    ])
  })
})

t.test('each event that ClickHouse lacks, has without the log, has twice or has otherwise is named', async (t) => {
  const [lost] = await counted([
    used('odd', 'lost', { userId: 'ada', source: 'gateway' }),
    used('odd', 'twice'),
    used('odd', 'twice', { userId: 'other' }),
    used('odd', 'dear'),
    used('odd', 'kept'),
    used('else', 'b')
  ])
  await deleteEvent('odd', 'lost')
  await addEvent('odd', 'twice', { as: 'twice', offset: first + 1 })
  await addEvent('odd', 'twice', { as: 'of-a-conflict', offset: first + 2 })
  await addEvent('odd', 'dear', { as: 'dear', offset: first + 3, input: 1_000 })
  await clickhouse.client.command({
    query: `alter table usage_event delete where customer_id = 'odd' and id = 'dear' and input = 100`,
    clickhouse_settings: { mutations_sync: '1' }
  })
  await addEvent('odd', 'kept', { as: 'beyond', offset: 1_000_000 })
  const found = await name('odd')
  t.strictSame(
    told(found),
    [
      'altered dear at 3',
      `unknown beyond at ${1_000_000 - first}`,
      'missing lost at 0',
      'repeated twice at 1',
      'unknown of-a-conflict at 2'
    ].sort()
  )
  const missing = found.named.find(({ finding }) => finding === 'missing')
  t.match(missing, {
    partition: 0,
    event: { id: 'lost', source: 'gateway', userId: 'ada', occurredAt: lost?.occurredAt }
  })
  t.strictSame(missing?.event.tokens, { ...NO_TOKENS, input: 100 })
  t.equal(found.more, 0)
})

t.test('only the offsets from where the stretch can begin up to the ones given are read', async (t) => {
  await counted([used('late', 'early'), used('late', 'kept')])
  const middle = Date.now() + 1
  await waitUntil(async () => Date.now() > middle, { what: 'a millisecond', timeoutMs: 1_000, pollIntervalMs: 1 })
  const begin = first
  await counted([used('late', 'named'), used('late', 'last')])
  await deleteEvent('late', 'named')
  await deleteEvent('late', 'last')
  let read: readonly number[] = []
  const reading: NameEventsPorts['log'] = {
    ends: () => log.ends(),
    read: (partition, from, to) => {
      read = [partition, from, to]
      return log.read(partition, from, to)
    }
  }
  const found = await nameEvents({ customerId: 'late', from: NOW - 20, to: NOW }, new Map([[0, first + 1]]), {
    ...ports,
    log: reading,
    // The stretch begins when the second two were sent.
    leadMs: quarterStartMs(NOW - 20) - middle
  })
  t.strictSame(read, [0, first, first + 1])
  // Events that arrived before their stretch began are none of it.
  first = begin
  t.strictSame(told(found), ['missing named at 2', 'unknown early at 0', 'unknown kept at 1'])
})

t.test('a hundred events are named, the others are counted', async (t) => {
  await counted(Array.from({ length: 130 }, (_, i) => used('many', `event-${i}`)))
  await clickhouse.client.command({
    query: `alter table usage_event delete where customer_id = 'many' and id != 'event-0'`,
    clickhouse_settings: { mutations_sync: '1' }
  })
  const found = await name('many')
  t.equal(found.named.length, 100)
  t.equal(found.more, 29)
  t.ok(found.named.every(({ finding }) => finding === 'missing'))
})

t.test('what retention removed and what lies on other partitions is counted, never named', async (t) => {
  await counted([used('old', 'a'), used('old', 'b'), used('old', 'c'), used('old', 'd')])
  await deleteEvent('old', 'c')
  await clickhouse.client.command({
    query: `insert into usage_event select * replace (7 as partition) from usage_event where customer_id = 'old' and id = 'd'`
  })
  await topic.removeBefore(0, first + 2)
  const found = await name('old')
  t.strictSame(told(found), ['missing c at 2'])
  t.match(found, { from: first + 2, to: first + 4, expired: 2, elsewhere: 1 })
})
