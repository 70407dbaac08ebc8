import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Uncounted } from '../../domain/ports.ts'
import { Database } from '../../sql/connect.ts'
import { PostgresUsageLedger } from '../../sql/usage-ledger.ts'
import { serviceUrl } from '../../stack/service-urls.ts'
import { freshDatabase } from '../../test/services.ts'
import { freshTopic, silentLogger } from '../../test/topics.ts'
import { KafkaDeadLetters } from '../dead-letter-producer.ts'
import { KafkaLogReader } from '../kafkajs/log-reader.ts'

const COMMAND = join(import.meta.dirname, '..', '..', 'stack', 'commands', 'operations', 'dead-letters.ts')

/** Four records of the usage topic: three with dead letters (one of them twice), three in the table of uncounted offsets. */
async function prepareLetters(t: Test) {
  const topic = await freshTopic(t, 2)
  const databaseUrl = await freshDatabase(t)
  await topic.send([
    { partition: 0, key: 'acme', value: 'no json' },
    { partition: 0, key: 'acme', value: '{"twice":1}', headers: { ce_id: 'c-1' } },
    { partition: 0, key: 'acme', value: '{"repeat":1}' },
    { partition: 1, key: 'bolt', value: '{"late":1}' }
  ])
  const reader = new KafkaLogReader({
    kafka: topic.kafka,
    topic: topic.topic,
    groupIdPrefix: `reader-of-${topic.topic}`,
    logger: silentLogger
  })
  t.teardown(() => reader.close())
  const readPartition = async (partition: number) => {
    const records = []
    for await (const batch of reader.read(partition, 0, Number.MAX_SAFE_INTEGER)) records.push(...batch.records)
    return records
  }
  const [broken, conflict] = await readPartition(0)
  const [late] = await readPartition(1)
  if (!broken || !conflict || !late) throw new Error('the records did not arrive')
  const letters = await KafkaDeadLetters.connect({
    kafka: topic.kafka,
    topic: topic.deadLetterTopic,
    usageTopic: topic.topic
  })
  t.teardown(() => letters.close())
  const poison = { partition: 0, record: broken, reason: 'not-json', field: null, message: 'no' } as const
  await letters.append([
    poison,
    { partition: 0, record: conflict, reason: 'conflict', field: null, message: 'other tokens' },
    { partition: 1, record: late, reason: 'too-late', field: 'time', message: 'a day late' }
  ])
  await letters.append([poison])
  await noteUncounted(databaseUrl, [
    { offset: 0, reason: 'not-json', field: null, message: 'no' },
    { offset: 1, reason: 'conflict', field: null, message: 'other tokens' },
    { offset: 2, reason: 'duplicate', field: null, message: '' }
  ])
  const environment = {
    ...process.env,
    KAFKA_BROKERS: serviceUrl('KAFKA_BROKERS'),
    DATABASE_URL: databaseUrl,
    USAGE_TOPIC: topic.topic,
    DEAD_LETTER_TOPIC: topic.deadLetterTopic
  }
  return { run: (...args: string[]) => runCommand(environment, args), readPartition, conflict, late }
}

function runCommand(environment: NodeJS.ProcessEnv, args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, ...args], {
    encoding: 'utf8',
    env: environment
  })
  return { status, lines: stdout.trimEnd().split('\n'), stderr }
}

t.test('list shows what topic and table hold, and the counts add up', async (t) => {
  const { run } = await prepareLetters(t)
  const listed = run('list', '--json')
  t.same(
    listed.lines
      .map((line) => JSON.parse(line))
      .map(({ partition, offset, reason, copies, isUncounted }) => ({
        partition,
        offset,
        reason,
        copies,
        isUncounted
      })),
    [
      { partition: 0, offset: 0, reason: 'not-json', copies: 2, isUncounted: true },
      { partition: 0, offset: 1, reason: 'conflict', copies: 1, isUncounted: true },
      { partition: 1, offset: 0, reason: 'too-late', copies: 1, isUncounted: false }
    ],
    listed.stderr
  )
  t.match(listed.stderr, /3 records not counted, 3 shown\n3 in the dead-letter topic, 2 in the table/)
  const duplicates = run('list', '--reason', 'duplicate')
  t.match(duplicates.lines, [/^0:2 duplicate/, '1 records not counted, 1 shown', /^0 in the dead-letter topic, 1 in/])
  t.match(run('list', '--partition', '1', '--limit', '0').lines, ['1 records not counted, 0 shown', /^1 in/])
  t.not(run('list', '--reason', 'nonsense').status, 0)
})

t.test('replay sends a dead letter to the usage topic again as it was, and names what is not there', async (t) => {
  const { run, readPartition, conflict, late } = await prepareLetters(t)
  t.not(run('replay').status, 0, 'replay wants to be told which')

  t.match(run('replay', '--all', '--dry-run').lines.at(-1), /^3 records would be sent/)
  const replayed = run('replay', '--offset', '0:1', '1:0', '0:77')
  t.equal(replayed.status, 1, 'one of them is not there')
  t.match(replayed.lines, ['0:1', '1:0', /^2 records sent/, /^1 not found .* 0:77$/])
  const after = [...(await readPartition(0)), ...(await readPartition(1))].filter(
    ({ value }) => value?.equals(conflict.value ?? Buffer.alloc(0)) || value?.equals(late.value ?? Buffer.alloc(0))
  )
  t.equal(after.length, 4, 'both stand in the log twice')
  const copies = after.filter(({ value }) => value?.equals(conflict.value ?? Buffer.alloc(0)))
  t.same(
    copies.map(({ key, headers }) => ({ key: key?.toString(), headers: Object.keys(headers) })),
    [
      { key: 'acme', headers: ['ce_id'] },
      { key: 'acme', headers: ['ce_id'] }
    ]
  )
})

async function noteUncounted(databaseUrl: string, uncounted: readonly Uncounted[]): Promise<void> {
  const database = new Database({ databaseUrl, applicationName: 'test' })
  const ledger = new PostgresUsageLedger(database, 1)
  const from = await ledger.open(0)
  const to = { ...from, cursor: 3, previousArrivedAt: 1 }
  const outcome = await ledger.flush({ partition: 0, from, to, rows: [], uncounted })
  await database.close()
  if (outcome !== 'moved') throw new Error(`the ledger says ${outcome}`)
}
