/**
 * `npm run dead-letters -- list` shows what was not counted and why; `replay` sends records again as they were. The table of
 * uncounted offsets is the truth, the dead-letter topic holds the records themselves: `list` reads both and says where they
 * differ. A replayed record arrives anew: what came too late comes later still, what was counted meanwhile is a duplicate.
 */
import { Command, Option } from 'commander'
import kafkajs, { type Kafka, type Message } from 'kafkajs'
import type { LogReader } from '../../domain/ports.ts'
import type { UncountedReason } from '../../domain/tokens/usage-event.ts'
import { kafkaVariables, postgresVariables } from '../../monitoring/config.ts'
import { loadConfig } from '../../monitoring/load-config.ts'
import { Database } from '../../sql/connect.ts'
import { PostgresLedgerReport } from '../../sql/ledger-report.ts'
import { cutRequests, decodeDeadLetter, isUncountedReason, type StoredDeadLetter } from '../dead-letter-producer.ts'
import { createKafka, kafkaAddress, type Logger } from '../kafkajs/kafka-client.ts'
import { KafkaLogReader } from '../kafkajs/log-reader.ts'

export interface UncountedRow {
  readonly partition: number
  readonly offset: number
  readonly reason: UncountedReason
  readonly field: string | null
  readonly message: string
}

/** The table of uncounted offsets, by partition and offset, in pages; `next` null at the end. */
export interface UncountedTable {
  listUncounted(query: {
    readonly partition?: number
    readonly reason?: UncountedReason
    readonly after: string
    readonly limit: number
  }): Promise<{ readonly items: readonly UncountedRow[]; readonly next: string | null }>
}

export interface DeadLetterFilter {
  readonly reason?: UncountedReason
  readonly partition?: number
  /** `partition:offset` of the usage topic. */
  readonly places?: ReadonlySet<string>
}

/** One record that was not counted, from the topic, the table, or both. */
export interface ListedLetter extends UncountedRow {
  readonly arrivedAt: number | null
  readonly key: string | null
  readonly valueBytes: number | null
  /** Times the record stands in the dead-letter topic: none for a plain duplicate, more than one after a retry. */
  readonly copies: number
  /** False while the ledger's cursor has not passed it yet, or when the table was cleared. */
  readonly isUncounted: boolean
}

export interface LetterSources {
  /** Of the dead-letter topic. */
  readonly reader: LogReader
  readonly usageTopic: string
  readonly table: UncountedTable
}

const PAGE_ROWS = 1_000
const PRODUCE_MESSAGES_MAX = 200

/** Plain duplicates stand in the table alone, often by the million: they are listed when they are asked for. */
export async function listLetters(sources: LetterSources, filter: DeadLetterFilter): Promise<readonly ListedLetter[]> {
  const listed = new Map<string, ListedLetter>()
  for await (const letter of readLetters(sources, filter)) {
    const place = placeOf(letter.partition, letter.record.offset)
    const { partition, reason, field, message, record } = letter
    listed.set(place, {
      partition,
      offset: record.offset,
      reason,
      field,
      message,
      arrivedAt: record.arrivedAt,
      key: record.key?.toString() ?? null,
      valueBytes: record.value?.length ?? null,
      copies: (listed.get(place)?.copies ?? 0) + 1,
      isUncounted: false
    })
  }
  for await (const row of readTable(sources.table, filter)) {
    const place = placeOf(row.partition, row.offset)
    const known = listed.get(place) ?? { ...row, arrivedAt: null, key: null, valueBytes: null, copies: 0 }
    listed.set(place, { ...known, isUncounted: true })
  }
  return [...listed.values()].sort((a, b) => a.partition - b.partition || a.offset - b.offset)
}

async function* readLetters(
  { reader, usageTopic }: Omit<LetterSources, 'table'>,
  { reason, partition, places }: DeadLetterFilter
): AsyncGenerator<StoredDeadLetter> {
  for (const [source, { first, end }] of (await reader.ends()).entries()) {
    for await (const { records } of reader.read(source, first, end)) {
      for (const record of records) {
        const letter = decodeDeadLetter(record)
        if (letter === null || letter.topic !== usageTopic) continue
        if (reason !== undefined && letter.reason !== reason) continue
        if (partition !== undefined && letter.partition !== partition) continue
        if (places !== undefined && !places.has(placeOf(letter.partition, letter.record.offset))) continue
        yield letter
      }
    }
  }
}

async function* readTable(table: UncountedTable, filter: DeadLetterFilter): AsyncGenerator<UncountedRow> {
  const { reason, partition } = filter
  for (let after: string | null = ''; after !== null; ) {
    const page: Awaited<ReturnType<UncountedTable['listUncounted']>> = await table.listUncounted({
      ...(reason === undefined ? {} : { reason }),
      ...(partition === undefined ? {} : { partition }),
      after,
      limit: PAGE_ROWS
    })
    for (const row of page.items) if (reason === 'duplicate' || row.reason !== 'duplicate') yield row
    after = page.next
  }
}

export interface ReplayOutcome {
  /** Records acknowledged by the broker, each once however many copies there were. */
  readonly replayed: readonly string[]
  /** Asked for by place, but in no dead letter. */
  readonly missing: readonly string[]
}

/** Sends the records to the usage topic: same key, same bytes, the headers they came with. */
export async function replayLetters(
  { kafka, reader, usageTopic }: { readonly kafka: Kafka; readonly reader: LogReader; readonly usageTopic: string },
  filter: DeadLetterFilter,
  isDryRun = false
): Promise<ReplayOutcome> {
  const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
  const replayed = new Set<string>()
  const seen = new Set<string>()
  let waiting: { readonly place: string; readonly message: Message }[] = []
  const send = async (): Promise<void> => {
    for (const messages of cutRequests(waiting.map(({ message }) => message))) {
      if (!isDryRun) await producer.send({ topic: usageTopic, messages, acks: -1 })
    }
    for (const { place } of waiting) replayed.add(place)
    waiting = []
  }
  if (!isDryRun) await producer.connect()
  try {
    for await (const { partition, record } of readLetters({ reader, usageTopic }, filter)) {
      const place = placeOf(partition, record.offset)
      if (seen.has(place)) continue
      seen.add(place)
      const { key, value, headers } = record
      waiting.push({ place, message: { key, value, headers: { ...headers } } })
      if (waiting.length >= PRODUCE_MESSAGES_MAX) await send()
    }
    await send()
  } finally {
    if (!isDryRun) await producer.disconnect()
  }
  return { replayed: [...replayed], missing: [...(filter.places ?? [])].filter((place) => !seen.has(place)) }
}

function placeOf(partition: number, offset: number): string {
  return `${partition}:${offset}`
}

// ---- the command -----------------------------------------------------------------------------------------------------

interface ListChoice {
  readonly reason?: UncountedReason
  readonly partition?: number
  readonly limit: number
  readonly json?: boolean
}

interface ReplayChoice {
  readonly reason?: UncountedReason
  readonly offset?: ReadonlySet<string>
  readonly all?: boolean
  readonly dryRun?: boolean
}

/** Reads where the services are, and the topics' names, from the environment, as the processes do. */
export async function runDeadLettersCommand(args: readonly string[]): Promise<void> {
  const program = new Command('dead-letters').description('records of the usage topic that were not counted')
  const reason = new Option('--reason <code>', 'only this reason').argParser(parseReason)
  program
    .command('list')
    .description('what was not counted, from the dead-letter topic and the table of uncounted offsets')
    .addOption(reason)
    .option('--partition <number>', 'only this partition of the usage topic', parseCount)
    .option('--limit <number>', 'print at most so many records', parseCount, 100)
    .option('--json', 'one JSON object a record')
    .action((choice: ListChoice) => withConnections((connections) => printList(connections, choice)))
  program
    .command('replay')
    .description('send records to the usage topic again, as they were')
    .addOption(reason)
    .option('--offset <partition:offset...>', 'only these records', parsePlace)
    .option('--all', 'every dead letter')
    .option('--dry-run', 'only say which')
    .action((choice: ReplayChoice) => withConnections((connections) => printReplay(connections, choice)))
  await program.parseAsync([...args], { from: 'user' })
}

interface Connections extends LetterSources {
  readonly kafka: Kafka
}

async function withConnections(work: (connections: Connections) => Promise<void>): Promise<void> {
  const config = loadConfig([kafkaVariables, postgresVariables])
  const applicationName = 'tokenmeter-dead-letters'
  const kafka = createKafka({ ...kafkaAddress(config), clientId: applicationName }, LOGGER)
  const topic = config.DEAD_LETTER_TOPIC
  const reader = new KafkaLogReader({ kafka, topic, groupIdPrefix: applicationName, logger: LOGGER })
  const database = new Database({ databaseUrl: config.DATABASE_URL, applicationName })
  try {
    await work({ kafka, reader, usageTopic: config.USAGE_TOPIC, table: new PostgresLedgerReport(database) })
  } finally {
    await reader.close()
    await database.close()
  }
}

async function printList(connections: Connections, { limit, json, ...filter }: ListChoice): Promise<void> {
  const letters = await listLetters(connections, filter)
  for (const letter of letters.slice(0, limit)) {
    if (json) console.log(JSON.stringify(letter))
    else console.log(describeLetter(letter))
  }
  const say = json ? console.error : console.log
  const withLetter = letters.filter(({ copies }) => copies > 0)
  const uncounted = letters.filter(({ isUncounted }) => isUncounted)
  const unkept = letters.filter(({ copies, reason }) => copies === 0 && reason !== 'duplicate')
  say(`${letters.length} records not counted, ${Math.min(limit, letters.length)} shown`)
  say(`${withLetter.length} in the dead-letter topic, ${uncounted.length} in the table of uncounted offsets`)
  if (unkept.length > 0) say(`${unkept.length} have no dead letter: its topic no longer keeps them`)
}

function describeLetter({ partition, offset, reason, field, message, key, arrivedAt, copies }: ListedLetter): string {
  const arrived = arrivedAt === null ? '' : ` arrived ${new Date(arrivedAt).toISOString()}`
  const customer = key === null ? '' : ` customer ${key}`
  const kept = copies === 0 ? ' (no dead letter)' : ''
  return `${placeOf(partition, offset)} ${reason}${field === null ? '' : ` ${field}`}: ${message}${customer}${arrived}${kept}`
}

async function printReplay(connections: Connections, { reason, offset, all, dryRun }: ReplayChoice): Promise<void> {
  if (reason === undefined && offset === undefined && !all) throw new Error('say which: --reason, --offset or --all')
  const filter = { ...(reason === undefined ? {} : { reason }), ...(offset === undefined ? {} : { places: offset }) }
  const { replayed, missing } = await replayLetters(connections, filter, dryRun ?? false)
  for (const place of replayed) console.log(place)
  console.log(`${replayed.length} records ${dryRun ? 'would be sent' : 'sent'} to ${connections.usageTopic} again`)
  if (missing.length === 0) return
  console.log(`${missing.length} not found in the dead-letter topic: ${missing.join(' ')}`)
  process.exitCode = 1
}

function parseReason(text: string): UncountedReason {
  if (!isUncountedReason(text)) throw new Error(`no reason is called ${text}`)
  return text
}

function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Error(`${text} is not a number from 0 on`)
  return Number(text)
}

function parsePlace(text: string, before: ReadonlySet<string> | undefined): ReadonlySet<string> {
  if (!/^\d+:\d+$/.test(text)) throw new Error(`${text} is not partition:offset`)
  return new Set([...(before ?? []), text])
}

const LOGGER: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (_, message) => console.error(message),
  error: (fields, message) => console.error(message, fields)
}
