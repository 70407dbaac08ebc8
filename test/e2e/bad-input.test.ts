// What can't be counted is kept whole with its reason, told by the same words over HTTP, and stops nothing behind it.

import t from 'tap'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { type BatchTold, type ProblemTold, told } from './api-caller.ts'
import { BAD_CUSTOMER, badRecords } from './bad-records.ts'
import { npmRun } from './run-program.ts'
import { startSystem } from './start-system.ts'
import { readStoredLetters } from './stored-letters.ts'
import { type UsageEnvelope, usageEnvelope } from './usage-envelope.ts'

const GOOD_TOKENS = 11
/** How far ahead of its arrival the meter takes an event. */
const LEAD_MS = 300_000

interface ListedLetter {
  readonly partition: number
  readonly offset: number
  readonly reason: string
  readonly field: string | null
  readonly valueBytes: number | null
  readonly isUncounted: boolean
}

const system = await startSystem(t)
const { api, ledger, producer, usageTopic: topic } = system
const bad = badRecords()
let goodEvents = 0

function goodEvent(): UsageEnvelope {
  goodEvents++
  return usageEnvelope({
    id: `good-${goodEvents}`,
    customerId: BAD_CUSTOMER,
    data: { tokens: { output: GOOD_TOKENS } }
  })
}

async function produce(value: string): Promise<{ partition: number; offset: number }> {
  const headers = { 'content-type': 'application/cloudevents+json', trace: 'kept' }
  const [sent] = await producer.send({ topic, messages: [{ key: BAD_CUSTOMER, value, headers }], acks: -1 })
  return { partition: sent?.partition ?? -1, offset: Number(sent?.baseOffset) }
}

async function listLetters(): Promise<ListedLetter[]> {
  const lines = await npmRun(system.environment, 'dead-letters', 'list', '--json')
  return lines
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
}

function counted(): Promise<number> {
  return ledger.tokens({ customerId: BAD_CUSTOMER })
}

t.test('a bad record becomes a dead letter with its own bytes, and the good event after it is counted', async (t) => {
  const places = new Map<string, { partition: number; offset: number }>()
  for (const { name, value } of bad) {
    places.set(name, await produce(value))
    await produce(JSON.stringify(goodEvent()))
  }
  await system.drained()
  t.equal(await counted(), bad.length * GOOD_TOKENS, 'every good event is counted')
  const stored = await readStoredLetters(system.environment)
  const listed = await listLetters()
  t.equal(stored.length, bad.length)
  t.equal(listed.length, bad.length)
  for (const { name, value, reason, field } of bad) {
    const { partition, offset } = places.get(name) ?? {}
    const letter = stored.find((one) => one.partition === partition && one.record.offset === offset)
    t.equal(letter?.record.value?.toString(), value, `${name}: its bytes are kept`)
    t.match(letter?.record, { key: Buffer.from(BAD_CUSTOMER), headers: { trace: Buffer.from('kept') } })
    t.match(letter, { reason, field }, `${name}: ${reason} ${field}`)
    const line = listed.find((one) => one.partition === partition && one.offset === offset)
    t.match(line, { reason, field, valueBytes: Buffer.byteLength(value), isUncounted: true }, `${name}: listed`)
  }
})

t.test('the same over HTTP is rejected record by record, with the same reason and field', async (t) => {
  const before = await counted()
  for (const { name, value, reason, field, wholeBodyCode } of bad) {
    const batch = await api.sendBytes('POST', '/v1/usage-events', `[${value},${JSON.stringify(goodEvent())}]`)
    const alone = told<ProblemTold>(await api.sendBytes('POST', '/v1/usage-events', value))
    if (wholeBodyCode !== undefined) {
      goodEvents--
      t.equal(batch.status, 400, name)
      t.equal(told<ProblemTold>(batch).code, wholeBodyCode)
      t.equal(alone.code, wholeBodyCode)
      continue
    }
    t.equal(batch.status, 202, name)
    const [rejected, accepted] = told<BatchTold>(batch).results
    t.match(rejected, { status: 'rejected', code: reason, ...(field === null ? {} : { field }) }, name)
    t.equal(accepted?.status, 'accepted', `${name}: its neighbour is taken`)
    if (reason === 'too-large') t.equal(alone.code, 'usage-event-too-large')
    else t.match(alone, { code: 'usage-event-rejected', rejection: reason, errors: [{ field }] }, `${name}, alone`)
  }
  await system.drained()
  t.equal(await counted(), goodEvents * GOOD_TOKENS)
  t.ok((await counted()) > before)
})

t.test('a dead letter that has become right is counted once when it is replayed, and once only', async (t) => {
  const before = await counted()
  const occurredAt = Date.now() + LEAD_MS + 2_000
  const early = usageEnvelope({ id: 'early', customerId: BAD_CUSTOMER, occurredAt, data: { tokens: { input: 1_000 } } })
  const { partition, offset } = await produce(JSON.stringify(early))
  await system.drained()
  t.equal(await counted(), before)
  t.match(
    (await listLetters()).find((one) => one.partition === partition && one.offset === offset),
    { reason: 'too-early', field: 'time' }
  )
  await waitUntil(async () => Date.now() > occurredAt - LEAD_MS, { what: 'the time of the event', timeoutMs: 10_000 })
  const replay = ['replay', '--offset', `${partition}:${offset}`]
  await npmRun(system.environment, 'dead-letters', ...replay)
  await system.drained()
  t.equal(await counted(), before + 1_000)
  await npmRun(system.environment, 'dead-letters', ...replay)
  await system.drained()
  t.equal(await counted(), before + 1_000)
  t.equal(await ledger.uncounted('duplicate'), 1)
  t.equal(await api.usedTokens(BAD_CUSTOMER), before + 1_000, 'ClickHouse has the same')
  t.equal(JSON.parse(await npmRun(system.environment, 'reconcile', '--json')).drift, 0)
})
