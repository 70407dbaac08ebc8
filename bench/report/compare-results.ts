/**
 * The rule of `npm run bench:compare`. A ratio is *worse* when its median lies beyond the baseline's worst round by more than the
 * tolerance, which is a share of the baseline's median; *better* by the same rule on the other side; else *within tolerance*. Worse is
 * down for a goal of `≥`, up for one of `≤`; where a goal has both bounds, farther outside of them. So what rounds of one run
 * differ by anyway is never a finding, and the tolerance is what a new run may lose beyond it.
 */

import type { Goal } from '../harness/scenario.ts'
import type { Spread } from '../harness/spread.ts'
import { compareIds, figureText, goalText } from './figure-text.ts'
import type { Machine } from './machine.ts'

export interface MeasuredRatio extends Spread {
  readonly title: string
  readonly goal: Goal
}

/** `bench/baseline.json`. */
export interface Baseline {
  readonly measuredAt: string
  readonly commit: string
  readonly machine: Machine
  readonly ratios: Readonly<Record<string, MeasuredRatio>>
}

/** One side of a comparison: a baseline or the results of a run. */
export interface Comparable {
  /** Of the file. */
  readonly name: string
  readonly measuredAt: string
  readonly commit: string
  readonly machine: Machine
  readonly isQuick: boolean
  readonly ratios: ReadonlyMap<string, MeasuredRatio>
  /** Ids whose scenario ended with an error. */
  readonly failed: readonly string[]
}

export type Verdict =
  | 'worse'
  | 'better'
  | 'within tolerance'
  | 'failed'
  | 'not run'
  | 'not in the baseline'
  /** Time on one machine and processor time on the other, whose goals lie in opposite directions. */
  | 'measured otherwise'

export interface Change {
  readonly id: string
  readonly before: MeasuredRatio | null
  readonly after: MeasuredRatio | null
  /** Of the median, as a share of the baseline's; positive when the ratio grew. Null when one of both is missing. */
  readonly change: number | null
  readonly verdict: Verdict
}

/** By id. Only `worse` and `failed` speak against the results. */
export function compare(before: Comparable, after: Comparable, tolerance: number): readonly Change[] {
  const ids = new Set([...before.ratios.keys(), ...after.ratios.keys(), ...after.failed])
  return [...ids].sort(compareIds).map((id) => {
    const [was, is] = [before.ratios.get(id) ?? null, after.ratios.get(id) ?? null]
    const change = was === null || is === null ? null : changeOf(was.median, is.median)
    return {
      id,
      before: was,
      after: is,
      change,
      verdict: verdictOf({ was, is, tolerance, isFailed: after.failed.includes(id) })
    }
  })
}

export function speaksAgainst({ verdict }: Change): boolean {
  return verdict === 'worse' || verdict === 'failed'
}

function verdictOf(of: {
  readonly was: MeasuredRatio | null
  readonly is: MeasuredRatio | null
  readonly tolerance: number
  readonly isFailed: boolean
}): Verdict {
  const { was, is, tolerance, isFailed } = of
  if (is === null) return isFailed ? 'failed' : 'not run'
  if (was === null) return 'not in the baseline'
  if (!isSameWay(was.goal, is.goal)) return 'measured otherwise'
  const badness = (ratio: number): number => badnessOf(is.goal, ratio)
  const rounds = [was.min, was.median, was.max].map(badness)
  const allowance = tolerance * Math.abs(was.median)
  if (badness(is.median) > Math.max(...rounds) + allowance) return 'worse'
  if (badness(is.median) < Math.min(...rounds) - allowance) return 'better'
  return 'within tolerance'
}

function isSameWay(was: Goal, is: Goal): boolean {
  return (
    (was.atLeast === undefined) === (is.atLeast === undefined) &&
    (was.atMost === undefined) === (is.atMost === undefined)
  )
}

/** Grows as a ratio becomes worse, in the ratio's own unit. */
function badnessOf({ atLeast, atMost }: Goal, ratio: number): number {
  if (atLeast !== undefined && atMost !== undefined) return Math.max(0, atLeast - ratio, ratio - atMost)
  return atLeast === undefined ? ratio : -ratio
}

function changeOf(was: number, is: number): number {
  return was === is ? 0 : (is - was) / Math.abs(was)
}

export function toBaseline({ measuredAt, commit, machine, ratios }: Comparable): Baseline {
  const kept = [...ratios]
    .toSorted(([a], [b]) => compareIds(a, b))
    .map(([id, { title, goal, min, median, max }]) => {
      return [id, { title, goal, min: rounded(min), median: rounded(median), max: rounded(max) }] as const
    })
  return { measuredAt, commit, machine, ratios: Object.fromEntries(kept) }
}

/** Far finer than any tolerance, and short enough to be read in a diff. */
function rounded(figure: number): number {
  return Number(figure.toPrecision(6))
}

export function isBaseline(content: unknown): content is Baseline {
  return typeof content === 'object' && content !== null && 'ratios' in content && 'machine' in content
}

export function describeComparison(before: Comparable, after: Comparable, changes: readonly Change[]): string {
  return [
    `${after.name} (${after.commit}) against ${before.name} (${before.commit}, ${before.measuredAt})`,
    ...notesOf(before, after).map((note) => `note: ${note}`),
    '',
    row(['', 'goal', 'before', 'after', 'change', '']),
    ...changes.map(({ id, before: was, after: is, change, verdict }) =>
      row([id, goalText((is ?? was)?.goal ?? {}), spreadText(was), spreadText(is), changeText(change), verdict])
    )
  ].join('\n')
}

function notesOf(before: Comparable, after: Comparable): readonly string[] {
  const quick = [before, after].filter(({ isQuick }) => isQuick).map(({ name }) => `${name} is of a quick run`)
  const machines = [before, after].map(({ machine }) => `${machine.cores} cores of ${machine.processor}`)
  const moved = machines[0] === machines[1] ? [] : [`other machines: ${machines.join(', then ')}`]
  const versions = Object.entries(after.machine.versions).flatMap(([name, version]) => {
    const was = before.machine.versions[name] ?? 'none'
    return was === version ? [] : [`${name} ${was}, then ${version}`]
  })
  return [...quick, ...moved, ...versions]
}

function spreadText(ratio: MeasuredRatio | null): string {
  return ratio === null ? '–' : `${figureText(ratio.median)} (${figureText(ratio.min)}–${figureText(ratio.max)})`
}

function changeText(change: number | null): string {
  if (change === null) return '–'
  if (!Number.isFinite(change)) return 'from 0'
  const percent = (Math.abs(change) * 100).toFixed(1)
  if (percent === '0.0') return '0.0 %'
  return `${change < 0 ? '−' : '+'}${percent} %`
}

function row([id = '', goal = '', before = '', after = '', change = '', verdict = '']: readonly string[]): string {
  return `${id.padEnd(10)}${goal.padEnd(14)}${before.padEnd(26)}${after.padEnd(26)}${change.padStart(9)}  ${verdict}`.trimEnd()
}
