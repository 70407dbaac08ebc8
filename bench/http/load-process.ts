/**
 * The load generator, a process of its own: what it takes is told apart from what the server takes, and the bench's own work delays no
 * request. Reads a job a line from standard input, writes a report a line, and ends with its input.
 */
import { createInterface } from 'node:readline'
import { Random } from '../../stack/demo/random.ts'
import { cpuMicros } from '../harness/cpu-time.ts'
import { runClosedLoop } from './closed-loop.ts'
import type { LoadJob, LoadReport, TimetableLoad } from './load-job.ts'
import { type LoopResult, type OpenLoopResult, runOpenLoop } from './open-loop.ts'
import { RequestPool } from './request-pool.ts'
import { poisson } from './schedule.ts'

/** After a timetable's end, for the answers that are left. */
const PATIENCE_MS = 10_000
/** A server that is slow for another reason than being cold is measured all the same. */
const WARM_UP_MAX_MS = 30_000
/** A warm-up has another timetable than what it warms up for. */
const WARM_UP_SEED = 1

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await runJob(JSON.parse(line)))}\n`)
}

async function runJob(job: LoadJob): Promise<LoadReport> {
  const pool = new RequestPool(job)
  try {
    const send = senderOf(job, pool)
    const { load } = job
    if (load.kind === 'capacity') {
      await runClosedLoop({ callers: load.callers, forMs: WARM_UP_MAX_MS, requestsMax: load.warmUpRequests, send })
      return await measured(job, () => runClosedLoop({ ...load, send }))
    }
    await runTimetable({ ...load, seconds: load.warmUpSeconds, seed: load.seed + WARM_UP_SEED }, send)
    return await measured(job, () => runTimetable(load, send))
  } finally {
    await pool.close()
  }
}

type Send = (n: number) => Promise<string | null>

function senderOf({ path, headers, bodies }: LoadJob, pool: RequestPool): Send {
  return async (n) => {
    try {
      const { status } = await pool.post({ path, headers, body: bodies[n % bodies.length] ?? '' })
      return status >= 200 && status < 300 ? null : String(status)
    } catch (error) {
      return error instanceof Error && 'code' in error ? String(error.code) : String(error)
    }
  }
}

function runTimetable(load: TimetableLoad, send: Send): Promise<OpenLoopResult> {
  const { perSecond, seconds, seed, inFlightMax } = load
  const dueAtMs = poisson({ perSecond, seconds, random: new Random(seed) })
  return runOpenLoop({ dueAtMs, send, inFlightMax, patienceMs: PATIENCE_MS })
}

async function measured(
  { processes }: LoadJob,
  run: () => Promise<LoopResult & Partial<Pick<OpenLoopResult, 'startDelay'>>>
): Promise<LoadReport> {
  const before = cpuNow(processes)
  const client = process.cpuUsage()
  const { requests, failures, seconds, latency, startDelay } = await run()
  const { user, system } = process.cpuUsage(client)
  const took = Object.entries(cpuNow(processes)).map(([name, micros]) => [name, micros - (before[name] ?? 0)] as const)
  return {
    requests,
    failures,
    seconds,
    requestsPerSecond: requests / seconds,
    p50Ms: latency.quantileMs(0.5),
    p99Ms: latency.quantileMs(0.99),
    p999Ms: latency.quantileMs(0.999),
    maxMs: latency.maxMs,
    startDelayP99Ms: startDelay?.quantileMs(0.99) ?? 0,
    cpuMicros: { ...Object.fromEntries(took), client: user + system }
  }
}

function cpuNow(processes: LoadJob['processes']): Readonly<Record<string, number>> {
  return Object.fromEntries(
    Object.entries(processes).map(([name, pids]) => [name, pids.reduce((sum, pid) => sum + cpuMicros(pid), 0)])
  )
}
