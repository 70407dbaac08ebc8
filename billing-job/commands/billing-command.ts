/**
 * `npm run billing -- run | preview | status | parked`: billing by hand, in this process, with what the worker bills with. A run by hand
 * and one of the worker may run at once: each boundary is billed by one of them. Exit code 0: all that was due is billed; 2: something
 * is parked, and `parked` says why; 3: it was stopped before it had looked at everything; 1: it could not go on.
 */
import { Command } from 'commander'
import type { CustomerStretch } from '../../domain/billing/invoices/billing-gate.ts'
import type { ParkedBoundary } from '../../domain/billing/invoices/billing-store.ts'
import { draftInvoice } from '../../domain/billing/invoices/draft-invoice.ts'
import { lineToJson, totalsToJson } from '../../domain/billing/invoices/invoice-json.ts'
import { tellParkReason } from '../../domain/billing/invoices/park-reason.ts'
import { taxRatesOf } from '../../domain/billing/tax-table.ts'
import { PLATFORM } from '../../domain/change.ts'
import { RetryableError } from '../../domain/errors.ts'
import { parseRfc3339 } from '../../domain/rfc3339-time.ts'
import { DEFAULT_DECODE_LIMITS } from '../../domain/tokens/decode-cloud-event.ts'
import { decodeUsageEvent } from '../../ingest/decode-usage-event.ts'
import { KafkaLogReader } from '../../ingest/kafkajs/log-reader.ts'
import { createLogger } from '../../monitoring/logger.ts'
import { PostgresAnalyticsBlocks } from '../../sql/analytics-blocks.ts'
import { PostgresGateLedger } from '../../sql/billing/gate-ledger.ts'
import { EntityDatabase } from '../../sql/connect-slonik.ts'
import { PostgresSubscriptionStore } from '../../sql/subscriptions/subscription-store.ts'
import { billDue } from '../bill-due.ts'
import { type NamedEvents, nameEvents } from '../gate/name-events.ts'
import { billingTerms, connectBilling, loadBillingConfig, queueAddress, roundsOf } from '../main.ts'
import { askForRun, awaitQueue, type BillingQueue, lastRun, openBillingQueue, type ToldRun } from '../queues.ts'
import {
  describeContent,
  describeNamed,
  describeParked,
  describeQueue,
  describeRebuild,
  describeRun,
  describeStatus,
  describeTerms
} from './describe-billing.ts'
import { showProgress } from './show-progress.ts'

const NAME = 'tokenmeter-billing-command'
const PARKED_EXIT_CODE = 2
const STOPPED_EXIT_CODE = 3
/** Parked boundaries that are listed. */
const PARKED_MAX = 1_000

const RUN_HELP = `
What it bills with is printed first, on stderr: taxes, issuer, prefix, grace and drafts as this environment has them. Those of the
worker may be others; --worker bills with its own.

An --as-of in the future dates invoices ahead of the clock, and what is parked then isn't tried again before that time.

Exit code:
  0  all that was due is billed
  1  it could not go on: a store is away, a subscription is not known, an option can't be
  2  something is parked: billing parked says why
  3  stopped by SIGINT or SIGTERM with work left: run it again`

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
    .option('--even-in-the-future', 'lets --as-of lie ahead of the clock, for tests alone: see below')
    .option('--subscription <id>', 'this subscription alone')
    .option('--worker', 'leave it to the worker: put a job into its queue and end')
    .option('--json', 'one JSON object at the end')
    .addHelpText('after', RUN_HELP)
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
  readonly evenInTheFuture?: boolean
  readonly subscription?: string
  readonly worker?: boolean
  readonly json?: boolean
}

async function run(billing: Billing, choice: RunChoice): Promise<void> {
  const { asOf, subscription, worker = false, json = false } = choice
  if (worker && asOf !== undefined) throw new Error('--as-of is for runs in this process, not for the worker')
  if (asOf !== undefined && asOf > Date.now() && !choice.evenInTheFuture)
    throw new Error(`${new Date(asOf).toISOString()} is in the future: --even-in-the-future says that it is meant`)
  if (subscription !== undefined) await assertSubscription(billing, subscription)
  if (worker) {
    const jobId = await withQueue(billing, (queue) => askForRun(queue, subscription ?? null))
    console.log(json ? JSON.stringify({ jobId }) : `job ${jobId} waits for a worker`)
    return
  }
  const { store, terms } = billing
  const now = asOf === undefined ? Date.now : () => asOf
  const isStopped = stopsOnSignal()
  console.error(describeTerms(terms).join('\n'))
  const { outcome, seconds } = await billHere(billing, { subscription, now, isStopped })
  const after = await store.status(now() - terms.graceMs, subscription)
  // Those that wait behind a parked one are due as well.
  const left = isStopped() ? Math.max(0, after.due + after.parked - outcome.parked) : 0
  const invoicesPerSecond = Math.round(outcome.invoiced / seconds)
  const told = { ...outcome, parkedInAll: after.parked, left, seconds, invoicesPerSecond }
  console.log(json ? JSON.stringify(told) : describeRun(told, seconds))
  if (left > 0) {
    console.error(`stopped with work left: ${left} boundaries were not looked at; run it again`)
    process.exitCode = STOPPED_EXIT_CODE
  } else if (outcome.parked > 0 || after.parked > 0) process.exitCode = PARKED_EXIT_CODE
}

interface HereAsk {
  readonly subscription: string | undefined
  readonly now: () => number
  readonly isStopped: () => boolean
}

async function billHere({ config, store, gate, terms }: Billing, { subscription, now, isStopped }: HereAsk) {
  const { due, parked } = await store.status(now() - terms.graceMs, subscription)
  const progress = showProgress(due + parked)
  const startedAt = performance.now()
  try {
    const outcome = await billDue(
      { store, gate, terms, now },
      { ...roundsOf(config), subscriptionId: subscription ?? null, onProgress: progress.show, isStopped }
    )
    return { outcome, seconds: (performance.now() - startedAt) / 1_000 }
  } finally {
    progress.stop()
  }
}

/** A misspelt id has nothing due, and would look billed. */
async function assertSubscription({ config }: Billing, id: string): Promise<void> {
  const database = new EntityDatabase({ databaseUrl: config.DATABASE_URL, applicationName: NAME, connectionsMax: 1 })
  try {
    if ((await new PostgresSubscriptionStore(database).find(PLATFORM, id)) === null)
      throw new Error(`${id} is no subscription`)
  } finally {
    await database.close()
  }
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
  const { parkedByReason, ...counts } = told
  const facts = { ...counts, parkedByReason: Object.fromEntries(parkedByReason) }
  // What is due stands in Postgres, and is told whether or not the queue answers.
  if (!json) console.log(describeStatus(told).join('\n'))
  try {
    const { isPaused, runs } = await withQueue(billing, tellQueue)
    if (json) console.log(JSON.stringify({ ...facts, queue: isPaused ? 'paused' : 'open', runs }))
    else console.log(describeQueue(isPaused, runs).join('\n'))
  } catch (error) {
    if (json && error instanceof RetryableError) console.log(JSON.stringify({ ...facts, queue: 'away', runs: null }))
    throw error
  }
}

async function tellQueue(queue: BillingQueue): Promise<{ isPaused: boolean; runs: readonly ToldRun[] }> {
  const found = [await lastRun(queue, 'active'), await lastRun(queue, 'completed'), await lastRun(queue, 'failed')]
  return { isPaused: await queue.isPaused(), runs: found.filter((one) => one !== null) }
}

interface ParkedChoice {
  readonly explain?: string
  readonly json?: boolean
}

async function parked(billing: Billing, { explain, json = false }: ParkedChoice): Promise<void> {
  const found = await billing.store.listParked(PARKED_MAX, explain)
  for (const boundary of found) console.log(json ? JSON.stringify(boundary) : describeParked(boundary))
  if (explain !== undefined && found.length === 0) throw new Error(`nothing of ${explain} is parked`)
  if (json) return
  if (explain === undefined) console.log(`${found.length} parked${found.length === PARKED_MAX ? ', or more' : ''}`)
  else for (const boundary of found) await explainDifferences(billing, boundary)
}

async function explainDifferences(billing: Billing, boundary: ParkedBoundary): Promise<void> {
  const { code, store, differences } = boundary.reason
  if (code !== 'stores-differ' || !Array.isArray(differences)) return
  if (store === 'redis') {
    console.log(describeRebuild(boundary.customerId, differences))
    return
  }
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
