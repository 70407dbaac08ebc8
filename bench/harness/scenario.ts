/**
 * What is measured together: sides that do the same work in different ways, each once a round, and the ratios between them. A time of
 * one machine says little on another; a ratio within one round does.
 */
import type { ServiceUrls } from '../../stack/services.ts'

/** Figures of one run of a side, each by a name that carries its unit: `eventsPerSecond`, `nodeMicrosPerEvent`. */
export type Reading = Readonly<Record<string, number>>

export interface Side {
  readonly name: string
  /** `round` counts from 0, the warm-up. Whatever is left over is gone when it resolves. */
  readonly run: (round: number) => Promise<Reading>
}

export interface Goal {
  readonly atLeast?: number
  readonly atMost?: number
}

export interface Ratio {
  /** `R1`, as the table names it. */
  readonly id: string
  /** What is divided by what. */
  readonly title: string
  readonly goal: Goal
  /** Of the readings of one round, by side. */
  readonly of: (round: Round) => number
}

/** The readings of one round by the name of the side. */
export class Round {
  readonly #readings: ReadonlyMap<string, Reading>

  constructor(readings: ReadonlyMap<string, Reading>) {
    this.#readings = readings
  }

  /** Throws when the side did not run or read no such figure. */
  figure(side: string, name: string): number {
    const figure = this.#readings.get(side)?.[name]
    if (figure === undefined) throw new Error(`the side ${side} read no ${name}`)
    return figure
  }

  get readings(): ReadonlyMap<string, Reading> {
    return this.#readings
  }
}

export interface Bench {
  readonly urls: ServiceUrls
  /** Less of everything, for whoever changes the bench: its figures are not for documents. */
  readonly isQuick: boolean
  readonly progress: (line: string) => void
}

export interface OpenScenario {
  readonly sides: readonly Side[]
  readonly close: () => Promise<void>
}

export interface Scenario {
  readonly name: string
  readonly ratios: readonly Ratio[]
  /** Rounds besides the warm-up; five unless a round takes minutes. */
  readonly rounds?: number
  /** Makes what its sides share, a filled topic for instance. */
  readonly open: (bench: Bench) => Promise<OpenScenario>
}
