/**
 * `npm run test:simulate -- [--seeds N] [--first-seed S] [--defect NAME] [--until-failures K] [--tell] [--json]`: seeded
 * histories of the product's own code (test/simulate/README.md). Each worker has a Redis server of its own, which keeps nothing.
 * Ends with 1 when a history is wrong.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Order, Result } from '../test/simulate/worker.ts'
import { findProgram } from './machine/find-program.ts'
import { createProgress } from './machine/progress.ts'

const WORKERS = 2
const SHOWN_FAILURES = 10
const SHOWN_REASONS = 3
const PROGRESS_MS = 5_000

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '500' },
    'first-seed': { type: 'string', default: '1' },
    defect: { type: 'string' },
    'until-failures': { type: 'string' },
    tell: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false }
  }
})

const firstSeed = readCount('first-seed', values['first-seed'], 0)
const seeds = readCount('seeds', values.seeds, 1)
const untilFailures =
  values['until-failures'] === undefined ? null : readCount('until-failures', values['until-failures'], 1)
const defect = values.defect ?? null
const progress = createProgress()
const startedAt = performance.now()
const results: Result[] = []
const failed: Result[] = []
const workers: ChildProcess[] = []

for (const [signal, exitCode] of [
  ['SIGINT', 130],
  ['SIGTERM', 143]
] as const) {
  process.once(signal, () => {
    process.exitCode = exitCode
    for (const worker of workers) worker.kill()
  })
}

const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-simulate-'))
const ticker = setInterval(
  () => progress(`${results.length} of ${seeds} histories, ${failed.length} wrong`),
  PROGRESS_MS
)
try {
  const count = Math.min(WORKERS, seeds)
  // Of all of them, also when one has failed: each ends its Redis server.
  const ended = await Promise.allSettled(Array.from({ length: count }, (_, i) => runWorker(i, count)))
  for (const one of ended) if (one.status === 'rejected') throw one.reason
  report()
} finally {
  clearInterval(ticker)
  rmSync(folder, { recursive: true, force: true })
}

function readCount(name: string, text: string, least: number): number {
  const count = Number(text)
  if (Number.isSafeInteger(count) && count >= least) return count
  throw new RangeError(`--${name} must be an integer of ${least} or more, not ${text}`)
}

/** A Redis server and the worker that uses it; both end here. */
async function runWorker(index: number, count: number): Promise<void> {
  const socket = join(folder, `redis-${index}.sock`)
  const server = startRedis(socket)
  try {
    const worker = fork(join(import.meta.dirname, '..', 'test', 'simulate', 'worker.ts'))
    workers.push(worker)
    worker.on('message', take)
    const order: Order = {
      socket,
      defect,
      firstSeed: firstSeed + index,
      stride: count,
      endSeed: firstSeed + seeds,
      tells: values.tell
    }
    worker.send(order)
    await new Promise<void>((resolve, reject) => {
      worker.once('error', reject)
      worker.once('exit', (code, signal) => {
        if (code === 0 || signal === 'SIGTERM') resolve()
        else reject(new Error(`a worker of the simulation ended with ${code ?? signal}`))
      })
    })
  } finally {
    server.kill()
  }
}

/** Hashes stay lists however long, so that their order is that of insertion and a seed replays on any server. */
function startRedis(socket: string): ChildProcess {
  const settings = {
    port: '0',
    unixsocket: socket,
    save: '',
    appendonly: 'no',
    dir: folder,
    'hash-max-listpack-entries': '100000',
    'hash-max-listpack-value': '1000000'
  }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  return spawn(findProgram('redis-server'), args, { stdio: ['ignore', 'ignore', 'inherit'] })
}

function take(result: Result): void {
  results.push(result)
  if (result.wrong.length === 0) return
  failed.push(result)
  if (untilFailures !== null && failed.length >= untilFailures) for (const worker of workers) worker.kill()
}

function report(): void {
  const seconds = (performance.now() - startedAt) / 1000
  if (failed.length > 0) process.exitCode = 1
  if (values.json) {
    console.log(JSON.stringify({ histories: results.length, wrong: failed, seconds, defect }))
    return
  }
  for (const { seed, wrong } of failed.slice(0, SHOWN_FAILURES)) {
    console.log(`seed ${seed}:`)
    for (const reason of wrong.slice(0, SHOWN_REASONS)) console.log(`  ${reason}`)
    console.log(
      `  again: npm run test:simulate -- --first-seed ${seed} --seeds 1${defect === null ? '' : ` --defect ${defect}`} [--tell]`
    )
  }
  const speed = (results.length / seconds).toFixed(1)
  progress(`${seconds.toFixed(1)} s, ${speed} histories/s`)
  console.log(`${results.length} histories, ${failed.length} wrong${defect === null ? '' : ` with ${defect}`}`)
}
