/** What the command says of billing, in words: reasons, lines, sums. */
import { minorDigits } from '../../domain/billing/currency.ts'
import type { BillingStatus, ParkedBoundary, RoundOutcome } from '../../domain/billing/invoices/billing-store.ts'
import type { InvoiceContent, InvoiceLine } from '../../domain/billing/invoices/invoice.ts'
import type { ParkReason, ToldParkReason } from '../../domain/billing/invoices/park-reason.ts'
import type { Json } from '../../domain/json.ts'
import { quarterStartMs } from '../../domain/tokens/quarter-hour.ts'
import type { BillingTerms } from '../bill-due.ts'
import type { NamedEvents } from '../gate/name-events.ts'
import type { ToldRun } from '../queues.ts'

/** What keeps boundaries from being billed, and what to do about it. */
const REASONS: Readonly<Record<ParkReason['code'], string>> = {
  'ledger-behind':
    'the ledger has not got everything yet that arrived in time: it is billed once the meter consumers have caught up',
  'analytics-behind':
    'ClickHouse has not got everything yet that the ledger has: it is billed once the analytics consumer has caught up',
  'stores-differ': 'the stores tell different sums: nothing is billed until they agree (npm run reconcile)',
  'unrated-usage': 'usage that no price of its plan is for: it is billed once that usage was voided',
  failed: 'a defect of ours: it has to be mended'
}

/** What a run by hand bills with: the environment of whoever starts it, which need not be the worker's. */
export function describeTerms({ taxes, numberPrefix, graceMs, asDrafts, issuer }: BillingTerms): readonly string[] {
  const rates = [...taxes].map(([country, { percent, isInclusive }]) =>
    isInclusive ? `${country} ${percent} % inclusive` : `${country} ${percent} %`
  )
  return [
    'bills with the terms of this environment:',
    `  taxes          ${rates.length === 0 ? 'none' : rates.join(', ')}`,
    `  issuer         ${issuer.name}`,
    `  numbers        ${asDrafts ? 'none: drafts, until somebody finalizes them' : `${numberPrefix}…, finalized at once`}`,
    `  grace          ${graceMs / 60_000} min`
  ]
}

interface ToldOutcome extends RoundOutcome {
  /** Those that another run parked included. */
  readonly parkedInAll: number
}

export function describeRun({ invoiced, empty, parked, parkedInAll }: ToldOutcome, seconds: number): string {
  const rate = seconds > 0 ? Math.round(invoiced / seconds) : 0
  const others = parkedInAll > parked ? ` of ${parkedInAll}` : ''
  return `${invoiced} invoiced, ${empty} empty, ${parked}${others} parked in ${seconds.toFixed(1)} s (${rate} invoices/s)`
}

/** What Postgres says. */
export function describeStatus({ due, parkedByReason, oldestDueAt }: BillingStatus): readonly string[] {
  const reasons = [...parkedByReason].map(
    ([code, boundaries]) => `parked         ${boundaries}  ${code}: ${REASONS[code]}`
  )
  return [
    `due            ${due}`,
    ...(reasons.length === 0 ? ['parked         0'] : reasons),
    `oldest         ${oldestDueAt === null ? 'none' : instant(oldestDueAt)}`
  ]
}

/** What the queue of jobs says. */
export function describeQueue(isPaused: boolean, runs: readonly ToldRun[]): readonly string[] {
  return [
    ...(isPaused ? ['queue          paused: no worker takes a job until somebody resumes it'] : []),
    ...(runs.length === 0 ? ['last run       none is kept'] : runs.map(describeToldRun))
  ]
}

function describeToldRun({ jobId, state, at, counts, reason }: ToldRun): string {
  const { invoiced = 0, empty = 0, parked = 0 } = counts
  const why = reason === null ? '' : `: ${reason}`
  const title = `${state} run`.padEnd(15)
  return `${title}${instant(at)}  ${invoiced} invoiced, ${empty} empty, ${parked} parked  job ${jobId}${why}`
}

export function describeParked({ subscriptionId, customerId, boundary, reason, attemptedAt }: ParkedBoundary): string {
  const detail = detailOf(reason).map((line) => `\n  ${line}`)
  const head = `${subscriptionId} of customer ${customerId}, ${instant(boundary)}, tried ${instant(attemptedAt)}`
  return `${head}: ${reason.code}\n  ${REASONS[reason.code]}${detail.join('')}`
}

/** Line by line, from what was kept: a reason of another version may lack what this one looks for. */
function detailOf(reason: ToldParkReason): readonly string[] {
  switch (reason.code) {
    case 'ledger-behind':
    case 'analytics-behind':
      return [`partitions ${listOf(reason.partitions).map(String).join(', ')}`]
    case 'stores-differ':
      return listOf(reason.differences).map((difference) =>
        reason.store === 'clickhouse' ? describeStoreDifference(difference) : describeCounterDifference(difference)
      )
    case 'unrated-usage':
      return listOf(reason.usage).map((usage) => {
        const text = textsOf(usage)
        return `${text('model')} ${text('pool')}: ${text('tokens')} tokens, ${text('reason')}`
      })
    case 'failed':
      return [String(reason.message ?? '')]
  }
}

function describeStoreDifference(difference: Json): string {
  const text = textsOf(difference)
  const [from, to] = [Number(text('from')), Number(text('to'))].map((quarter) => instant(quarterStartMs(quarter)))
  return `${text('model')} ${text('pool')} from ${from} to ${to}: ledger ${text('ledger')}, ClickHouse ${text('other')}`
}

function describeCounterDifference(difference: Json): string {
  const text = textsOf(difference)
  const start = instant(quarterStartMs(Number(text('startQuarter'))))
  return `counter ${text('counterId')} ${text('subject')} from ${start}: ledger ${text('ledger')}, Redis ${text('other')}`
}

/** Of a difference of Redis there are no events to name: which counters of which windows, and what counts them anew. */
export function describeRebuild(customerId: string, differences: readonly Json[]): string {
  const counters = differences.map((difference) => {
    const text = textsOf(difference)
    return `${text('counterId')} of the window from ${instant(quarterStartMs(Number(text('startQuarter'))))}`
  })
  return `Redis counted otherwise than the ledger in ${counters.join(', ')}: npm run rebuild -- --customer ${customerId} counts this customer's counters again from the ledger, its limits say seeding meanwhile, and the next run bills it.`
}

/** Events by which ClickHouse differs from the log, and what the log comes to. */
export function describeNamed({
  partition,
  from,
  to,
  named,
  more,
  expired,
  elsewhere,
  logged
}: NamedEvents): readonly string[] {
  const lines = named.map(({ finding, offset, event }) => {
    const what = `${event.source} ${event.id} at ${instant(event.occurredAt)}, ${event.model}`
    return `  ${finding} ${partition}:${offset} ${what}`
  })
  const sums = [...logged].map(
    ([model, pools]) =>
      `  the log has of ${model}: ${Object.entries(pools)
        .map(([pool, tokens]) => `${pool} ${tokens}`)
        .join(', ')}`
  )
  return [
    `looked at partition ${partition}, offsets ${from} to ${to}: ${named.length + more} events differ`,
    ...lines,
    ...(more > 0 ? [`  and ${more} more`] : []),
    ...(expired > 0
      ? [`  ${expired} events of ClickHouse are older than what the log keeps: nothing is said of them`]
      : []),
    ...(elsewhere > 0 ? [`  ${elsewhere} events of ClickHouse lie in other partitions`] : []),
    ...sums
  ]
}

/** What an invoice would say, a line each. */
export function describeContent(content: InvoiceContent): readonly string[] {
  const { currency, lines, subtotalMinor, grantsMinor, taxMinor, includedTaxMinor, totalMinor, billTo, period } =
    content
  const amount = (minor: bigint): string => `${majorUnits(minor, currency)} ${currency}`.padStart(20)
  const span = period === null ? 'no period ended' : `${instant(period.start)} to ${instant(period.end)}`
  return [
    `${billTo.legalName}, ${span}`,
    ...lines.map((line) => `${amount(line.amountMinor)}  ${describeLine(line)}`),
    `${amount(subtotalMinor)}  subtotal`,
    ...(grantsMinor === 0n ? [] : [`${amount(-grantsMinor)}  grants`]),
    ...(taxMinor === 0n ? [] : [`${amount(taxMinor)}  tax`]),
    `${amount(totalMinor)}  total`,
    ...(includedTaxMinor === 0n ? [] : [`${amount(includedTaxMinor)}  of which tax`])
  ]
}

function describeLine(line: InvoiceLine): string {
  switch (line.kind) {
    case 'base-fee':
      return `base fee, ${line.reason}, ${instant(line.from)} to ${instant(line.to)}`
    case 'usage':
      return `${line.quantity} ${line.pool} tokens of ${line.model}, ${line.includedTokens} included, ${line.chargeModel}`
    case 'minimum':
      return `minimum of ${line.pool} of ${line.model}`
    case 'adjustment':
      return `adjustment of ${instant(line.from)} to ${instant(line.to)}`
  }
}

/** `-1234` of a currency with two digits is `-12.34`. */
function majorUnits(minor: bigint, currency: string): string {
  const digits = minorDigits(currency)
  const text = String(minor < 0n ? -minor : minor).padStart(digits + 1, '0')
  const whole = digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`
  return minor < 0n ? `-${whole}` : whole
}

function listOf(json: Json | undefined): readonly Json[] {
  return Array.isArray(json) ? json : []
}

function textsOf(json: Json): (name: string) => string {
  const members = new Map(typeof json === 'object' && json !== null ? Object.entries(json) : [])
  return (name) => String(members.get(name) ?? '')
}

function instant(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z')
}
