/** Runs the sides of a scenario in turns: what the machine does beside us then meets all of them alike. */
import { loadavg } from 'node:os'
import { type Bench, type Goal, type Reading, Round, type Scenario } from './scenario.ts'
import { type Spread, spreadOf } from './spread.ts'

export interface RatioResult extends Spread {
  readonly id: string
  readonly title: string
  readonly goal: Goal
  /** Whether the median reaches the goal. */
  readonly isReached: boolean
}

export interface ScenarioResult {
  readonly scenario: string
  readonly rounds: number
  /** Processes that were ready to run, mean of a minute, before each round. */
  readonly load: readonly number[]
  readonly ratios: readonly RatioResult[]
  /** Side, figure, spread. */
  readonly figures: Readonly<Record<string, Readonly<Record<string, Spread>>>>
}

const ROUNDS = 5
const QUICK_ROUNDS = 2

export async function runScenario(scenario: Scenario, bench: Bench): Promise<ScenarioResult> {
  const count = bench.isQuick ? QUICK_ROUNDS : (scenario.rounds ?? ROUNDS)
  const { sides, close } = await scenario.open(bench)
  const load: number[] = []
  const rounds: Round[] = []
  try {
    for (let number = 0; number <= count; number++) {
      load.push(Math.round((loadavg()[0] ?? 0) * 100) / 100)
      const readings = new Map<string, Reading>()
      // Every other round the other way round: none of them always comes after the same one.
      for (const side of number % 2 === 0 ? sides : sides.toReversed()) {
        const reading = await side.run(number)
        readings.set(side.name, reading)
        bench.progress(
          `${scenario.name}: ${number === 0 ? 'warm-up' : `round ${number}`}, ${side.name}: ${told(reading)}`
        )
      }
      if (number > 0) rounds.push(new Round(readings))
    }
  } finally {
    await close()
  }
  return {
    scenario: scenario.name,
    rounds: count,
    load,
    ratios: scenario.ratios.map(({ id, title, goal, of }) => {
      const spread = spreadOf(rounds.map(of))
      return { id, title, goal, ...spread, isReached: reaches(goal, spread.median) }
    }),
    figures: Object.fromEntries(sides.map(({ name }) => [name, figuresOf(name, rounds)]))
  }
}

export function reaches({ atLeast = -Infinity, atMost = Infinity }: Goal, ratio: number): boolean {
  return ratio >= atLeast && ratio <= atMost
}

function figuresOf(side: string, rounds: readonly Round[]): Readonly<Record<string, Spread>> {
  const names = Object.keys(rounds[0]?.readings.get(side) ?? {})
  return Object.fromEntries(names.map((name) => [name, spreadOf(rounds.map((round) => round.figure(side, name)))]))
}

function told(reading: Reading): string {
  return Object.entries(reading)
    .map(([name, figure]) => `${name} ${Number(figure.toPrecision(4))}`)
    .join(', ')
}
