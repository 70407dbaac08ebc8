/**
 * What must be true after any fault, by an independent replay of the log: I1 to I5 of the promises. It reads records and
 * stores with plain code of its own; only reconciling, which is a promise itself, is the product's.
 */
import type { Kafka } from 'kafkajs'
import { connectClickHouse } from '../../clickhouse/connect.ts'
import { reconcileStores } from '../../ingest/commands/reconcile-command.ts'
import { KafkaLogReader } from '../../ingest/kafkajs/log-reader.ts'
import type { Database } from '../../sql/connect.ts'
import { silentLogger } from '../topics.ts'

/** What is judged: where its stores are. */
export interface Judged {
  readonly kafka: Kafka
  readonly database: Database
  readonly environment: Readonly<Record<string, string>>
  readonly installation: { readonly usageTopic: string }
}

export interface Finding {
  readonly promise: 'I1' | 'I2' | 'I3' | 'I4' | 'I5'
  readonly what: string
}

interface Logged {
  readonly place: string
  readonly identity: string
  readonly content: string
  readonly customerId: string
  readonly model: string
  readonly hour: number
  readonly tokens: number
}

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000

export async function judge(system: Judged): Promise<readonly Finding[]> {
  const findings: Finding[] = []
  const find = (promise: Finding['promise'], what: string): void => {
    if (findings.length < 20) findings.push({ promise, what })
  }
  const { events, poison, ends } = await replay(system)
  const uncounted = await readUncounted(system)
  const letters = await readLetters(system)
  const counted = events.filter(({ place }) => !uncounted.has(place))

  for (const place of poison) {
    if (!uncounted.has(place)) find('I1', `${place} can't be read, and was counted`)
  }
  for (const [place, reason] of uncounted) {
    if (reason !== 'duplicate' && !letters.has(place))
      find('I1', `${place} was refused as ${reason}, and no dead letter tells`)
  }
  checkIdentities(events, uncounted, find)
  await checkLedger(system, counted, find)
  await checkClickHouse(system, counted, find)
  await checkCursors(system, ends, find)
  const { differences } = await reconcileStores({ ...process.env, ...system.environment })
  for (const one of differences) find('I4', `${one.customerId}: ledger ${one.ledger}, ${one.what} ${one.other}`)
  return findings
}

type Find = (promise: Finding['promise'], what: string) => void

/** Of all copies of an identity exactly one is counted; the others are duplicates of it or contradict it. */
function checkIdentities(events: readonly Logged[], uncounted: ReadonlyMap<string, string>, find: Find): void {
  const copies = new Map<string, Logged[]>()
  for (const event of events) copies.set(event.identity, [...(copies.get(event.identity) ?? []), event])
  for (const [identity, all] of copies) {
    const [counted, ...more] = all.filter(({ place }) => !uncounted.has(place))
    if (counted === undefined) find('I1', `${identity} is lost: ${all.map(({ place }) => place)}`)
    else if (more.length > 0) find('I1', `${identity} is counted ${more.length + 1} times`)
    for (const copy of all) {
      const reason = uncounted.get(copy.place)
      const expected = copy.content === counted?.content ? 'duplicate' : 'conflict'
      if (reason !== undefined && reason !== expected)
        find('I1', `${copy.place} is called ${reason} instead of ${expected}`)
    }
  }
}

async function checkLedger(system: Judged, counted: readonly Logged[], find: Find): Promise<void> {
  const rows = await system.database.query<{ customer_id: string; model: string; hour: number; tokens: string }>(
    'sum the ledger',
    {
      text: `select customer_id, model, floor(quarter / 4.0)::integer as hour,
                  sum(input + cache_read + cache_write + output + reasoning) as tokens
             from usage_ledger group by customer_id, model, hour`
    }
  )
  const expected = sumBy(counted, ({ customerId, model, hour }) => `${customerId} ${model} ${hour}`)
  for (const { customer_id, model, hour, tokens } of rows) {
    const key = `${customer_id} ${model} ${hour}`
    if (Number(tokens) !== (expected.get(key) ?? 0))
      find('I2', `${key}: the ledger has ${tokens}, the log ${expected.get(key)}`)
    expected.delete(key)
  }
  for (const [key, tokens] of expected) find('I2', `${key}: the ledger has nothing, the log ${tokens}`)
}

async function checkClickHouse(system: Judged, counted: readonly Logged[], find: Find): Promise<void> {
  const { CLICKHOUSE_URL: url = '', CLICKHOUSE_DATABASE: database = '' } = system.environment
  const client = connectClickHouse({ url, database })
  const answer = await client.query({
    query: `select concat(toString(partition), ':', toString(record_offset)) as place, toString(count()) as copies,
                   toString(any(input + cache_read + cache_write + output + reasoning)) as tokens
              from usage_event group by place`,
    format: 'JSONEachRow'
  })
  const rows = await answer.json<{ place: string; copies: string; tokens: string }>()
  await client.close()
  const expected = new Map(counted.map((event) => [event.place, event.tokens]))
  for (const { place, copies, tokens } of rows) {
    if (copies !== '1') find('I3', `${place} stands ${copies} times in ClickHouse`)
    if (expected.get(place) !== Number(tokens))
      find('I3', `${place} has ${tokens} tokens in ClickHouse, ${expected.get(place)} in the log`)
    expected.delete(place)
  }
  for (const place of expected.keys()) find('I3', `${place} is not in ClickHouse`)
}

async function checkCursors(system: Judged, ends: ReadonlyMap<number, number>, find: Find): Promise<void> {
  const rows = await system.database.query<{ partition: number; ledger_cursor: string }>('read the cursors', {
    text: 'select partition, ledger_cursor from usage_partition'
  })
  for (const { partition, ledger_cursor } of rows) {
    if (Number(ledger_cursor) > (ends.get(partition) ?? 0)) find('I5', `the cursor of ${partition} is beyond the log`)
  }
}

async function replay(system: Judged) {
  const reader = readerOf(system, system.installation.usageTopic)
  const events: Logged[] = []
  const poison: string[] = []
  const ends = new Map<number, number>()
  for (const [partition, { end }] of (await reader.ends()).entries()) {
    ends.set(partition, end)
    for await (const { records } of reader.read(partition, 0, end)) {
      for (const { offset, arrivedAt, value } of records) {
        const event = readEvent(String(value), arrivedAt, `${partition}:${offset}`)
        if (event === null) poison.push(`${partition}:${offset}`)
        else events.push(event)
      }
    }
  }
  await reader.close()
  return { events, poison, ends }
}

function readEvent(text: string, arrivedAt: number, place: string): Logged | null {
  if (text.startsWith('{"broken"')) return null
  const { id, source, subject, time, data } = JSON.parse(text)
  const at = Date.parse(time)
  if (arrivedAt - at > DAY_MS) return null
  const tokens = Number(data.tokens.input) + Number(data.tokens.output ?? 0)
  return {
    place,
    identity: `${subject} ${source} ${id}`,
    content: JSON.stringify([data.tokens.input, data.tokens.output ?? 0, data.userId ?? '', data.model]),
    customerId: subject,
    model: data.model,
    hour: Math.floor(at / HOUR_MS),
    tokens
  }
}

async function readUncounted(system: Judged): Promise<Map<string, string>> {
  const rows = await system.database.query<{ partition: number; record_offset: string; reason: string }>(
    'read what was left out',
    {
      text: 'select partition, record_offset, reason from usage_uncounted'
    }
  )
  return new Map(rows.map(({ partition, record_offset, reason }) => [`${partition}:${record_offset}`, reason]))
}

async function readLetters(system: Judged): Promise<Set<string>> {
  const reader = readerOf(system, system.environment.DEAD_LETTER_TOPIC ?? '')
  const places = new Set<string>()
  for (const [partition, { end }] of (await reader.ends()).entries()) {
    for await (const { records } of reader.read(partition, 0, end)) {
      for (const { headers } of records) places.add(`${headers['tm-partition']}:${headers['tm-offset']}`)
    }
  }
  await reader.close()
  return places
}

function readerOf({ kafka, installation }: Judged, topic: string): KafkaLogReader {
  return new KafkaLogReader({ kafka, topic, groupIdPrefix: `oracle-${installation.usageTopic}`, logger: silentLogger })
}

function sumBy(events: readonly Logged[], keyOf: (event: Logged) => string): Map<string, number> {
  const sums = new Map<string, number>()
  for (const event of events) sums.set(keyOf(event), (sums.get(keyOf(event)) ?? 0) + event.tokens)
  return sums
}
