/** What the demo prints at its end: one JSON object for programs, a page for people. */
import type { Reconciliation } from '../../ingest/reconcile.ts'
import type { Billed } from './bill.ts'
import type { Enrolment } from './customers.ts'
import type { Account } from './events.ts'
import type { ProbeResult } from './probe.ts'

export interface DemoResult {
  readonly account: Account
  readonly enrolment: Enrolment
  readonly reconciliation: Reconciliation
  readonly uncounted: ReadonlyMap<string, number>
  readonly deadLettered: number
  readonly drift: bigint
  readonly killed: number
  readonly seconds: number
  readonly probe: ProbeResult
  readonly billed: Billed
  readonly peakMemoryMiB: Readonly<Record<string, number>>
  readonly faults: readonly string[]
}

export function toJson(result: DemoResult): Readonly<Record<string, unknown>> {
  const { account, reconciliation, probe } = result
  const sum = (store: 'log' | 'ledger' | 'clickhouse' | 'redis'): number =>
    Number(reconciliation.customers.reduce((all, customer) => all + (customer[store] ?? 0n), 0n))
  return {
    customers: result.enrolment.customers.length,
    users: result.enrolment.users,
    plans: result.enrolment.plans,
    subscriptions: result.enrolment.subscriptions,
    sent: account.sent,
    accepted: account.accepted,
    duplicates: account.duplicates,
    conflicts: account.conflicts,
    deadLettered: result.deadLettered,
    late: account.late,
    contextTokens: account.contextTokens,
    generatedTokens: account.generatedTokens,
    lateTokens: account.lateTokens,
    ledgerTokens: sum('ledger'),
    clickhouseTokens: sum('clickhouse'),
    redisTokens: sum('redis'),
    logTokens: sum('log'),
    drift: Number(result.drift),
    killed: result.killed,
    eventsPerSecond: Math.round(account.sent / result.seconds),
    seconds: Math.round(result.seconds * 10) / 10,
    checks: probe.checks,
    checksAllowed: probe.allowed,
    checksRefused: probe.refused,
    checksUnknown: probe.unknown,
    checkP50Ms: probe.p50Ms,
    checkP99Ms: probe.p99Ms,
    peakMemoryMiB: result.peakMemoryMiB,
    uncounted: Object.fromEntries(result.uncounted),
    invoices: result.billed.invoices,
    invoicedMinor: String(result.billed.totalMinor),
    expectedMinor: String(result.billed.expectedMinor),
    parked: result.billed.parked,
    invoicePdf: result.billed.pdf,
    customersWithoutLimits: reconciliation.withoutLimits.length,
    faults: result.faults
  }
}

export function toPage(result: DemoResult): string {
  const { account, enrolment, probe, billed } = result
  const strangers = enrolment.customers.length - enrolment.subscriptions
  const json = toJson(result)
  const rows: [string, string][] = [
    [
      'customers',
      `${enrolment.subscriptions} with ${enrolment.users} users on ${enrolment.plans} plans, ${strangers} that nobody knows`
    ],
    ['sent', `${number(account.sent)} records: Kafka structured and binary, HTTP`],
    ['counted', `${number(account.accepted)} events, ${number(account.late)} of them late by hours`],
    [
      '',
      `${number(account.contextTokens)} context + ${number(account.generatedTokens)} generated + ${number(account.lateTokens)} late tokens`
    ],
    ['refused', `${number(account.duplicates)} duplicates, ${number(account.conflicts)} conflicts`],
    ...Object.entries(account.rejected).map(([reason, count]): [string, string] => ['', `${number(count)} ${reason}`]),
    ['dead letters', `${number(result.deadLettered)}, each whole and with its reason`],
    ['killed', `the meter consumer, ${result.killed} time by SIGKILL; it went on where it stood`],
    [
      'speed',
      `${number(Math.round(account.sent / result.seconds))} events/s through Redis, ledger and ClickHouse, the kill included`
    ],
    [
      'quota checks',
      `${number(probe.checks)}: ${number(probe.allowed)} allowed, ${number(probe.refused)} refused, ${number(probe.unknown)} unknown`
    ],
    ['', `p50 ${probe.p50Ms} ms, p99 ${probe.p99Ms} ms`],
    [
      'billed',
      `${number(billed.invoices)} invoices of ${euros(billed.totalMinor)}; reckoned by hand ${euros(billed.expectedMinor)}`
    ],
    ['', `the largest: ${billed.pdf}`]
  ]
  const lines = [
    '',
    'tokenmeter demo',
    ...rows.map(([name, text]) => `  ${name.padEnd(14)} ${text}`),
    '',
    '  tokens by model'
  ]
  const models = [...account.byModel].sort(([, a], [, b]) => b - a)
  const most = models[0]?.[1] ?? 1
  for (const [model, tokens] of models) {
    lines.push(
      `  ${model.padEnd(18)} ${number(tokens).padStart(14)}  ${'▇'.repeat(Math.max(1, Math.round((tokens / most) * 40)))}`
    )
  }
  lines.push('', '  tokens in      log            ledger         ClickHouse     Redis')
  lines.push(
    `                 ${[json.logTokens, json.ledgerTokens, json.clickhouseTokens, json.redisTokens].map((sum) => number(Number(sum)).padEnd(14)).join(' ')}`
  )
  lines.push(
    '',
    result.faults.length === 0 ? '  drift 0: nothing lost, nothing counted twice' : `  ${result.faults.length} FAULTS`
  )
  for (const fault of result.faults.slice(0, 20)) lines.push(`    ${fault}`)
  return `${lines.join('\n')}\n`
}

function number(value: number): string {
  return value.toLocaleString('en')
}

function euros(cents: bigint): string {
  return `${number(Number(cents / 100n))}.${String(cents % 100n).padStart(2, '0')} EUR`
}
