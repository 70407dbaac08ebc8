/** What one run of the bench leaves: a JSON file under `bench/results/`, and pictures of the same name beside it. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { projectFolder } from '../../stack/machine/native-server.ts'
import type { ScenarioResult } from '../harness/run-scenario.ts'
import { drawRatio, drawSheet } from './chart.ts'
import { type Comparable, isBaseline } from './compare-results.ts'
import { compareIds } from './figure-text.ts'
import type { Machine } from './machine.ts'

export interface ScenarioFailure {
  readonly scenario: string
  /** Ids that it would have measured. */
  readonly ratios: readonly string[]
  readonly error: string
}

export interface BenchResults {
  /** ISO 8601, UTC. */
  readonly measuredAt: string
  /** Of the work tree; ends in `-dirty` when it had changes. */
  readonly commit: string
  readonly machine: Machine
  readonly isQuick: boolean
  readonly scenarios: readonly ScenarioResult[]
  readonly failures: readonly ScenarioFailure[]
}

export function resultsFolder(): string {
  return join(projectFolder(), 'bench', 'results')
}

export function baselineFile(): string {
  return join(projectFolder(), 'bench', 'baseline.json')
}

/** Answers the path of the JSON file. The pictures show the baseline too, where there is one. */
export function writeResults(results: BenchResults, baseline: Comparable | null): string {
  const folder = resultsFolder()
  mkdirSync(folder, { recursive: true })
  const name = `${results.measuredAt.slice(0, 19).replaceAll(':', '')}-${results.commit}`
  const path = join(folder, `${name}.json`)
  writeFileSync(path, `${JSON.stringify(results, null, 2)}\n`)
  const charts = results.scenarios
    .flatMap(({ ratios }) => ratios)
    .toSorted((a, b) => compareIds(a.id, b.id))
    .map((ratio) => ({ ...ratio, baseline: baseline?.ratios.get(ratio.id)?.median ?? null }))
  for (const chart of charts) writeFileSync(join(folder, `${name}-${chart.id}.svg`), drawRatio(chart))
  if (charts.length > 0) writeFileSync(join(folder, `${name}.svg`), drawSheet(charts))
  return path
}

/** The names begin with the instant, so the last one by name is the last one measured. */
export function latestResultsFile(): string {
  const folder = resultsFolder()
  mkdirSync(folder, { recursive: true })
  const last = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .at(-1)
  if (last === undefined) throw new Error(`${folder} holds no results: run npm run bench`)
  return join(folder, last)
}

/** Results or a baseline, told apart by what is in the file. Throws when it is neither. */
export function readComparable(path: string): Comparable {
  const content: unknown = JSON.parse(readFileSync(path, 'utf8'))
  if (isBaseline(content))
    return {
      ...content,
      name: basename(path),
      ratios: new Map(Object.entries(content.ratios)),
      failed: [],
      isQuick: false
    }
  if (isResults(content)) {
    return {
      name: basename(path),
      measuredAt: content.measuredAt,
      commit: content.commit,
      machine: content.machine,
      isQuick: content.isQuick,
      ratios: new Map(content.scenarios.flatMap(({ ratios }) => ratios).map((ratio) => [ratio.id, ratio])),
      failed: content.failures.flatMap(({ ratios }) => ratios)
    }
  }
  throw new Error(`${path} holds neither results of the bench nor a baseline`)
}

function isResults(content: unknown): content is BenchResults {
  return typeof content === 'object' && content !== null && 'scenarios' in content && 'failures' in content
}
