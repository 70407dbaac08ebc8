/** What `npm run load` prints: a line a second on the way, a page or a JSON object at the end. */
import { figureText } from '../report/figure-text.ts'
import type { MemoryMiB } from './process-vitals.ts'
import type { ChecksResult } from './quota-checks.ts'

export interface SoakMoment {
  readonly seconds: number
  readonly sentPerSecond: number
  readonly countedPerSecond: number
  /** Records, log end − L. */
  readonly lag: number
  readonly behindMs: number
  readonly checkMs: { readonly p50: number; readonly p99: number }
  readonly memoryMiB: Readonly<Record<string, number>>
}

export interface SoakResult {
  readonly askedPerSecond: number
  readonly customers: number
  /** Of sending. */
  readonly seconds: number
  /** Records that Kafka acknowledged. */
  readonly sent: number
  readonly eventsPerSecond: number
  readonly behindMs: { readonly most: number; readonly end: number }
  /** Requests of the producer that failed and went again. */
  readonly resent: number
  /** Events in the ledger. */
  readonly counted: number
  readonly uncounted: Readonly<Record<string, number>>
  /** Records. */
  readonly lag: { readonly most: number; readonly end: number }
  /** From the end of sending until ledger and ClickHouse had everything. */
  readonly drainSeconds: number
  readonly checks: ChecksResult
  readonly memoryMiB: Readonly<Record<string, MemoryMiB>>
  readonly restarts: Readonly<Record<string, number>>
  /** For each record sent, by process and service; `load` is the soak itself. */
  readonly cpuMicrosPerEvent: Readonly<Record<string, number>>
  /** Tokens by which the stores differ from each other or from what was sent. */
  readonly drift: bigint
  readonly faults: readonly string[]
}

const FAULTS_MAX = 20

export function momentLine(moment: SoakMoment): string {
  const { seconds, sentPerSecond, countedPerSecond, lag, behindMs, checkMs, memoryMiB } = moment
  const memory = Object.entries(memoryMiB).map(([name, mib]) => `${name} ${mib}`)
  return [
    `${whole(seconds).padStart(5)} s`,
    `sent ${whole(sentPerSecond)}/s`,
    `counted ${whole(countedPerSecond)}/s`,
    `lag ${whole(lag)}`,
    ...(behindMs >= 100 ? [`${(behindMs / 1_000).toFixed(1)} s behind its timetable`] : []),
    `checks p50 ${checkMs.p50.toFixed(1)} p99 ${checkMs.p99.toFixed(1)} ms`,
    `MiB ${memory.join(' ')}`
  ].join('  ')
}

export function soakPage(result: SoakResult): string {
  const { uncounted, checks, lag, behindMs, cpuMicrosPerEvent, faults } = result
  const { duplicate = 0, ...others } = uncounted
  const failed = Object.entries(checks.failures).map(([name, count]) => `, ${whole(count)} ${name}`)
  const rows: readonly (readonly [string, string])[] = [
    [
      'sent',
      `${whole(result.sent)} records of ${whole(result.customers)} customers in ${result.seconds.toFixed(1)} s: ` +
        `${whole(result.eventsPerSecond)} of ${whole(result.askedPerSecond)} events/s`
    ],
    [
      '',
      `${seconds(behindMs.end)} behind the timetable at the end, ${seconds(behindMs.most)} at most; ${result.resent} requests sent again`
    ],
    ['counted', `${whole(result.counted)} events, ${whole(duplicate)} duplicates`],
    ...Object.entries(others).map(([reason, count]) => ['', `${whole(count)} ${reason}`] as const),
    [
      'lag',
      `${whole(lag.end)} records at the end, ${whole(lag.most)} at most; all in every store ${result.drainSeconds.toFixed(1)} s later`
    ],
    [
      'quota checks',
      `${whole(checks.checks)}: ${whole(checks.allowed)} allowed, ${whole(checks.refused)} refused, ${whole(checks.unknown)} unknown${failed.join('')}`
    ],
    [
      '',
      `p50 ${figureText(checks.p50Ms)}, p99 ${figureText(checks.p99Ms)}, p99.9 ${figureText(checks.p999Ms)}, at most ${figureText(checks.maxMs)} ms after each was due`
    ],
    ...memoryRows(result),
    [
      'CPU per event',
      Object.entries(cpuMicrosPerEvent)
        .map(([name, micros]) => `${name} ${micros.toFixed(1)}`)
        .join(', ')
    ],
    ['', `${sumOf(cpuMicrosPerEvent).toFixed(1)} µs in all`]
  ]
  return [
    'tokenmeter load',
    ...rows.map(([name, text]) => `  ${name.padEnd(14)} ${text}`),
    '',
    faults.length === 0
      ? '  drift 0: nothing lost, nothing counted twice'
      : `  ${faults.length} FAULTS, drift ${result.drift}`,
    ...faults.slice(0, FAULTS_MAX).map((fault) => `    ${fault}`)
  ].join('\n')
}

function memoryRows({ memoryMiB, restarts }: SoakResult): readonly (readonly [string, string])[] {
  return Object.entries(memoryMiB).map(([name, { early, half, end, most }], at) => {
    const restarted = restarts[name] ? `; started again ${restarts[name]} times` : ''
    const text = `${name}: ${early} MiB after a tenth, ${half} at half, ${end} at the end, ${most} at most${restarted}`
    return [at === 0 ? 'memory' : '', text]
  })
}

export function soakJson(result: SoakResult): string {
  return JSON.stringify({ ...result, drift: String(result.drift) })
}

function whole(count: number): string {
  return Math.round(count).toLocaleString('en')
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}

function sumOf(figures: Readonly<Record<string, number>>): number {
  return Object.values(figures).reduce((sum, figure) => sum + figure, 0)
}
