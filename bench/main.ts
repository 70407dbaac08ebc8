/**
 * `npm run bench [-- --only R1,R5] [--quick] [--json]`: measures every ratio on the real services. How, and what the figures mean, is in
 * README.md. A scenario that fails is told at the end; the others go on. Exit code 1 when one failed or the bench was stopped; a goal that is
 * not reached is no failure: `npm run bench:compare` judges.
 */
import { existsSync } from 'node:fs'
import { Command, InvalidArgumentError } from 'commander'
import { createProgress } from '../stack/machine/progress.ts'
import { startServices } from '../stack/services.ts'
import { runScenario, type ScenarioResult } from './harness/run-scenario.ts'
import type { Bench, Scenario } from './harness/scenario.ts'
import { compareIds } from './report/figure-text.ts'
import { currentCommit, describeMachine } from './report/machine.ts'
import { toPage } from './report/page.ts'
import {
  type BenchResults,
  baselineFile,
  readComparable,
  type ScenarioFailure,
  writeResults
} from './report/results.ts'
import { admission } from './scenarios/admission.ts'
import { billing } from './scenarios/billing.ts'
import { customers } from './scenarios/customers.ts'
import { flush } from './scenarios/flush.ts'
import { idle } from './scenarios/idle.ts'
import { marks } from './scenarios/marks.ts'
import { pipeline } from './scenarios/pipeline.ts'
import { quota } from './scenarios/quota.ts'
import { replay } from './scenarios/replay.ts'
import { scale } from './scenarios/scale.ts'
import { blocks, ledger } from './scenarios/stores.ts'
import { visibility } from './scenarios/visibility.ts'

/** In the order in which they run: those that are disturbed most by what others leave to be done come first. */
export const SCENARIOS: readonly Scenario[] = [
  pipeline,
  visibility,
  quota,
  idle,
  scale,
  customers,
  replay,
  admission,
  flush,
  blocks,
  ledger,
  marks,
  billing
]

interface Choice {
  readonly only: readonly string[]
  readonly quick?: boolean
  readonly json?: boolean
}

export async function runBench(args: readonly string[]): Promise<void> {
  const choice = new Command('bench')
    .description('measure the ratios of bench/README.md on the real services')
    .option('--only <ids>', `the scenarios that measure these ratios: ${ratioIds().join(', ')}`, parseIds, ratioIds())
    .option('--quick', 'less of everything: to see that it runs, not for figures')
    .option('--json', 'print the results as one JSON object')
    .parse([...args], { from: 'user' })
    .opts<Choice>()
  const progress = createProgress()
  const services = await startServices({ onProgress: progress })
  try {
    const bench = { urls: services.urls, isQuick: choice.quick === true, progress }
    const results = await measure(bench, choice.only)
    console.log(choice.json ? JSON.stringify(results) : toPage(results))
    if (results.scenarios.length > 0) {
      const path = writeResults(results, existsSync(baselineFile()) ? readComparable(baselineFile()) : null)
      progress(`written to ${path}, and pictures beside it`)
    }
    if (results.failures.length > 0) process.exitCode = 1
  } finally {
    await services.stop()
  }
}

async function measure(bench: Bench, only: readonly string[]): Promise<BenchResults> {
  const described = {
    measuredAt: new Date().toISOString(),
    commit: currentCommit(),
    machine: await describeMachine(bench.urls),
    isQuick: bench.isQuick
  }
  const chosen = SCENARIOS.filter(({ ratios }) => ratios.some(({ id }) => only.includes(id)))
  const scenarios: ScenarioResult[] = []
  const failures: ScenarioFailure[] = []
  const interruption = listenForInterruption(bench.progress)
  for (const scenario of chosen) {
    try {
      scenarios.push(assertFinite(await runScenario(interruption.guard(scenario), bench)))
    } catch (error) {
      if (!interruption.isStopped()) console.error(`${scenario.name} failed:`, error)
      failures.push({
        scenario: scenario.name,
        ratios: scenario.ratios.map(({ id }) => id),
        error: toldWithCauses(error)
      })
    }
  }
  interruption.end()
  return { ...described, scenarios, failures }
}

/** A division by a figure that is 0 measures nothing. */
function assertFinite(result: ScenarioResult): ScenarioResult {
  const broken = result.ratios.find(({ min, max }) => !Number.isFinite(min) || !Number.isFinite(max))
  if (broken !== undefined) throw new Error(`${broken.id} is ${broken.min} in one of its rounds`)
  return result
}

/**
 * A side makes topics, databases and processes, and removes them at its end: so the first signal waits for the side that runs, and
 * only a second one ends the bench on the spot.
 */
function listenForInterruption(progress: Bench['progress']) {
  let stoppedBy: NodeJS.Signals | null = null
  const stop = (signal: NodeJS.Signals): void => {
    stoppedBy = signal
    progress(`${signal}: stopping after this side; again stops now and leaves behind what it has made`)
  }
  const signals = ['SIGINT', 'SIGTERM'] as const
  for (const signal of signals) process.once(signal, stop)
  const check = (): void => {
    if (stoppedBy !== null) throw new Error(`stopped by ${stoppedBy}`)
  }
  return {
    guard: (scenario: Scenario): Scenario => ({
      ...scenario,
      open: async (bench) => {
        check()
        const { sides, close } = await scenario.open(bench)
        const guarded = sides.map(({ name, run }) => ({
          name,
          run: async (round: number) => {
            check()
            return await run(round)
          }
        }))
        return { sides: guarded, close }
      }
    }),
    isStopped: () => stoppedBy !== null,
    end: () => {
      for (const signal of signals) process.off(signal, stop)
    }
  }
}

function toldWithCauses(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message : `${error.message}; ${toldWithCauses(error.cause)}`
}

function ratioIds(): readonly string[] {
  return SCENARIOS.flatMap(({ ratios }) => ratios.map(({ id }) => id)).sort(compareIds)
}

function parseIds(text: string): readonly string[] {
  const ids = text.split(',').map((id) => id.trim())
  const unknown = ids.filter((id) => !ratioIds().includes(id))
  if (unknown.length > 0) {
    throw new InvalidArgumentError(`The bench has no ${unknown.join(', ')}; it has ${ratioIds().join(', ')}.`)
  }
  return ids
}

if (import.meta.main) await runBench(process.argv.slice(2))
