/**
 * `npm run billing -- run | preview | status | parked`: billing by hand, in this process, with what the worker bills with. A run by hand
 * and one of the worker may run at once: each boundary is billed by one of them. Exit code 0: all that was due is billed; 2: something
 * of it is parked, and `parked` says why; 1: it could not go on.
 */
import { SingleBar } from 'cli-progress'
import { Command } from 'commander'
import type { CustomerStretch } from '../../domain/billing/invoices/billing-gate.ts'
import type { ParkedBoundary, RoundOutcome } from '../../domain/billing/invoices/billing-store.ts'
import { draftInvoice } from '../../domain/billing/invoices/draft-invoice.ts'
import { lineToJson, totalsToJson } from '../../domain/billing/invoices/invoice-json.ts'
import { tellParkReason } from '../../domain/billing/invoices/park-reason.ts'
import { taxRatesOf } from '../../domain/billing/tax-table.ts'
import { RetryableError } from '../../domain/errors.ts'
import { DEFAULT_DECODE_LIMITS } from '../../domain/tokens/decode-cloud-event.ts'
import { parseRfc3339 } from '../../domain/tokens/rfc3339-time.ts'
import { decodeUsageEvent } from '../../ingest/decode-usage-event.ts'
import { KafkaLogReader } from '../../ingest/kafkajs/log-reader.ts'
import { createLogger } from '../../monitoring/logger.ts'
import { PostgresAnalyticsBlocks } from '../../sql/analytics-blocks.ts'
import { PostgresGateLedger } from '../../sql/billing/gate-ledger.ts'
import { billDue } from '../bill-due.ts'
import { type NamedEvents, nameEvents } from '../gate/name-events.ts'
import { billingTerms, connectBilling, loadBillingConfig, queueAddress, roundsOf } from '../main.ts'
import { askForRun, awaitQueue, type BillingQueue, lastRun, openBillingQueue } from '../queues.ts'
import { describeContent, describeNamed, describeParked, describeRun, describeStatus } from './describe-billing.ts'

const NAME = 'tokenmeter-billing-command'
const PARKED_EXIT_CODE = 2
/** Parked boundaries that are listed; one that is explained is looked for among them. */
const PARKED_MAX = 1_000
/** Without a terminal progress is a line each so many boundaries. */
const BOUNDARIES_A_LINE = 1_000

export async function runBillingCommand(args: readonly string[]): Promise<void> {
  const program = new Command('billing').description('bill by hand, and see what is billed, what is not, and why')
  program
    .command('run')
    .description('bill what is due, in this process')
    .option(
      '--as-of <time>',
      'as if it were this time (RFC 3339): for tests, and for catching up by hand',
      parseInstant
    )
    .option('--subscription <id>', 'this subscription alone')
    .option('--worker', 'leave it to the worker: put a job into its queue and end')
    .option('--json', 'one JSON object at the end')
    .action((choice: RunChoice) => withBilling((billing) => run(billing, choice)))
  program
    .command('preview')
    .description('what an invoice of the running period would say if it ended now; nothing is written')
    .argument('<subscription>', 'id of a subscription')
    .option('--json', 'as one JSON object')
    .action((id: string, choice: { json?: boolean }) => withBilling((billing) => preview(billing, id, choice)))
  program
    .command('status')
    .description('what is due, what is parked, and the last runs of the worker')
    .option('--json', 'as one JSON object')
    .action((choice: { json?: boolean }) => withBilling((billing) => status(billing, choice)))
  program
    .command('parked')
    .description('what could not be billed, and why')
    .option('--explain <subscription>', 'which events make its stores differ: reads its part of the log')
    .option('--json', 'one JSON object a line')
    .action((choice: ParkedChoice) => withBilling((billing) => parked(billing, choice)))
  await program.parseAsync([...args], { from: 'user' })
}

type Billing = ReturnType<typeof openBilling>

function openBilling() {
  const config = loadBillingConfig()
  const logger = createLogger({ name: NAME, level: 'error' })
  return { config, logger, terms: billingTerms(config), ...connectBilling(config, { name: NAME, logger }) }
}

async function withBilling(work: (billing: Billing) => Promise<void>): Promise<void> {
  const billing = openBilling()
  try {
    await work(billing)
  } catch (error) {
    if (!(error instanceof RetryableError)) throw error
    console.error(error.message)
    process.exitCode = 1
  } finally {
    await billing.close()
  }
}

async function withQueue<T>({ config }: Billing, work: (queue: BillingQueue) => Promise<T>): Promise<T> {
  // What can't be reached is told by `awaitQueue`, once.
  const queue = openBillingQueue(queueAddress(config), () => undefined)
  try {
    await awaitQueue(queue)
    return await work(queue)
  } finally {
    await queue.close()
  }
}

// ---- run -------------------------------------------------------------------------------------------------------------

interface RunChoice {
  readonly asOf?: number
  readonly subscription?: string
  readonly worker?: boolean
  readonly json?: boolean
}

async function run(billing: Billing, choice: RunChoice): Promise<void> {
  const { asOf, subscription: subscriptionId = null, worker = false, json = false } = choice
  if (worker && asOf !== undefined) throw new Error('--as-of is for runs in this process, not for the worker')
  if (worker) {
    const jobId = await withQueue(billing, (queue) => askForRun(queue, subscriptionId))
    console.log(json ? JSON.stringify({ jobId }) : `job ${jobId} waits for a worker`)
    return
  }
  const { config, store, gate, terms } = billing
  const now = asOf === undefined ? Date.now : () => asOf
  const { due, parked: parkedBefore } = await store.status(now() - terms.graceMs)
  const progress = showProgress(subscriptionId === null ? due + parkedBefore : 1)
  const startedAt = performance.now()
  let outcome: RoundOutcome
  try {
    outcome = await billDue(
      { store, gate, terms, now },
      {
        ...roundsOf(config),
        subscriptionId,
        onProgress: progress.show,
        isStopped: stopsOnSignal()
      }
    )
  } finally {
    progress.stop()
  }
  const seconds = (performance.now() - startedAt) / 1_000
  const invoicesPerSecond = Math.round(outcome.invoiced / seconds)
  console.log(json ? JSON.stringify({ ...outcome, seconds, invoicesPerSecond }) : describeRun(outcome, seconds))
  if (outcome.parked > 0) process.exitCode = PARKED_EXIT_CODE
}

/** The round under way ends; the next run bills the rest. A second signal ends the process as ever, and undoes its rounds. */
function stopsOnSignal(): () => boolean {
  let isStopped = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      isStopped = true
      console.error('stops after this round')
    })
  }
  return () => isStopped
}

interface Progress {
  readonly show: (soFar: RoundOutcome) => void
  readonly stop: () => void
}

/** A bar on a terminal, lines elsewhere. */
function showProgress(expected: number): Progress {
  if (!process.stderr.isTTY) return progressLines(expected)
  const format = 'billing [{bar}] {percentage} % | {value} of {total} | {eta_formatted} left'
  const bar = new SingleBar({ format, stream: process.stderr, hideCursor: true })
  bar.start(expected, 0)
  return {
    show: (soFar) => {
      // More may have become due since, such as the settlement of a subscription that ended.
      bar.setTotal(Math.max(expected, sumOf(soFar)))
      bar.update(sumOf(soFar))
    },
    stop: () => bar.stop()
  }
}

function progressLines(expected: number): Progress {
  let lines = 0
  return {
    show: (soFar) => {
      const reached = Math.floor(sumOf(soFar) / BOUNDARIES_A_LINE)
      if (reached !== lines) console.error(`${sumOf(soFar)} of about ${expected}`)
      lines = reached
    },
    stop: () => undefined
  }
}

function sumOf({ invoiced, empty, parked }: RoundOutcome): number {
  return invoiced + empty + parked
}

// ---- preview, status, parked -----------------------------------------------------------------------------------------

async function preview({ store, terms }: Billing, id: string, { json = false }: { json?: boolean }): Promise<void> {
  const told = await store.storyNow(id, Date.now(), terms.adjustmentWindowMs)
  if (told === null) throw new Error(`${id} is no subscription with a running period`)
  const drafted = draftInvoice({ ...told, taxRates: taxRatesOf(terms.taxes, told.story.customer.country) })
  if ('parked' in drafted) {
    const { customerId, at: boundary } = told.story.boundary
    const reason = tellParkReason(drafted.parked)
    const fact = { subscriptionId: id, customerId, boundary, reason, attemptedAt: Date.now() }
    console.log(json ? JSON.stringify({ parked: reason }) : describeParked(fact))
    process.exitCode = PARKED_EXIT_CODE
    return
  }
  const { content } = drafted
  if (json) {
    const told = content && {
      currency: content.currency,
      ...totalsToJson(content),
      lines: content.lines.map(lineToJson)
    }
    console.log(JSON.stringify({ invoice: told }))
  } else console.log(content === null ? 'nothing would be invoiced' : describeContent(content).join('\n'))
}

async function status(billing: Billing, { json = false }: { json?: boolean }): Promise<void> {
  const { store, terms } = billing
  const told = await store.status(Date.now() - terms.graceMs)
  const runs = await withQueue(billing, async (queue) => {
    const found = [await lastRun(queue, 'active'), await lastRun(queue, 'completed'), await lastRun(queue, 'failed')]
    return found.filter((one) => one !== null)
  })
  const { parkedByReason, ...counts } = told
  if (json) console.log(JSON.stringify({ ...counts, parkedByReason: Object.fromEntries(parkedByReason), runs }))
  else console.log(describeStatus(told, runs).join('\n'))
}

interface ParkedChoice {
  readonly explain?: string
  readonly json?: boolean
}

async function parked(billing: Billing, { explain, json = false }: ParkedChoice): Promise<void> {
  const all = await billing.store.listParked(PARKED_MAX)
  const asked = explain === undefined ? all : all.filter(({ subscriptionId }) => subscriptionId === explain)
  for (const boundary of asked) console.log(json ? JSON.stringify(boundary) : describeParked(boundary))
  if (explain !== undefined && asked.length === 0) throw new Error(`nothing of ${explain} is parked`)
  if (explain !== undefined && !json) for (const boundary of asked) await explainDifferences(billing, boundary)
  if (explain === undefined && !json) console.log(`${all.length} parked${all.length === PARKED_MAX ? ', or more' : ''}`)
}

async function explainDifferences(billing: Billing, boundary: ParkedBoundary): Promise<void> {
  const { code, store, differences } = boundary.reason
  if (code !== 'stores-differ' || store !== 'clickhouse' || !Array.isArray(differences)) return
  const stretches = new Map(
    differences.map(({ from, to }) => [`${from} ${to}`, { from: Number(from), to: Number(to) }])
  )
  for (const stretch of stretches.values()) {
    const named = await eventsThatDiffer(billing, { customerId: boundary.customerId, ...stretch })
    console.log(describeNamed(named).join('\n'))
  }
}

async function eventsThatDiffer(billing: Billing, stretch: CustomerStretch): Promise<NamedEvents> {
  const { config, logger, kafka, reading, arrivals, analytics } = billing
  const log = new KafkaLogReader({ kafka, topic: config.USAGE_TOPIC, groupIdPrefix: NAME, logger })
  const blocks = new PostgresAnalyticsBlocks(reading)
  const limits = { ...DEFAULT_DECODE_LIMITS, acceptanceWindowMs: config.ACCEPTANCE_WINDOW_MS }
  const stands = await new PostgresGateLedger(reading).stands()
  const through = new Map(
    [...stands].map(([partition, { ledger, analytics }]) => [partition, Math.min(ledger, analytics)])
  )
  try {
    return await nameEvents(stretch, through, {
      log,
      arrivals,
      analytics,
      decode: (record) => decodeUsageEvent(record, limits),
      leadMs: limits.leadMs,
      uncounted: (partition, from, to) => blocks.uncounted(partition, from, to)
    })
  } finally {
    await log.close()
  }
}

function parseInstant(text: string): number {
  const at = parseRfc3339(text)
  if (at === null) throw new Error(`${text} is no RFC 3339 time such as 2026-04-01T02:00:00Z`)
  return at
}
